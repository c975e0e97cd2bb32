//! Loads certificates again when their files change (inotify(7)).
//!
//! # Limitations
//!
//! A change is noticed in the directory of the file's name and in that of the file itself: not where a
//! symbolic link on the way to that directory is changed, and not on network file systems. SIGHUP loads the
//! files in any case.

use karez_server::ErrorLog;
use karez_tls::CertStore;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::stop_signals::no_thread;

/// The pause between a change and the reload: certificate and key are written one after the other.
const SETTLE: Duration = Duration::from_millis(300);

/// The changes that may replace a file.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::ATTRIB);

/// The certificates that are watched.
#[derive(Clone)]
pub(crate) struct Watch {
    store: Arc<Mutex<Arc<CertStore>>>,
    changes: Arc<OwnedFd>,
}

impl Watch {
    /// Starts the thread that watches the files of a store. An error of inotify(7) is reported to the log.
    ///
    /// # Errors
    /// A thread that cannot be made.
    pub(super) fn start(store: &Arc<CertStore>, log: &ErrorLog) -> io::Result<Option<Self>> {
        let watched =
            inotify::init(CreateFlags::CLOEXEC).map_err(io::Error::from).and_then(|changes| {
                let (store, changes) = (Arc::new(Mutex::new(Arc::clone(store))), Arc::new(changes));
                let watch = Self { store, changes };
                watch.add_directories().map(|()| watch)
            });
        let watch = match watched {
            Ok(watch) => watch,
            Err(error) => {
                let text = "certificates are not watched, only SIGHUP reloads them";
                log.warn(&format!("{text}: {error}"));
                return Ok(None);
            }
        };
        let (own, log) = (watch.clone(), log.clone());
        let thread = thread::Builder::new().name("karez-certs".to_owned());
        thread.spawn(move || own.follow(&log)).map_err(no_thread("karez-certs"))?;
        Ok(Some(watch))
    }

    /// Watches the files of another store instead.
    pub(super) fn switch(&self, store: &Arc<CertStore>, log: &ErrorLog) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(store);
        if let Err(error) = self.add_directories() {
            log.warn(&format!("some certificates are not watched: {error}"));
        }
    }

    fn store(&self) -> Arc<CertStore> {
        Arc::clone(&self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Watches the directories in which a file can be replaced: that of its name, and that of the file to
    /// which a symbolic link leads.
    fn add_directories(&self) -> io::Result<()> {
        for directory in directories(&self.store()) {
            inotify::add_watch(&self.changes, &directory, CHANGES).map_err(|errno| {
                let error = io::Error::from(errno);
                io::Error::new(error.kind(), format!("inotify {}: {error}", directory.display()))
            })?;
        }
        Ok(())
    }

    /// Loads the certificates after each change of a file.
    fn follow(&self, log: &ErrorLog) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut loaded = versions(&self.store());
        loop {
            match Reader::new(&self.changes, &mut buffer).next() {
                Ok(_) => thread::sleep(SETTLE),
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    let error = io::Error::from(errno);
                    return log
                        .warn(&format!("certificates are not watched any more: read: {error}"));
                }
            }
            // One reload for all changes of that time. A symbolic link may lead to another directory now.
            let _missing = self.add_directories();
            let store = self.store();
            let found = versions(&store);
            if found != loaded {
                loaded = found;
                reload(&store, log);
            }
        }
    }
}

/// Loads the certificates again.
pub(super) fn reload(store: &CertStore, log: &ErrorLog) {
    match store.reload() {
        Ok(()) => log.info("certificates loaded"),
        Err(error) => log.error(&format!("the certificates stay as they were: {error}")),
    }
}

fn directories(store: &CertStore) -> BTreeSet<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut directories = BTreeSet::new();
    for path in store.paths() {
        directories.insert(parent(path));
        if let Ok(real) = path.canonicalize() {
            directories.insert(parent(&real));
        }
    }
    directories
}

/// Returns the identities of the files, which differ after each change.
fn versions(store: &CertStore) -> Vec<Option<[i128; 5]>> {
    use std::os::unix::fs::MetadataExt as _;
    let version = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        let time = |seconds: i64, nanoseconds: i64| {
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
        };
        Some([
            i128::from(found.dev()),
            i128::from(found.ino()),
            i128::from(found.size()),
            time(found.mtime(), found.mtime_nsec()),
            time(found.ctime(), found.ctime_nsec()),
        ])
    };
    store.paths().map(version).collect()
}
