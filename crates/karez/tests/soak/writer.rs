//! Changes of the served files while they are requested.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use crate::content::Content;
use crate::rng::Rng;
use crate::run::Run;
use crate::tree::{Kind, Node, State, Tree, change_all};

/// Two writes of a file in place are at least so far apart: on file systems without fine time stamps they have
/// different modification times only then.
const APART: Duration = Duration::from_millis(30);

const MEAN_PAUSE_MS: u64 = 25;

struct Writer<'a> {
    tree: &'a Tree,
    rng: Rng,
    /// When a file was written in place.
    written: Vec<(&'a Node, Instant)>,
    changes: u64,
}

/// Changes files until the run ends. Returns the number of changes.
pub fn write(run: &Run, rng: Rng) -> u64 {
    let mut writer = Writer { tree: &run.tree, rng, written: Vec::new(), changes: 0 };
    while run.goes_on() {
        writer.turn();
        thread::sleep(Duration::from_millis(writer.rng.below(2 * MEAN_PAUSE_MS)));
    }
    writer.changes
}

impl<'a> Writer<'a> {
    fn turn(&mut self) {
        const KINDS: [Kind; 8] = [
            Kind::Replaced,
            Kind::Replaced,
            Kind::Rewritten,
            Kind::Cut,
            Kind::Coming,
            Kind::Exchanged,
            Kind::Moved,
            Kind::Mode,
        ];
        let kind = *self.rng.pick(&KINDS);
        let node = *self.rng.pick(&self.tree.files_of(kind));
        match kind {
            Kind::Replaced => self.replace(node, 200_000),
            Kind::Rewritten => self.rewrite(node),
            Kind::Cut => self.cut(node),
            Kind::Coming => self.come_or_go(node),
            Kind::Exchanged => self.exchange(),
            Kind::Moved => self.move_away(),
            Kind::Mode => self.change_mode(node),
            Kind::Fixed | Kind::Hanging => return,
        }
        self.changes += 1;
    }

    fn content(&mut self, most: u64) -> Content {
        Content { key: self.rng.draw(), length: 1 + self.rng.below(most) }
    }

    fn replace(&mut self, node: &'a Node, most: u64) {
        let content = self.content(most);
        let (new, path) = (self.tree.stage(content), self.tree.path(node));
        node.change(State::File(content), false, || fs::rename(new, path).unwrap());
    }

    /// Waits until the time stamp of a next write differs.
    fn wait_for_clock(&mut self, node: &'a Node) {
        let last = self.written.iter().find(|(known, _)| ptr::eq(*known, node));
        if let Some((_, at)) = last {
            thread::sleep((*at + APART).saturating_duration_since(Instant::now()));
        }
    }

    fn overwrite(&mut self, node: &'a Node, content: Content) {
        self.wait_for_clock(node);
        let file = File::options().write(true).open(self.tree.path(node)).unwrap();
        let bytes = content.bytes();
        // One call of pwrite(2), so that no state between two calls is a version, too.
        node.change(State::File(content), true, || {
            assert_eq!(file.write_at(&bytes, 0).unwrap(), bytes.len());
        });
        self.note(node);
    }

    fn note(&mut self, node: &'a Node) {
        self.written.retain(|(known, _)| !ptr::eq(*known, node));
        self.written.push((node, Instant::now()));
    }

    fn rewrite(&mut self, node: &'a Node) {
        let State::File(old) = node.state() else { return };
        let content = Content { key: self.rng.draw(), length: old.length };
        self.overwrite(node, content);
    }

    fn cut(&mut self, node: &'a Node) {
        let State::File(old) = node.state() else { return };
        let content = Content { length: self.rng.below(old.length + 1), ..old };
        self.wait_for_clock(node);
        let file = File::options().write(true).open(self.tree.path(node)).unwrap();
        node.change(State::File(content), true, || file.set_len(content.length).unwrap());
        self.note(node);
        let longer = content.length + 1 + self.rng.below(100_000);
        let refilled =
            Content { key: self.rng.draw(), length: longer.min(200_000).max(content.length) };
        self.overwrite(node, refilled);
    }

    fn come_or_go(&mut self, node: &'a Node) {
        if node.state() == State::Absent {
            self.replace(node, 30_000);
        } else {
            let path = self.tree.path(node);
            node.change(State::Absent, false, || fs::remove_file(path).unwrap());
        }
    }

    fn exchange(&mut self) {
        let tree = self.tree;
        let [one, other] = ["exchanged-a", "exchanged-b"].map(|name| tree.root().join(name));
        let nodes = tree.files_of(Kind::Exchanged);
        let (half, rest) = nodes.split_at(nodes.len() / 2);
        let pairs = half.iter().zip(rest);
        let changes: Vec<_> = pairs.flat_map(|(a, b)| [(*a, b.state()), (*b, a.state())]).collect();
        change_all(&changes, false, || {
            renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
        });
    }

    fn move_away(&mut self) {
        let nodes = self.tree.files_of(Kind::Moved);
        let (here, away) =
            (self.tree.root().join("moved"), self.tree.ground.path().join("staging/moved"));
        let states: Vec<_> = nodes.iter().map(|node| node.state()).collect();
        let gone: Vec<_> = nodes.iter().map(|node| (*node, State::Absent)).collect();
        change_all(&gone, false, || fs::rename(&here, &away).unwrap());
        thread::sleep(Duration::from_millis(self.rng.below(20)));
        let back: Vec<_> = nodes.into_iter().zip(states).collect();
        change_all(&back, false, || fs::rename(&away, &here).unwrap());
    }

    fn change_mode(&mut self, node: &'a Node) {
        let path = self.tree.path(node);
        let set = |mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        match node.state() {
            State::File(_) => node.change(State::Unreadable, false, || set(0)),
            _ => node.change(node.original, false, || set(0o644)),
        }
    }
}
