//! A disk so slow that a read outlasts the test: requests for files in memory are answered meanwhile, also
//! while pages of the same file are in the page cache and not read in.

use karez_transfer::Via;
use rustix::fs::{major, minor};
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::cold_files::{with_workers, write_cold};
use crate::disk_image::Image;
use crate::files::pattern;
use crate::layouts::Layout;
use crate::server::Server;

/// Sizes for an inlined file, one that `auto` copies or sends, and one of several steps.
const SIZES: [usize; 3] = [5000, 100_000, 3 << 20];

/// The bytes that the disk reads per second.
const RATE: usize = 100;

/// A file system on a loop device, and a control group for which it is slow.
struct SlowDisk {
    image: Image,
    group: PathBuf,
    device: String,
}

impl SlowDisk {
    /// Prints the reason and returns `None` where that is not possible.
    fn mount() -> Option<Self> {
        let image = Image::made_by(&["mkfs.ext4", "-q", "-O", "^has_journal"], 64)?;
        let name = format!("/sys/fs/cgroup/blkio/karez-e2e-{}", std::process::id());
        let group = PathBuf::from(name);
        let number = fs::metadata(&image.path).unwrap().dev();
        let device = format!("{}:{}", major(number), minor(number));
        let disk = Self { image, group, device };
        let limited = fs::create_dir(&disk.group).and_then(|()| disk.limit(RATE));
        if let Err(error) = limited {
            println!("skipped: no control group that slows a disk: {error}");
            return None;
        }
        Some(disk)
    }

    /// Limits the bytes read per second; 0 removes the limit.
    fn limit(&self, rate: usize) -> std::io::Result<()> {
        let file = self.group.join("blkio.throttle.read_bps_device");
        fs::write(file, format!("{} {rate}", self.device))
    }

    /// Starts a server for which the disk is slow.
    fn serve(&self, layout: Layout) -> Server {
        let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", self.group.display());
        let prefix = ["sh", "-c", &script, "sh"];
        Server::start_under(&prefix, layout, &self.image.path, &["--log", "off"])
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _fast = self.limit(0);
        let _removed = fs::remove_dir(&self.group);
    }
}

#[test]
fn pages_that_are_being_read_do_not_block_other_connections() {
    let Some(disk) = SlowDisk::mount() else { return };
    fs::write(disk.image.join("hot"), b"from memory").unwrap();
    // Direct reads leave no pages in the page cache.
    for layout in with_workers().filter(|layout| layout.via != Via::Direct) {
        let server = disk.serve(layout);
        for size in SIZES {
            let (path, target) = (disk.image.join(size.to_string()), format!("/{size}"));
            write_cold(&path, size);
            let file = File::open(&path).unwrap();
            let pages = || karez_sys::cached_pages(file.as_fd(), 0..size as u64);
            if pages().is_err() {
                return println!("skipped: no cachestat");
            }
            let mut first = server.connect();
            first.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
            server.wait_until("a page is being read", || pages().unwrap() > 0);
            // For these requests pages are in the page cache, but a send would wait for the disk.
            let mut others: Vec<_> = (0..2).map(|_| server.connect()).collect();
            for other in &mut others {
                other.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
            }
            for _ in 0..20 {
                assert_eq!(server.get("/hot").body, b"from memory", "{layout}, {size}");
            }
            disk.limit(0).unwrap();
            for client in [first].iter_mut().chain(&mut others) {
                assert!(client.response(false).body == pattern(size), "{layout}, {size}");
            }
            disk.limit(RATE).unwrap();
        }
    }
}
