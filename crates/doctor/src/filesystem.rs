//! The file system of a directory: its type and the features it offers for files.

use karez_sys::{cached_pages, clone_range};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, inotify, openat, statfs, statx};
use rustix::io::{Errno, IoSlice, IoSliceMut, ReadWriteFlags, preadv2, pwritev2};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::finding::{Finding, Section};

/// `RWF_DONTCACHE` of linux/fs.h, which rustix does not name.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// A size for which every file system has space.
const BLOCK: usize = 64 << 10;

pub(crate) fn section(directory: &Path) -> Section {
    let mut findings = vec![kind(directory), watched(directory), unnamed(directory)];
    match block(directory) {
        Ok(file) => findings.extend(of_file(&file, directory)),
        Err(error) => {
            findings.push(Finding::unknown("files", format!("cannot be created there: {error}")));
        }
    }
    Section { title: "file system", findings }
}

fn of_file(file: &File, directory: &Path) -> Vec<Finding> {
    let shared = tempfile::tempfile_in(directory)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        .and_then(|other| clone_range(file.as_fd(), 0..BLOCK as u64, other.as_fd(), 0));
    let mut buffer = vec![0; BLOCK];
    let nowait = preadv2(file, &mut [IoSliceMut::new(&mut buffer)], 0, ReadWriteFlags::NOWAIT);
    let uncached = pwritev2(file, &[IoSlice::new(&buffer)], 0, DONTCACHE);
    vec![
        Finding::from_result("shared extents (reflink)", &shared, "since Linux 4.5"),
        aligned(file),
        Finding::from_result("cached reads (RWF_NOWAIT)", &nowait, "since Linux 4.14"),
        Finding::from_result("uncached I/O (RWF_DONTCACHE)", &uncached, "since Linux 6.14"),
        Finding::from_result(
            "cached page count (cachestat)",
            &cached_pages(file.as_fd(), 0..BLOCK as u64),
            "since Linux 6.5",
        ),
    ]
}

/// Creates a file with one block on disk.
fn block(directory: &Path) -> std::io::Result<File> {
    let mut file = tempfile::tempfile_in(directory)?;
    file.write_all(&[0x6b; BLOCK])?;
    file.sync_data()?;
    Ok(file)
}

fn kind(directory: &Path) -> Finding {
    match statfs(directory) {
        Ok(stat) => {
            let number = u64::try_from(stat.f_type).unwrap_or(0) & 0xffff_ffff;
            let known = KINDS.iter().find(|kind| kind.0 == number);
            let name = known.map_or_else(|| format!("type {number:#x}"), |kind| kind.1.to_owned());
            Finding::fact("kind", name)
        }
        Err(errno) => Finding::from_result::<()>("kind", &Err(errno), "statfs"),
    }
}

/// File systems of linux/magic.h that commonly hold served files.
const KINDS: [(u64, &str); 16] = [
    (0xef53, "ext4, ext3 or ext2"),
    (0x9123_683e, "btrfs"),
    (0x5846_5342, "xfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
    (0x6969, "nfs"),
    (0x6573_5546, "fuse"),
    (0xf2f5_2010, "f2fs"),
    (0x2fc1_2fc1, "zfs"),
    (0xca45_1a4e, "bcachefs"),
    (0x0102_1997, "9p"),
    (0xff53_4d42, "cifs"),
    (0x7371_7368, "squashfs"),
    (0xe0f5_e1e2, "erofs"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
];

/// Reports the alignment that `O_DIRECT` requires: statx(2), `STATX_DIOALIGN`.
fn aligned(file: &File) -> Finding {
    let name = "direct I/O (O_DIRECT)";
    match statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
        Err(errno) => Finding::from_result::<()>(name, &Err(errno), "statx"),
        Ok(stat) if stat.stx_mask & StatxFlags::DIOALIGN.bits() == 0 => {
            Finding::unknown(name, "the kernel does not report the alignment (Linux 6.1 does)")
        }
        Ok(stat) if stat.stx_dio_offset_align == 0 => Finding::refused(name, "not for this file"),
        Ok(stat) => {
            let (memory, offset) = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
            Finding::available(name, format!("memory by {memory} bytes, offsets by {offset}"))
        }
    }
}

fn watched(directory: &Path) -> Finding {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)
        .and_then(|fd| inotify::add_watch(&fd, directory, inotify::WatchFlags::CREATE));
    Finding::from_result(
        "change notification (inotify)",
        &watch,
        "since Linux 2.6.13; without changes by other hosts of a network file system",
    )
}

fn unnamed(directory: &Path) -> Finding {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR);
    Finding::from_result("unnamed files (O_TMPFILE)", &opened, "since Linux 3.11")
}
