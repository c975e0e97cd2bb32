//! The served files and the history of each: which contents it had between two points in time.
//!
//! A writer notes a change before it makes the system call, and its end after it. So a response that was requested
//! at one time and begun at another may have the contents whose intervals meet this time, and no other one.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crate::content::Content;
use crate::rng::Rng;

/// How the files of a directory change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Fixed,
    /// Replaced by a rename.
    Replaced,
    /// Rewritten in place, with the same length.
    Rewritten,
    /// Truncated, then written again in place.
    Cut,
    /// Removed, and made again by a rename.
    Coming,
    /// In a directory that is exchanged with another one.
    Exchanged,
    /// In a directory that is renamed away and back.
    Moved,
    /// Made unreadable and readable by chmod.
    Mode,
    /// On a FUSE file system that hangs.
    Hanging,
}

/// The result of opening a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Absent,
    Unreadable,
    File(Content),
}

struct Version {
    state: State,
    begun: Instant,
    /// Missing while the system call runs.
    done: Option<Instant>,
    /// The content changes byte by byte, in an open file.
    in_place: bool,
}

pub struct Node {
    pub kind: Kind,
    pub directory: usize,
    pub name: String,
    /// The content at the start.
    pub original: State,
    versions: Mutex<VecDeque<Version>>,
    /// The latest strong tags, and the content that each was seen with.
    tags: Mutex<VecDeque<(String, Content)>>,
}

/// The kept changes of a file. A client has to end its response before so many more are made.
const KEPT_VERSIONS: usize = 2000;
const KEPT_TAGS: usize = 32;

impl Node {
    fn new(kind: Kind, directory: usize, name: String, state: State) -> Self {
        let now = Instant::now();
        let first = Version { state, begun: now, done: Some(now), in_place: false };
        let versions = Mutex::new(VecDeque::from([first]));
        Self { kind, directory, name, original: state, versions, tags: Mutex::default() }
    }

    fn versions(&self) -> MutexGuard<'_, VecDeque<Version>> {
        self.versions.lock().unwrap()
    }

    pub fn state(&self) -> State {
        self.versions().back().unwrap().state
    }

    /// Makes a change, and notes when.
    pub fn change(&self, state: State, in_place: bool, make: impl FnOnce()) {
        change_all(&[(self, state)], in_place, make);
    }

    /// Returns the states that the file may have had between two points in time.
    pub fn between(&self, from: Instant, to: Instant) -> Vec<State> {
        let versions = self.versions();
        let mut states = Vec::new();
        for (place, version) in versions.iter().enumerate().rev() {
            let replaced = versions.get(place + 1).and_then(|next| next.done);
            if version.begun <= to && replaced.is_none_or(|at| at >= from) {
                states.push(version.state);
            }
            if version.done.is_some_and(|at| at < from) {
                break;
            }
        }
        states
    }

    pub fn contents_between(&self, from: Instant, to: Instant) -> Vec<Content> {
        let content = |state| if let State::File(content) = state { Some(content) } else { None };
        self.between(from, to).into_iter().filter_map(content).collect()
    }

    /// Returns whether a change of these was being made between two points in time.
    fn is_changing(&self, from: Instant, to: Instant, only_in_place: bool) -> bool {
        let meets = |version: &Version| {
            version.begun <= to
                && version.done.is_none_or(|at| at >= from)
                && (version.in_place || !only_in_place)
        };
        self.versions().iter().rev().any(meets)
    }

    pub fn is_written(&self, from: Instant, to: Instant) -> bool {
        self.is_changing(from, to, true)
    }

    pub fn changes(&self, from: Instant, to: Instant) -> bool {
        self.is_changing(from, to, false)
    }

    /// Notes the tag of a response, and returns another content that it was seen with.
    pub fn note_tag(&self, tag: &str, content: Content) -> Option<Content> {
        let mut tags = self.tags.lock().unwrap();
        if let Some((_, known)) = tags.iter().find(|(known, _)| known == tag) {
            return (*known != content).then_some(*known);
        }
        tags.push_back((tag.to_owned(), content));
        if tags.len() > KEPT_TAGS {
            tags.pop_front();
        }
        None
    }

    /// Returns one of the known tags with its content.
    pub fn tag(&self, rng: &mut Rng) -> Option<(String, Content)> {
        let tags = self.tags.lock().unwrap();
        // The last ones are more likely to hold.
        let back = if rng.one_in(4) { rng.index(tags.len().max(1)) } else { 0 };
        tags.iter().rev().nth(back).cloned()
    }
}

/// Makes a change of several files by one call.
pub fn change_all(changes: &[(&Node, State)], in_place: bool, make: impl FnOnce()) {
    let begun = Instant::now();
    for (node, state) in changes {
        let mut versions = node.versions();
        versions.push_back(Version { state: *state, begun, done: None, in_place });
        if versions.len() > KEPT_VERSIONS {
            versions.pop_front();
        }
    }
    make();
    let done = Instant::now();
    for (node, _) in changes {
        node.versions().back_mut().unwrap().done = Some(done);
    }
}

pub struct Tree {
    /// The directory of the run: root, staging area, configuration.
    pub ground: tempfile::TempDir,
    pub directories: Vec<String>,
    pub nodes: Vec<Node>,
}

const LARGE: u64 = 8 << 20;
const FIXED: [u64; 11] = [0, 1, 100, 1500, 4096, 16_384, 16_385, 65_536, 300_000, 1 << 20, LARGE];

impl Tree {
    pub fn new(rng: &mut Rng) -> Self {
        let ground = tempfile::tempdir().unwrap();
        let path = ground.path();
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["root", "staging", "below"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let mut tree = Self { ground, directories: Vec::new(), nodes: Vec::new() };
        tree.add("fixed", Kind::Fixed, &FIXED);
        let mut lengths =
            |count, most: u64| -> Vec<u64> { (0..count).map(|_| 1 + rng.below(most)).collect() };
        tree.add("replaced", Kind::Replaced, &lengths(8, 200_000));
        let rewritten = [lengths(4, 16_384), lengths(4, 200_000)].concat();
        tree.add("rewritten", Kind::Rewritten, &rewritten);
        tree.add("cut", Kind::Cut, &[lengths(2, 16_384), lengths(3, 200_000)].concat());
        tree.add("coming", Kind::Coming, &lengths(12, 30_000));
        tree.add("exchanged-a", Kind::Exchanged, &lengths(4, 50_000));
        tree.add("exchanged-b", Kind::Exchanged, &lengths(4, 50_000));
        tree.add("moved", Kind::Moved, &lengths(4, 50_000));
        tree.add("mode", Kind::Mode, &lengths(4, 50_000));
        tree
    }

    /// Adds the files that appear below the mounted file system.
    pub fn add_hanging(&mut self) {
        self.add("hanging", Kind::Hanging, &[100, 20_000, 300_000, 2 << 20]);
    }

    fn add(&mut self, directory: &str, kind: Kind, lengths: &[u64]) {
        let place = self.directories.len();
        self.directories.push(directory.to_owned());
        let path = match kind {
            Kind::Hanging => self.ground.path().join("below"),
            _ => self.root().join(directory),
        };
        fs::create_dir_all(&path).unwrap();
        for (number, length) in lengths.iter().enumerate() {
            let key = crate::rng::mix((self.nodes.len() as u64) << 40);
            let content = Content { key, length: *length };
            let name = format!("f{number}");
            fs::write(path.join(&name), content.bytes()).unwrap();
            self.nodes.push(Node::new(kind, place, name, State::File(content)));
        }
    }

    pub fn root(&self) -> PathBuf {
        self.ground.path().join("root")
    }

    pub fn path(&self, node: &Node) -> PathBuf {
        self.root().join(&self.directories[node.directory]).join(&node.name)
    }

    /// Returns the files of a directory.
    pub fn files(&self, directory: usize) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.directory == directory)
    }

    pub fn files_of(&self, kind: Kind) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.kind == kind).collect()
    }

    /// Writes a file to be renamed into the tree.
    pub fn stage(&self, content: Content) -> PathBuf {
        let path = self.ground.path().join("staging/new");
        fs::write(&path, content.bytes()).unwrap();
        path
    }

    /// Returns whether this is a path of the tree, or of a directory that has been moved out of it.
    pub fn holds(&self, path: &Path) -> bool {
        path.starts_with(self.ground.path())
    }
}
