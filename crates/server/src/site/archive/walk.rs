//! The walk through a directory that makes an archive, in steps of a bounded amount of work: getdents64(2), statx(2)
//! of each name, and readlink(2) of links. One directory is open at a time.
//!
//! The entries of a directory are read and sorted before the first of them is added, so that the archive is in
//! order. A directory is opened by its path from the root, confined as every lookup is, and has to be the one that its
//! entry describes.
//!
//! # Limitations
//!
//! A directory that changes while it is read may lack an entry that was there all the time, as with readdir(3). A
//! link to a file beneath a remote mount is followed, and hangs as long as that file system does.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::vec;

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Access, AtFlags, FileType, RawDir, Statx, accessat, readlinkat};
use rustix::io::Errno;

use super::super::identity::{FileEtag, Identity};
use super::super::lookup_error::{failure, is_unavailable};
use super::super::paths::{has_hidden_segment, join};
use super::super::racy_mtime::FileClock;
use super::super::root::{LookupMode, OpenMode, Root, file_type, stat_at, stat_fd, stat_known_at};
use super::super::state::Site;
use super::super::syscall_counts::{self, Syscall};
use super::directory::ArchiveDirectory;
use super::error::ArchiveError;
use super::index::{Archive, Entry, IndexBuilder, NONE, NewEntry};
use super::memory::Memory;
use super::viewer::Viewer;

/// Names that are handled in a step, about.
pub(super) const NAMES: usize = 512;
/// The kernel needs at least 24 bytes for a name, so no buffer holds more than 128 of them.
const BUFFER: usize = 128 * 24;
/// A path of this length cannot be opened (`PATH_MAX`).
const LONGEST: usize = 4096;

/// The progress of a walk.
pub(super) struct Walk {
    viewer: Viewer,
    root: Arc<Root>,
    /// The path of the archived directory from the root, up to its name.
    base: Vec<u8>,
    top: Identity,
    builder: IndexBuilder,
    reading: Option<Reading>,
    levels: Vec<Level>,
}

/// A directory whose names are read.
struct Reading {
    dir: OwnedFd,
    relative: Vec<u8>,
    number: u32,
    /// The names on which a remote file system is mounted.
    remote: Vec<Vec<u8>>,
    children: Vec<Child>,
}

/// A directory whose entries are added.
struct Level {
    relative: Vec<u8>,
    number: u32,
    children: vec::IntoIter<Child>,
}

/// An entry that is going to be added.
struct Child {
    name: Box<[u8]>,
    link: Box<[u8]>,
    identity: Identity,
    racy: bool,
}

impl Walk {
    pub(super) fn new(
        site: &Site,
        directory: ArchiveDirectory,
        viewer: Viewer,
        memory: Memory,
    ) -> Result<Self, ArchiveError> {
        let ArchiveDirectory { root, fd, path, device } = directory;
        let meta = stat_fd(fd.as_fd()).map_err(|errno| failed("statx", &path, errno))?;
        let top = Identity::of(&meta);
        let options = &site.options;
        // No content is read for a tag.
        let form = match options.etag {
            FileEtag::Content { .. } => FileEtag::Local,
            form => form,
        };
        let form = (form, options.substitutions.tag());
        let mut builder = IndexBuilder::new((Arc::clone(&root), device), &path, form, memory);
        let start = memchr::memrchr(b'/', &path).map_or(0, |slash| slash + 1);
        let (base, name) = path.split_at(start);
        // The root has no name to be unpacked into.
        let number = match name {
            [] => NONE,
            name => {
                let identity = &top;
                let entry =
                    NewEntry { parent: NONE, relative: name, link: b"", identity, racy: false };
                builder.push(&entry)?
            }
        };
        let (base, relative) = (base.to_vec(), name.to_vec());
        let remote = site.mounts.remote_entries(&path);
        let reading = Some(Reading { dir: fd, relative, number, remote, children: Vec::new() });
        Ok(Self { viewer, root, base, top, builder, reading, levels: Vec::new() })
    }

    /// Does a bounded amount of work. Returns whether the walk is complete.
    pub(super) fn step(&mut self, site: &Site) -> Result<bool, ArchiveError> {
        let mut handled = 0;
        while handled < NAMES {
            if let Some(mut reading) = self.reading.take() {
                handled += BUFFER / 24;
                match self.read(site, &mut reading)? {
                    true => self.reading = Some(reading),
                    false => self.levels.push(reading.sorted()),
                }
            } else if let Some((parent, relative, child)) = self.next() {
                handled += 1;
                self.add(site, (parent, relative), &child)?;
            } else {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn finish(self) -> Archive {
        self.builder.finish()
    }

    /// Returns the next entry to be added, with its directory and its path.
    fn next(&mut self) -> Option<(u32, Vec<u8>, Child)> {
        loop {
            let level = self.levels.last_mut()?;
            if let Some(child) = level.children.next() {
                return Some((level.number, join(&level.relative, &child.name), child));
            }
            self.levels.pop();
        }
    }

    /// Adds an entry. A directory that cannot be read is left out.
    fn add(
        &mut self,
        site: &Site,
        (parent, relative): (u32, Vec<u8>),
        child: &Child,
    ) -> Result<(), ArchiveError> {
        let Child { link, identity, racy, .. } = child;
        let entry = NewEntry { parent, relative: &relative, link, identity, racy: *racy };
        if FileType::from_raw_mode(identity.mode().into()) != FileType::Directory {
            self.builder.push(&entry)?;
            return Ok(());
        }
        let path = [&self.base[..], &relative].concat();
        if let Some(dir) = self.open(site, &path, identity)? {
            let number = self.builder.push(&entry)?;
            let remote = site.mounts.remote_entries(&path);
            self.reading = Some(Reading { dir, relative, number, remote, children: Vec::new() });
        }
        Ok(())
    }

    /// Opens a directory; `None` if a request could not read it, or if it is another one now.
    fn open(
        &self,
        site: &Site,
        path: &[u8],
        identity: &Identity,
    ) -> Result<Option<OwnedFd>, ArchiveError> {
        let open = || self.root.open(path, OpenMode::Read, LookupMode::MayBlock);
        let dir = match open() {
            Err(errno) if site.makes_room(errno) => open(),
            result => result,
        };
        let dir = match dir {
            Ok(dir) => dir,
            Err(errno) if is_unavailable(errno) => return Ok(None),
            Err(Errno::MFILE | Errno::NFILE) => return Err(ArchiveError::Busy),
            Err(errno) => return Err(failed("openat2", path, errno)),
        };
        let meta = stat_fd(dir.as_fd()).map_err(|errno| failed("statx", path, errno))?;
        Ok(Identity::of(&meta).is_same_inode(identity).then_some(dir))
    }

    /// Reads one buffer of names. Returns whether there may be more.
    fn read(&mut self, site: &Site, reading: &mut Reading) -> Result<bool, ArchiveError> {
        let Reading { dir, relative, remote, children, .. } = reading;
        let directory = [&self.base[..], relative].concat();
        // Read before the time stamps are, so that a file can only seem more recent than it is.
        let clock = FileClock::read(site.granularity);
        let mut buffer = [const { MaybeUninit::uninit() }; BUFFER];
        let mut names = RawDir::new(dir.as_fd(), &mut buffer);
        syscall_counts::count(Syscall::Getdents64);
        loop {
            match names.next() {
                Some(Ok(entry)) => {
                    let name = entry.file_name();
                    let is_remote = remote.iter().any(|mount| mount == name.to_bytes());
                    if !is_remote
                        && let Some(child) = self.child(site, (&*dir, &directory), name, &clock)?
                    {
                        let text = child.name.len() + child.link.len();
                        self.builder.take_memory(COST + text)?;
                        children.push(child);
                    }
                }
                Some(Err(Errno::INTR)) => return Ok(true),
                // The directory has been removed: it has no names left.
                None | Some(Err(Errno::NOENT)) => return Ok(false),
                Some(Err(errno)) => return Err(failed("getdents64", &directory, errno)),
            }
            if names.is_buffer_empty() {
                return Ok(true);
            }
        }
    }

    /// Returns a name of a directory, if a request could get it.
    fn child(
        &self,
        site: &Site,
        (dir, directory): (&OwnedFd, &[u8]),
        name: &CStr,
        clock: &FileClock,
    ) -> Result<Option<Child>, ArchiveError> {
        let path = join(directory, name.to_bytes());
        if matches!(name.to_bytes(), b"." | b"..") || path.len() >= LONGEST || hides(site, &path) {
            return Ok(None);
        }
        let meta = match stat_at(dir.as_fd(), name) {
            Ok(meta) => meta,
            Err(errno) if is_unavailable(errno) => return Ok(None),
            Err(errno) => return Err(failed("statx", &path, errno)),
        };
        let identity = Identity::of(&meta);
        let mut link = Vec::new();
        let is_served = match file_type(&meta) {
            FileType::RegularFile => {
                is_readable(dir, name, &meta) && self.shows(site, &path, false)
            }
            FileType::Directory => {
                identity.is_same_device(&self.top) && self.shows(site, &path, true)
            }
            FileType::Symlink => {
                let target = self.target(site, (dir, directory), name)?;
                let directory = target.as_ref().is_some_and(|(_, directory)| *directory);
                link = target.map(|(link, _)| link).unwrap_or_default();
                !link.is_empty() && self.shows(site, &path, directory)
            }
            _ => false,
        };
        let (name, link) = (name.to_bytes().into(), link.into());
        Ok(is_served.then(|| Child { name, link, identity, racy: clock.is_racy(&meta) }))
    }

    /// Returns the target of a link, and whether it is a directory; `None` if a request for the link or for its
    /// target would get neither a file nor a directory.
    fn target(
        &self,
        site: &Site,
        (dir, directory): (&OwnedFd, &[u8]),
        name: &CStr,
    ) -> Result<Option<(Vec<u8>, bool)>, ArchiveError> {
        let path = join(directory, name.to_bytes());
        let link = match readlinkat(dir, name, Vec::new()) {
            Ok(link) => link.into_bytes(),
            // It has been replaced by something else.
            Err(Errno::INVAL) => return Ok(None),
            Err(errno) if is_unavailable(errno) => return Ok(None),
            Err(errno) => return Err(failed("readlinkat", &path, errno)),
        };
        let Some(target) = joined(directory, &link).filter(|target| !hides(site, target)) else {
            return Ok(None);
        };
        let is_directory = match self.follow(site, &path).map(|meta| file_type(&meta)) {
            Ok(FileType::Directory) => true,
            Ok(FileType::RegularFile) => false,
            Ok(_) => return Ok(None),
            Err(errno) if is_unavailable(errno) => return Ok(None),
            Err(errno) => return Err(failed("follow", &path, errno)),
        };
        Ok(self.shows(site, &target, is_directory).then_some((link, is_directory)))
    }

    /// Returns the attributes of the target of a link.
    fn follow(&self, site: &Site, path: &[u8]) -> Result<Statx, Errno> {
        // If it leads to a remote mount, the attributes that the kernel remembers are enough.
        if site.mounts.has_remote()
            && let Ok(fd) = self.root.open(path, OpenMode::Path, LookupMode::CachedOnly)
        {
            return stat_known_at(fd.as_fd(), b"");
        }
        self.root.look(path).and_then(|fd| stat_fd(fd.as_fd()))
    }

    fn shows(&self, site: &Site, path: &[u8], directory: bool) -> bool {
        self.viewer.sees(site.rules(), path, directory)
    }
}

impl Reading {
    fn sorted(self) -> Level {
        let Self { relative, number, mut children, .. } = self;
        children.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        // A directory that changes may return a name twice.
        children.dedup_by(|one, other| one.name == other.name);
        Level { relative, number, children: children.into_iter() }
    }
}

fn hides(site: &Site, path: &[u8]) -> bool {
    !site.options.hidden && has_hidden_segment(path)
}

/// Returns whether the process may read a file.
fn is_readable(dir: &OwnedFd, name: &CStr, meta: &Statx) -> bool {
    let for_all = meta.stx_mode & 0o444 == 0o444;
    for_all || accessat(dir, name, Access::READ_OK, AtFlags::EACCESS).is_ok()
}

/// Returns the path to which a link in a directory leads by its text alone; `None` if it leaves the root.
fn joined(directory: &[u8], link: &[u8]) -> Option<Vec<u8>> {
    if link.starts_with(b"/") {
        return None;
    }
    let mut names: Vec<&[u8]> =
        directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    for name in link.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    Some(names.join(&b'/'))
}

fn failed(operation: &str, path: &[u8], errno: Errno) -> ArchiveError {
    ArchiveError::Failed(failure(operation, path, errno).to_string().into())
}

/// The memory of an entry without its name: before it is added, and then in the index.
const COST: usize = size_of::<Child>() + size_of::<Entry>() + 32;
