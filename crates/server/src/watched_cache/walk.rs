//! The walk along an absolute path, component by component and with the links on the way, as the
//! kernel's own lookup makes it: openat(2) with `O_PATH | O_NOFOLLOW` (Linux 2.6.39), readlinkat(2)
//! on the descriptor of a link, statx(2) with `STATX_MNT_ID` (5.8).
//!
//! Every name is visited before it is looked up, so that its directory is watched by then: a change
//! behind the lookup raises an event, and a change before it is seen by the lookup. All components
//! are recorded with device, inode and mount, so that two walks can be compared.
//!
//! # Limitations
//! The walk is not confined to a root: it confirms where a path leads, and the caller opens the
//! file by a confined lookup. It may wait for a disk.

use std::rc::Rc;

use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, open, openat, readlinkat, statx,
};
use rustix::io::Errno;

use super::file_systems::{self, OVERLAY};
use super::not_watchable::{NotWatchable, Reason};

/// The meaning that a path is expected to have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// The path leads to the regular file of this descriptor.
    File(&'a [u8], BorrowedFd<'a>),
    /// The path leads to nothing.
    Absent(&'a [u8]),
}

/// The files that were found, in the order in which they were expected.
#[derive(Default)]
pub(crate) struct Walk {
    files: Vec<(OwnedFd, Statx)>,
}

impl Walk {
    /// Returns the descriptor (`O_PATH`) of a file.
    #[cfg(test)]
    pub(crate) fn file(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.files.get(index).map(|(fd, _)| fd.as_fd())
    }

    /// Returns the attributes of a file, read when all watches were in place.
    pub(crate) fn meta(&self, index: usize) -> Option<&Statx> {
        self.files.get(index).map(|(_, meta)| meta)
    }
}

/// A step that is about to be made.
pub(super) enum Visit<'a> {
    /// A name is looked up in a directory, on a file system of this number.
    Name { directory: BorrowedFd<'a>, name: &'a [u8], magic: u64 },
    /// The parent of a directory is looked up.
    Parent { directory: BorrowedFd<'a>, magic: u64 },
    /// A file was found.
    File(BorrowedFd<'a>),
}

/// Receives each step of a walk.
pub(super) type Visitor<'v> = dyn FnMut(Visit<'_>) -> Result<(), NotWatchable> + 'v;

/// An inode in its mount. A descriptor pins the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

/// Walks along all paths, and returns the files with the components on the way.
pub(super) fn walk(
    expected: &[Expected<'_>],
    visit: &mut Visitor<'_>,
) -> Result<(Walk, Vec<Node>), NotWatchable> {
    let mut walker =
        Walker { visit, nodes: Vec::new(), links: 0, checked: None, parent: Vec::new(), at: None };
    let mut walk = Walk::default();
    for expected in expected {
        match *expected {
            Expected::File(path, fd) => walk.files.push(walker.file(path, fd)?),
            Expected::Absent(path) => walker.absent(path)?,
        }
    }
    Ok((walk, walker.nodes))
}

struct Walker<'v, 'w> {
    visit: &'v mut Visitor<'w>,
    nodes: Vec<Node>,
    links: u32,
    /// The mount that the last component was in, and the number of its file system.
    checked: Option<(u64, u64)>,
    /// The directory part of the path before, and where it led: siblings share it.
    parent: Vec<u8>,
    at: Option<Rc<Inode>>,
}

/// An open file or directory, and the number of its file system.
struct Inode {
    fd: OwnedFd,
    magic: u64,
}

enum Target {
    File(Inode),
    Directory(Rc<Inode>),
    /// A device, a FIFO or a socket.
    Special,
    Absent,
}

impl Walker<'_, '_> {
    fn file(&mut self, path: &[u8], fd: BorrowedFd<'_>) -> Result<(OwnedFd, Statx), NotWatchable> {
        let file = match self.resolve(path)? {
            Target::File(file) => file,
            Target::Absent => return Err(NotWatchable::new(Reason::Replaced, path)),
            Target::Directory(_) | Target::Special => {
                return Err(NotWatchable::new(Reason::NotAFile, path));
            }
        };
        (self.visit)(Visit::File(file.fd.as_fd()))?;
        let (meta, node) = look(file.fd.as_fd())?;
        let (_, same) = look(fd)?;
        if node != same || meta.stx_nlink == 0 {
            return Err(NotWatchable::new(Reason::Replaced, path));
        }
        if file.magic == OVERLAY && meta.stx_nlink > 1 {
            return Err(NotWatchable::new(Reason::SeveralLinks, path));
        }
        Ok((file.fd, meta))
    }

    fn absent(&mut self, path: &[u8]) -> Result<(), NotWatchable> {
        match self.resolve(path)? {
            Target::Absent => Ok(()),
            _ => Err(NotWatchable::new(Reason::Present, path)),
        }
    }

    fn resolve(&mut self, path: &[u8]) -> Result<Target, NotWatchable> {
        if !path.starts_with(b"/") {
            return Err(NotWatchable::new(Reason::Relative, path));
        }
        let split = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, name) = path.split_at(split);
        self.links = 0;
        if self.parent != parent {
            let root = self.root()?;
            self.at = match self.follow(root, parent)? {
                Target::Directory(directory) => Some(directory),
                Target::File(_) | Target::Special | Target::Absent => None,
            };
            self.parent = parent.to_vec();
        }
        match self.at.clone() {
            Some(directory) => self.follow(directory, name),
            None => Ok(Target::Absent),
        }
    }

    fn follow(&mut self, mut here: Rc<Inode>, path: &[u8]) -> Result<Target, NotWatchable> {
        let mut rest = path.to_vec();
        loop {
            let begin = rest.iter().position(|&byte| byte != b'/').unwrap_or(rest.len());
            let end = rest[begin..].iter().position(|&byte| byte == b'/');
            let tail = rest.split_off(end.map_or(rest.len(), |end| begin + end));
            let name = &rest[begin..];
            if name.is_empty() {
                return Ok(Target::Directory(here));
            }
            let Some(fd) = self.step(&here, name)? else { return Ok(Target::Absent) };
            let (meta, node) = look(fd.as_fd())?;
            let magic = self.record(fd.as_fd(), node)?;
            match FileType::from_raw_mode(meta.stx_mode.into()) {
                FileType::Symlink => {
                    let target = self.read_link(fd.as_fd())?;
                    if target.starts_with(b"/") {
                        here = self.root()?;
                    }
                    rest = [target, tail].concat();
                }
                FileType::Directory => (here, rest) = (Rc::new(Inode { fd, magic }), tail),
                // Behind a file there is nothing, not even for a slash.
                _ if !tail.is_empty() => return Ok(Target::Absent),
                FileType::RegularFile => return Ok(Target::File(Inode { fd, magic })),
                _ => return Ok(Target::Special),
            }
        }
    }

    /// Looks up one component; none if there is no such name.
    fn step(&mut self, here: &Inode, name: &[u8]) -> Result<Option<OwnedFd>, NotWatchable> {
        let (directory, magic) = (here.fd.as_fd(), here.magic);
        match name {
            // Both need the right to search the directory.
            b"." | b".." => (self.visit)(Visit::Parent { directory, magic })?,
            name => (self.visit)(Visit::Name { directory, name, magic })?,
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(directory, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(NotWatchable::system("openat", errno, directory)),
        }
    }

    fn root(&mut self) -> Result<Rc<Inode>, NotWatchable> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open("/", flags, Mode::empty())
            .map_err(|errno| NotWatchable::system("open", errno, CWD))?;
        let (_, node) = look(root.as_fd())?;
        let magic = self.record(root.as_fd(), node)?;
        Ok(Rc::new(Inode { fd: root, magic }))
    }

    /// Records a component, and returns the number of its file system.
    fn record(&mut self, fd: BorrowedFd<'_>, node: Node) -> Result<u64, NotWatchable> {
        self.nodes.push(node);
        match self.checked {
            Some((mount, magic)) if mount == node.mount => Ok(magic),
            _ => {
                let magic = file_systems::check(fd)?;
                self.checked = Some((node.mount, magic));
                Ok(magic)
            }
        }
    }

    fn read_link(&mut self, link: BorrowedFd<'_>) -> Result<Vec<u8>, NotWatchable> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(NotWatchable::of(Reason::TooManyLinks, link));
        }
        let target = readlinkat(link, c"", Vec::new())
            .map_err(|errno| NotWatchable::system("readlinkat", errno, link))?;
        Ok(target.into_bytes())
    }
}

/// Returns the attributes of the inode behind a descriptor.
fn look(fd: BorrowedFd<'_>) -> Result<(Statx, Node), NotWatchable> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let meta = statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, asked)
        .map_err(|errno| NotWatchable::system("statx", errno, fd))?;
    if !StatxFlags::from_bits_retain(meta.stx_mask).contains(StatxFlags::MNT_ID) {
        return Err(NotWatchable::of(Reason::MountUnknown, fd));
    }
    let device = (meta.stx_dev_major, meta.stx_dev_minor);
    Ok((meta, Node { device, inode: meta.stx_ino, mount: meta.stx_mnt_id }))
}

/// The kernel's bound on links in one lookup (`MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;
