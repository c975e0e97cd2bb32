//! Files that a job has opened: by a ring where there is one, else by the thread that runs the job.

use karez_reactor::{Model, OpenRequest, OpenedFile, SharedFd, Shutdown, Topology};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkfifoat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::scripted_task::{
    SHORT, ask, config, connect, end_of, everywhere, many, read_some, serve,
};

/// A job that needs one name after the other.
pub struct Sizes {
    names: Vec<String>,
    said: String,
    how: ResolveFlags,
    /// That is a way that the kernel does not know.
    refused: bool,
}

impl Sizes {
    /// Of names apart by spaces; behind a question mark, to be looked up as no kernel knows how.
    pub fn of(names: &[u8]) -> Self {
        let names = String::from_utf8(names.to_vec()).unwrap();
        let (how, names) = match names.strip_prefix('?') {
            Some(names) => (ResolveFlags::from_bits_retain(1 << 40), names),
            None => (ResolveFlags::empty(), &*names),
        };
        let names = names.split(' ').rev().map(str::to_owned).collect();
        Self { names, said: String::new(), how, refused: false }
    }

    fn say(&mut self, what: &str) {
        self.said += what;
        self.said.push(' ');
    }

    pub fn run(mut self) -> Vec<u8> {
        while let Some(name) = self.names.pop() {
            let size = File::open(name).and_then(|file| file.metadata()).map(|meta| meta.len());
            self.say(&size.map_or("?".to_owned(), |size| size.to_string()));
        }
        let by = thread::current().name().unwrap_or("?").to_owned();
        format!("{}run by {by}", self.said).into_bytes()
    }

    pub fn open_request(&mut self) -> Option<OpenRequest> {
        let name = CString::new(&**self.names.last()?).unwrap();
        let root: SharedFd = Arc::new(File::open("/").unwrap());
        // The kernel first tries with O_NONBLOCK, by which a FIFO opens, but not with O_TRUNC.
        let hangs = self.names.last()?.ends_with("fifo");
        let flags = OFlags::RDONLY | if hangs { OFlags::TRUNC } else { OFlags::empty() };
        (!self.refused).then(|| OpenRequest::new(root, name, flags, self.how))
    }

    pub fn opened(mut self, found: Result<OpenedFile, Errno>) -> Result<Vec<u8>, Self> {
        match found {
            Err(Errno::INVAL) => {
                self.refused = true;
                return Err(self);
            }
            found => {
                self.names.pop();
                self.say(&found.map_or("?".to_owned(), |found| found.meta.stx_size.to_string()));
            }
        }
        if self.names.is_empty() {
            return Ok(format!("{}looked up", self.said).into_bytes());
        }
        Err(self)
    }
}

fn order(paths: &[&Path]) -> Vec<u8> {
    let paths: Vec<_> = paths.iter().map(|path| path.as_os_str().as_bytes()).collect();
    [b"o", &paths.join(&b' ')[..]].concat()
}

fn made_in(directory: &Path) -> [PathBuf; 3] {
    let [a, b, fifo] = ["a", "b", "fifo"].map(|name| directory.join(name));
    fs::write(&a, [7; 12345]).unwrap();
    fs::write(&b, [7; 7]).unwrap();
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    [a, b, fifo]
}

/// On io_uring, in every topology.
fn in_rings(script: impl Fn(SocketAddr, &Shutdown, &str)) {
    if let Err(why) = Model::Uring.probe() {
        return println!("skipped: {why}");
    }
    for &topology in Topology::ALL {
        serve(config(Model::Uring, topology), many(), |address, stop, name, _| {
            script(address, stop, name);
        });
    }
}

#[test]
fn a_job_learns_what_names_are_whoever_looks() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b, _] = made_in(directory.path());
    let nonesuch = directory.path().join("nonesuch");
    everywhere(many(), |address, _, name| {
        let mut stream = connect(address);
        for _ in 0..3 {
            let by = if name.contains("uring") { "looked up" } else { "run by karez-" };
            let answer = format!("12345 ? 7 {by}");
            stream.write_all(&order(&[&a, &nonesuch, &b])).unwrap();
            let mut got = [0; 64];
            let count = read_some(&mut stream, &mut got);
            let got = String::from_utf8_lossy(&got[..count]);
            assert!(got.starts_with(&answer), "{name}: {got}");
            let worker = got.contains("karez-work");
            let inline = name.contains("single") && !name.starts_with("blocking");
            let pooled = !inline && !name.contains("uring");
            assert_eq!(worker, pooled, "{name}: {got}");
        }
    });
}

#[test]
fn what_a_ring_cannot_look_up_is_run() {
    let directory = tempfile::tempdir().unwrap();
    let [_, b, _] = made_in(directory.path());
    in_rings(|address, _, name| {
        let mut stream = connect(address);
        let order = [b"o?", b.as_os_str().as_bytes()].concat();
        let by = if name.contains("single") { "karez-0" } else { "karez-work-" };
        let answer = format!("7 run by {by}");
        ask(&mut stream, &order, answer.as_bytes(), name);
    });
}

#[test]
fn a_name_that_hangs_holds_up_nobody_else() {
    in_rings(|address, stop, name| {
        let directory = tempfile::tempdir().unwrap();
        let [a, b, fifo] = made_in(directory.path());
        let mut held: Vec<_> = (0..3).map(|_| connect(address)).collect();
        for stream in &mut held {
            stream.write_all(&order(&[&a, &fifo, &b])).unwrap();
        }
        let mut others: Vec<_> = (0..10).map(|_| connect(address)).collect();
        for _ in 0..10 {
            for stream in &mut others {
                ask(stream, b"ehello", b"hello", name);
                ask(stream, &order(&[&a]), b"12345 looked up", name);
            }
        }
        stop.trigger();
        for stream in others {
            assert!(end_of(stream).is_empty(), "{name}: idle");
        }
        // A connection that waits for a file is waited for.
        let writer = OpenOptions::new().write(true).open(&fifo).unwrap();
        for stream in held {
            assert_eq!(end_of(stream), b"12345 0 7 looked up", "{name}");
        }
        drop(writer);
    });
}

#[test]
fn at_the_end_of_the_grace_what_hangs_is_cancelled() {
    let mut limits = many();
    limits.grace = SHORT;
    let directory = tempfile::tempdir().unwrap();
    let [_, _, fifo] = made_in(directory.path());
    if let Err(why) = Model::Uring.probe() {
        return println!("skipped: {why}");
    }
    for &topology in Topology::ALL {
        serve(config(Model::Uring, topology), limits, |address, stop, name, _| {
            let mut witness = connect(address);
            let mut held = connect(address);
            held.write_all(&order(&[&fifo])).unwrap();
            ask(&mut witness, b"ehello", b"hello", name);
            stop.trigger();
            // A reset, if its order had not been received before the end.
            let mut rest = Vec::new();
            let end = held.read_to_end(&mut rest);
            assert!(end.is_ok_and(|count| count == 0) || rest.is_empty(), "{name}");
        });
        // No thread has it open, or is about to open it.
        let nobody = OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&fifo);
        assert_eq!(nobody.map(drop).map_err(|error| error.raw_os_error()), Err(Some(6)));
    }
}
