//! Requests: their targets and fields, drawn by a seeded generator.

use std::time::Instant;

use crate::content::Content;
use crate::rng::Rng;
use crate::tree::{Kind, State, Tree};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The number of a file.
    File(usize),
    /// The number of a directory.
    Listing(usize),
    Archive(usize),
    Missing,
}

/// A byte range: from an offset, between two (the second excluded), or the last bytes.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Range {
    /// Returns the range as offset and length in a file of this length; `None` if it has no byte of it.
    pub fn within(self, length: u64) -> Option<(u64, u64)> {
        let (from, to) = match self {
            Self::From(from) => (from, length),
            Self::Between(from, to) => (from, to.min(length)),
            Self::Last(count) => (length.saturating_sub(count), length),
        };
        (from < to).then(|| (from, to - from))
    }

    fn text(self) -> String {
        match self {
            Self::From(from) => format!("bytes={from}-"),
            Self::Between(from, to) => format!("bytes={from}-{}", to - 1),
            Self::Last(count) => format!("bytes=-{count}"),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Condition {
    NoneMatch(String, Content),
    Range(String, Content),
}

#[derive(Clone, Debug)]
pub struct Ask {
    pub target: Target,
    pub is_head: bool,
    pub range: Option<Range>,
    pub condition: Option<Condition>,
    /// The last moment at which none of its bytes had been sent.
    pub sent: Instant,
}

impl Ask {
    pub fn to(target: Target) -> Self {
        Self { target, is_head: false, range: None, condition: None, sent: Instant::now() }
    }

    /// Draws a request. Archives read whole directories, so few are asked for.
    pub fn draw(tree: &Tree, rng: &mut Rng) -> Self {
        match rng.below(100) {
            0..=4 => Self::to(Target::Listing(rng.index(tree.directories.len()))),
            5..=6 => Self::to(Target::Archive(rng.index(tree.directories.len()))),
            7 => Self::to(Target::Missing),
            _ => Self::draw_file(tree, rng),
        }
    }

    fn draw_file(tree: &Tree, rng: &mut Rng) -> Self {
        let number = rng.index(tree.nodes.len());
        let node = &tree.nodes[number];
        let mut ask = Self::to(Target::File(number));
        // Downloads ask for the large files.
        let is_large = matches!(node.original, State::File(content) if content.length > 500_000);
        if is_large && !rng.one_in(20) {
            ask.range = Some(Range::Between(rng.below(500_000), 500_000 + rng.below(50_000)));
            return ask;
        }
        match rng.below(10) {
            0 => ask.is_head = true,
            1 | 2 => ask.range = Some(Self::draw_range(rng)),
            3 | 4 => {
                ask.condition = node.tag(rng).map(|(tag, content)| {
                    if rng.one_in(2) {
                        ask.range = Some(Self::draw_range(rng));
                        Condition::Range(tag, content)
                    } else {
                        Condition::NoneMatch(tag, content)
                    }
                });
            }
            _ => {}
        }
        ask
    }

    fn draw_range(rng: &mut Rng) -> Range {
        let most = *rng.pick(&[10, 5000, 100_000, 2_000_000]);
        let from = rng.below(most);
        match rng.below(3) {
            0 => Range::From(from),
            1 => Range::Between(from, from + 1 + rng.below(most)),
            _ => Range::Last(1 + from),
        }
    }

    /// Returns a download that takes long, of a file that does not change or of one that does.
    pub fn download(tree: &Tree, rng: &mut Rng) -> Self {
        let largest = |kind| {
            let length = |number: &usize| match tree.nodes[*number].original {
                State::File(content) => content.length,
                _ => 0,
            };
            let numbers = (0..tree.nodes.len()).filter(|number| tree.nodes[*number].kind == kind);
            numbers.max_by_key(length).unwrap()
        };
        let kind = *rng.pick(&[Kind::Fixed, Kind::Fixed, Kind::Replaced, Kind::Rewritten]);
        Self::to(Target::File(largest(kind)))
    }

    pub fn path(&self, tree: &Tree) -> String {
        match self.target {
            Target::File(number) => {
                let node = &tree.nodes[number];
                format!("/{}/{}", tree.directories[node.directory], node.name)
            }
            Target::Listing(number) => format!("/{}/?format=json", tree.directories[number]),
            Target::Archive(number) => format!("/{}/?format=tar", tree.directories[number]),
            Target::Missing => "/missing/file".to_owned(),
        }
    }

    pub fn method(&self) -> &'static str {
        if self.is_head { "HEAD" } else { "GET" }
    }

    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        if let Some(range) = self.range {
            fields.push(("range", range.text()));
        }
        match &self.condition {
            Some(Condition::NoneMatch(tag, _)) => fields.push(("if-none-match", tag.clone())),
            Some(Condition::Range(tag, _)) => fields.push(("if-range", tag.clone())),
            None => {}
        }
        fields
    }

    /// Returns the request in HTTP/1.1.
    pub fn text(&self, tree: &Tree, closes: bool) -> String {
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method(), self.path(tree));
        for (name, value) in self.fields() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if closes {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        text
    }
}
