//! Entity tags by content: the SHA-256 hash of a file, computed once for each version by a thread.
//!
//! A version is a device, an inode, a size, a modification time and a change time ([`Identity`]). The responses
//! of a version have no tag until its hash is known. The first of them has the hash computed by the thread
//! `karez-hash`, one file at a time; a remote device has a thread of its own, so that one that hangs delays no other.
//! Then the cached file is opened again, and its responses have the tag. After the last byte was read, the version is
//! compared: a file that is written meanwhile gets no tag.
//!
//! The hashes of 65,536 versions are in memory, and with [`ContentTags::open`] also in a file, so that another process
//! has them from the first response on.
//!
//! # Limitations
//!
//! A call of write(2) that takes long, and stores to a shared mapping, change the content after they have changed the
//! time stamps: a version may then have the tag of a content that it had for a moment. Replace files by renaming. When more than 256 files wait, the
//! next response of another one asks again.

mod tag_file;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io, thread};

use rustix::fd::AsFd as _;
use rustix::fs::{StatFs, fstatfs};
use rustix::io::{Errno, pread};
use sha2::{Digest as _, Sha256};

use super::content::{Content, ContentHash, VersionKey};
use super::identity::Identity;
use super::open_file::OpenFile;
use super::root::stat_fd;
use tag_file::TagFile;

/// The versions whose hashes are kept.
const CAPACITY: usize = 1 << 16;
/// The most files that wait for a thread. Each is a descriptor.
const QUEUE: usize = 256;
/// The bytes of one read.
const CHUNK: usize = 256 << 10;

/// File systems without a change time of their own, so that an inode of another image may look the same: FAT, exFAT,
/// squashfs, EROFS, ISO 9660, UDF, cramfs, romfs (statfs(2)).
const IMAGES: [i128; 8] =
    [0x4d44, 0x2011_bab0, 0x7371_7368, 0xe0f5_e1e2, 0x9660, 0x1501_3346, 0x28cd_3d45, 0x7275];

/// The hashes of contents, for [`FileEtag::Content`](super::FileEtag::Content). Clones share them.
#[derive(Clone, Default)]
pub struct ContentTags(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    file: Option<TagFile>,
    /// Of the local devices, and of each remote one. They end with this.
    threads: Mutex<HashMap<Option<u64>, SyncSender<Work>>>,
}

#[derive(Default)]
struct Table {
    /// `None`: the file could not be read, or was written meanwhile.
    hashes: HashMap<VersionKey, Option<ContentHash>>,
    /// The versions, the oldest first.
    order: VecDeque<VersionKey>,
    /// The versions that are being hashed.
    pending: HashSet<VersionKey>,
}

/// A file that is to be hashed.
struct Work {
    file: Arc<OpenFile>,
    version: VersionKey,
    shared: Arc<Shared>,
}

impl ContentTags {
    /// Reads the hashes that a file has, and keeps new ones in it. The file is made if it does not exist; it has at
    /// most 4 MiB. Write access to it decides the tags.
    ///
    /// # Errors
    /// The file cannot be opened or read, or has another content; the text names it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, records) = TagFile::open(path, CAPACITY).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let mut table = Table::default();
        records.into_iter().for_each(|(version, hash)| table.insert(version, Some(hash)));
        Ok(Self(Arc::new(Shared {
            table: Mutex::new(table),
            file: Some(file),
            threads: Mutex::default(),
        })))
    }

    /// Returns what is known of a version.
    pub(super) fn find(&self, version: VersionKey) -> Content {
        match self.0.table().hashes.get(&version) {
            Some(Some(hash)) => Content::Known(*hash),
            Some(None) => Content::Unhashed,
            None => Content::Awaited(version),
        }
    }

    /// Has the content of a file hashed, unless it is already known or being hashed.
    pub(super) fn request(&self, file: &Arc<OpenFile>) {
        let Some(version) = file.awaited_hash() else { return };
        let mut table = self.0.table();
        if table.hashes.contains_key(&version) || !table.pending.insert(version) {
            return;
        }
        drop(table);
        let work = Work { file: Arc::clone(file), version, shared: Arc::clone(&self.0) };
        if !self.0.submit(work) {
            self.0.table().pending.remove(&version);
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a thread will do the work.
    fn submit(&self, work: Work) -> bool {
        let device = work.file.device();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let key = device.remote.then_some(device.number);
        let thread = threads.entry(key).or_insert_with(spawn);
        match thread.try_send(work) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => {
                threads.remove(&key);
                false
            }
        }
    }

    fn done(&self, version: VersionKey, hash: Option<ContentHash>, persists: bool) {
        // A response that has the tag finds it in the file.
        if let (Some(file), Some(hash)) = (self.file.as_ref().filter(|_| persists), hash) {
            file.write(version, hash);
        }
        let mut table = self.table();
        table.pending.remove(&version);
        table.insert(version, hash);
    }
}

impl Table {
    fn insert(&mut self, version: VersionKey, hash: Option<ContentHash>) {
        if self.hashes.insert(version, hash).is_none() {
            self.order.push_back(version);
        }
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
    }
}

/// Starts a thread. If that fails, the channel is closed, and no work is accepted.
fn spawn() -> SyncSender<Work> {
    let (sender, queue) = sync_channel::<Work>(QUEUE);
    let thread = thread::Builder::new().name("karez-hash".to_owned());
    let _spawned = thread.spawn(move || {
        for Work { file, version, shared } in queue {
            let hash = hash_of_file(&file);
            let magic = |found: StatFs| i128::from(found.f_type) & 0xffff_ffff;
            let persists = fstatfs(&*file).is_ok_and(|found| !IMAGES.contains(&magic(found)));
            drop(file);
            shared.done(version, hash, persists);
        }
    });
    sender
}

/// Returns the hash of a file; `None` if it cannot be read, or is not the version that was opened.
pub(super) fn hash_of_file(file: &OpenFile) -> Option<ContentHash> {
    let mut hasher = Sha256::new();
    let (mut buffer, mut offset) = (vec![0; CHUNK], 0);
    while offset < file.size() {
        match pread(file, &mut buffer[..], offset) {
            Ok(0) => return None,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    let unchanged = stat_fd(file.as_fd()).is_ok_and(|now| Identity::of(&now) == *file.identity());
    unchanged.then(|| hasher.finalize().into())
}

impl fmt::Debug for ContentTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentTags").finish_non_exhaustive()
    }
}
