//! The devices beneath the served directory, by the mount table. Jobs of one device share its workers,
//! and a remote device may never answer. /proc/self/mountinfo (proc(5), Linux 2.6.26), whose changes
//! poll(2) reports (2.6.30).
//!
//! The device of a name is known before the name is opened, without a call to its file system. If there
//! is a remote mount beneath the root, a link may lead there, so other names are opened as far as the
//! kernel has them in its caches (openat2(2), `RESOLVE_CACHED`; statx(2), `AT_STATX_DONT_SYNC`).
//!
//! # Limitations
//!
//! A change is noticed within a second, by the next request, whose thread then reads the table, even one
//! of ten thousand mounts. If the table cannot be read, or the root lies in another mount namespace, the
//! tree is taken for one file system. The layers of an overlay are not examined. The link of a
//! precompressed file may lead to a remote mount unnoticed.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use karez_transfer::Device;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, makedev, readlinkat, statx};
use rustix::io::Errno;

use super::remote_fs::is_remote_type;
use super::root::Root;

/// How long a change of the mount table may stay unnoticed.
const CHECK: Duration = Duration::from_secs(1);

/// The mounts under one directory.
pub(super) struct Mounts {
    /// Polled for changes.
    mountinfo: Option<OwnedFd>,
    /// Nothing is mounted beneath the root, so all names lie on its device.
    plain: AtomicBool,
    root_number: AtomicU64,
    root_remote: AtomicBool,
    table: RwLock<Arc<Table>>,
    born: Instant,
    /// Milliseconds between `born` and the last check of the table.
    checked: AtomicU64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// The path of the root in the namespace.
    path: Vec<u8>,
    root: Device,
    /// Paths from the root.
    below: Vec<(Vec<u8>, Device)>,
}

/// One line of the mount table.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: Device,
    point: Vec<u8>,
}

impl Mounts {
    pub(super) fn of(root: &Root) -> Self {
        let mountinfo = open_mountinfo().ok();
        let mounts = Self {
            mountinfo,
            plain: AtomicBool::new(true),
            root_number: AtomicU64::new(0),
            root_remote: AtomicBool::new(false),
            table: RwLock::default(),
            born: Instant::now(),
            checked: AtomicU64::new(0),
        };
        mounts.set(Table::read(root));
        mounts
    }

    /// Checks once a second whether the table has changed; most calls return at once.
    pub(super) fn refresh(&self, root: &Root, now: Instant) {
        let elapsed = now.saturating_duration_since(self.born).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let last = self.checked.load(Ordering::Relaxed);
        let due = u128::from(elapsed.saturating_sub(last)) >= CHECK.as_millis();
        let claim =
            || self.checked.compare_exchange(last, elapsed, Ordering::Relaxed, Ordering::Relaxed);
        // If several threads find the check due, one of them makes it.
        if due
            && claim().is_ok()
            && (self.has_changed() || self.table().path != path_of(root.as_fd()))
        {
            self.set(Table::read(root));
        }
    }

    /// Reads the table if it has changed since the last check, which may have been made a moment ago; false
    /// if it has not.
    pub(super) fn refresh_now(&self, root: &Root) -> bool {
        let changed = self.has_changed();
        if changed {
            self.set(Table::read(root));
        }
        changed
    }

    /// Reads the table for a root that has been replaced.
    pub(super) fn reload(&self, root: &Root) {
        self.set(Table::read(root));
    }

    /// Returns the device that a path from the root leads to, links not followed.
    pub(super) fn device_at(&self, path: &[u8]) -> Device {
        if self.plain.load(Ordering::Relaxed) { self.root() } else { self.table().device_at(path) }
    }

    /// Returns whether a link could lead from a local to a remote device.
    pub(super) fn has_remote(&self) -> bool {
        !self.plain.load(Ordering::Relaxed) && self.table().has_remote()
    }

    /// Returns the entries of a local directory on which a remote file system is mounted.
    pub(super) fn remote_entries(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        if self.plain.load(Ordering::Relaxed) || self.device_at(directory).remote {
            return Vec::new();
        }
        let table = self.table();
        let points = table.below.iter().filter(|(_, device)| device.remote);
        let beside = points.filter_map(|(point, _)| {
            let name = match directory {
                b"" => &point[..],
                directory => point.strip_prefix(directory)?.strip_prefix(b"/")?,
            };
            (!name.is_empty() && !name.contains(&b'/')).then(|| name.to_vec())
        });
        beside.collect()
    }

    /// Returns the device of a file that was opened by `path`.
    pub(super) fn device_of(&self, number: u64, path: &[u8]) -> Device {
        let named = self.device_at(path);
        let remote = named.remote
            || (self.has_remote()
                && self.table().below.iter().any(|(_, at)| at.number == number && at.remote));
        Device { number, remote }
    }

    fn root(&self) -> Device {
        let number = self.root_number.load(Ordering::Relaxed);
        Device { number, remote: self.root_remote.load(Ordering::Relaxed) }
    }

    fn has_changed(&self) -> bool {
        let Some(mountinfo) = &self.mountinfo else { return false };
        let mut fds = [PollFd::new(mountinfo, PollFlags::PRI)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && fds[0].revents().intersects(PollFlags::PRI | PollFlags::ERR)
    }

    fn set(&self, table: Table) {
        self.root_number.store(table.root.number, Ordering::Relaxed);
        self.root_remote.store(table.root.remote, Ordering::Relaxed);
        let plain = table.below.is_empty();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.plain.store(plain, Ordering::Release);
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Table {
    /// Reads the table. Makes no call that asks the file system of the root.
    fn read(root: &Root) -> Self {
        let path = path_of(root.as_fd());
        let (number, mount_id) = (root.identity().device_number(), root.identity().mount_id());
        let mounts = read_mountinfo().map(|text| parse(&text)).unwrap_or_default();
        let own = mounts.iter().rfind(|mount| Some(mount.id) == mount_id);
        match own {
            Some(own) => Self::under(path, own.device, &mounts),
            // The root lies in another namespace, or there is no table, or the kernel does not return the
            // mount.
            None => {
                let remote = root.is_remote();
                Self { path, root: Device { number, remote }, below: Vec::new() }
            }
        }
    }

    fn under(path: Vec<u8>, root: Device, mounts: &[Mount]) -> Self {
        let relative = |mount: &Mount| {
            let rest = if path == b"/" {
                mount.point.strip_prefix(b"/")
            } else {
                mount.point.strip_prefix(&path[..]).and_then(|rest| rest.strip_prefix(b"/"))
            };
            rest.filter(|rest| !rest.is_empty()).map(|rest| (rest.to_vec(), mount.device))
        };
        let below = mounts.iter().filter_map(relative).collect();
        Self { path, root, below }
    }

    /// Returns the device of the deepest mount on a path, and of several on one point of the last.
    fn device_at(&self, path: &[u8]) -> Device {
        let leads = |(point, _): &&(Vec<u8>, Device)| {
            path.strip_prefix(&point[..]).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        };
        let deepest = self.below.iter().filter(leads).max_by_key(|(point, _)| point.len());
        deepest.map_or(self.root, |(_, device)| *device)
    }

    fn has_remote(&self) -> bool {
        self.root.remote || self.below.iter().any(|(_, device)| device.remote)
    }
}

/// Returns the device of a descriptor, without a call to its file system.
pub(super) fn device_number(fd: BorrowedFd<'_>) -> Option<u64> {
    let meta = statx(fd, c"", CACHED, StatxFlags::empty()).ok()?;
    Some(makedev(meta.stx_dev_major, meta.stx_dev_minor))
}

const CACHED: AtFlags = AtFlags::EMPTY_PATH.union(AtFlags::STATX_DONT_SYNC);

fn path_of(root: BorrowedFd<'_>) -> Vec<u8> {
    let link = format!("/proc/self/fd/{}", root.as_raw_fd());
    readlinkat(CWD, link, Vec::new()).map(std::ffi::CString::into_bytes).unwrap_or_default()
}

fn open_mountinfo() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/proc/self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn read_mountinfo() -> Result<Vec<u8>, Errno> {
    let (file, mut text) = (open_mountinfo()?, Vec::new());
    loop {
        text.reserve(16 << 10);
        match rustix::io::read(file.as_fd(), rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => return Ok(text),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /of-file-system /mount-point options optional… - type source options`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = number(fields.next()?)?;
    let (major, minor) = std::str::from_utf8(fields.nth(1)?).ok()?.split_once(':')?;
    let device = makedev(major.parse().ok()?, minor.parse().ok()?);
    let point = unescape(fields.nth(1)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let remote = is_remote_type(kind);
    Some(Mount { id, device: Device { number: device, remote }, point })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Decodes a field: space, tab, newline and backslash are written as `\040` and so on.
fn unescape(field: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let code = match (first, behind) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                rest = &behind[3..];
                (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
            }
            _ => first,
        };
        out.push(code);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        40 27 0:50 / /srv/far rw shared:3 master:1 - fuse.bindfs /x rw\n\
        41 27 0:51 / /srv/a\\040b rw - nfs4 host:/y rw\n\
        42 40 8:1 / /srv/far/near rw - ext4 /dev/sda1 rw\n\
        43 27 0:52 / /srv2 rw - nfs host:/z rw\n\
        nonsense\n";

    fn device(major: u32, minor: u32, remote: bool) -> Device {
        Device { number: makedev(major, minor), remote }
    }

    #[test]
    fn the_deepest_mount_on_a_path_is_its_device() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 5);
        let table = Table::under(b"/srv".to_vec(), mounts[0].device, &mounts);
        for (path, expected) in [
            ("", device(254, 0, false)),
            ("x", device(254, 0, false)),
            ("farther", device(254, 0, false)),
            ("far", device(0, 50, true)),
            ("far/x", device(0, 50, true)),
            ("far/near/x", device(8, 1, false)),
            ("a b/x", device(0, 51, true)),
        ] {
            assert_eq!(table.device_at(path.as_bytes()), expected, "{path}");
        }
        assert!(table.has_remote());
        let root = Table::under(b"/".to_vec(), mounts[0].device, &mounts);
        assert_eq!(root.device_at(b"srv/far/x"), device(0, 50, true));
    }

    #[test]
    fn the_last_of_two_mounts_on_one_point_counts() {
        let text = [TEXT, b"44 40 8:2 / /srv/far rw - xfs /dev/sdb rw\n"].concat();
        let mounts = parse(&text);
        let table = Table::under(b"/srv".to_vec(), mounts[0].device, &mounts);
        assert_eq!(table.device_at(b"far/x"), device(8, 2, false));
    }

    #[test]
    fn the_root_is_found_in_the_table_of_this_process() {
        let root = Root::at(std::path::Path::new("/proc")).unwrap();
        let table = Table::read(&root);
        assert_eq!(table.path, b"/proc");
        assert_eq!(Some(table.root.number), device_number(root.as_fd()));
        assert!(!table.root.remote);
    }
}
