//! Pipes, terminals and devices, which have bytes but no length, as a source or a target.
//!
//! As with cp(1) they are read and written, not made anew, unless trees are copied. splice(2) where
//! an end is a pipe. A regular file as the target appears when the stream has ended.
//!
//! poll(2) comes before each step, with a timeout, so that a signal is obeyed while nothing moves.
//!
//! # Limitations
//!
//! What was taken from a pipe and could not be written is lost. A FIFO that has no reader yet is
//! tried again and again. Attributes of a stream are not copied; holes arrive as zeros.

use karez_transfer::{CachePolicy, Piped, Progress, Settings, Via};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, fstatfs, open, stat};
use rustix::io::{self, Errno};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::account::Account;
use crate::attributes::{self, PERMISSIONS};
use crate::directory::Directory;
use crate::error::Error;
use crate::file::{FAR, look, may_replace, size};
use crate::generated::is_generated;
use crate::links::identity;
use crate::name::Name;
use crate::options::Options;
use crate::refusals::Refusals;
use crate::run::Run;
use crate::sink::Sink;
use crate::sync::sync;
use crate::target;
use crate::unplaced::Placed;

/// How long a wait may last before the observer is asked again.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// How long a FIFO is left alone that has no reader.
const PAUSE: Duration = Duration::from_millis(20);

/// `PIPEFS_MAGIC` of linux/magic.h: pipes that have no name.
const PIPEFS: i128 = 0x5049_5045;

/// The name of standard input and standard output.
const STANDARD: &str = "-";

/// A copy of which an end is a stream.
pub(crate) struct Stream {
    from: Input,
    pub(crate) to: Output,
}

enum Input {
    Standard,
    Path(PathBuf),
}

/// Where a stream goes.
pub(crate) enum Output {
    Standard,
    Special(PathBuf),
    File { parents: Arc<Directory>, name: CString },
}

/// Finds out whether `source` or `target` is a stream.
pub(crate) fn find(
    source: &Path,
    target: &Path,
    several: bool,
    options: &Options,
) -> Result<Option<Stream>, Error> {
    let is_standard = |path: &Path| options.standard_streams && path == Path::new(STANDARD);
    let (stdin, stdout) = (is_standard(source), is_standard(target));
    let reads = !options.enters_directories();
    let from_stream = stdin || (reads && is_special(source));
    let to_special = !stdout && !several && (reads || stdin) && is_special(target);
    if !from_stream && !to_special && !stdout {
        return Ok(None);
    }
    if !stdin {
        let original = stat(source).map_err(Error::of("stat", source))?;
        match FileType::from_raw_mode(original.st_mode) {
            FileType::Directory if stdout => {
                return Err(Error::refused(source, "is a directory, and the target is a stream"));
            }
            FileType::Directory => return Ok(None),
            _ => {}
        }
    }
    let from = if stdin { Input::Standard } else { Input::Path(source.to_owned()) };
    let to = match (stdout, to_special) {
        (true, _) => Output::Standard,
        (_, true) => Output::Special(target.to_owned()),
        _ => file(source, target, several, stdin)?,
    };
    Ok(Some(Stream { from, to }))
}

fn file(source: &Path, target: &Path, several: bool, stdin: bool) -> Result<Output, Error> {
    let to = target::within(source, target, several)?;
    if stdin && to != target {
        return Err(Error::refused(source, "is standard input, which has no name of its own"));
    }
    let (parents, name) = target::place(&to)?;
    Ok(Output::File { parents: Arc::new(parents), name })
}

/// What is read and written like a file but is none.
fn is_special(path: &Path) -> bool {
    let kind = stat(path).map(|stat| FileType::from_raw_mode(stat.st_mode));
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device() || kind.is_block_device())
}

impl Stream {
    pub(crate) fn copy(&self, run: &Run<'_>, account: &mut Account) -> Result<(), Error> {
        if run.options.keep_existing && self.to.exists()? {
            // A FIFO is not even opened, for its writer would notice.
            account.skipped += 1;
            return Ok(());
        }
        let from = Source::open(&self.from)?;
        match &self.to {
            Output::File { parents, name } => from.copy_to_file(parents.sink(name), run, account),
            Output::Special(path) => {
                let sink = open_special(path, run)?;
                from.copy_to_stream(sink.as_fd(), path, run, account)
            }
            Output::Standard => {
                let (sink, path) = (std::io::stdout(), Path::new("standard output"));
                from.copy_to_stream(sink.as_fd(), path, run, account)
            }
        }
    }
}

impl Output {
    /// Whether there is something already; standard output is what is asked for.
    fn exists(&self) -> Result<bool, Error> {
        match self {
            Self::Standard => Ok(false),
            Self::Special(_) => Ok(true),
            Self::File { parents, name } => look(parents.sink(name)).map(|old| old.is_some()),
        }
    }
}

/// What the bytes come from.
struct Source {
    file: OwnedFd,
    stat: Stat,
    path: PathBuf,
    /// It is standard input.
    is_standard: bool,
}

impl Source {
    fn open(from: &Input) -> Result<Self, Error> {
        let (file, path, is_standard) = match from {
            Input::Standard => {
                let path = PathBuf::from("standard input");
                let file = io::dup(std::io::stdin()).map_err(Error::of("dup", &path))?;
                (file, path, true)
            }
            Input::Path(path) => {
                // A FIFO is not waited for: that is poll's, which a signal ends.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let file = open(path, flags, Mode::empty()).map_err(Error::of("open", path))?;
                (file, path.clone(), false)
            }
        };
        let stat = fstat(&file).map_err(Error::of("fstat", &path))?;
        Ok(Self { file, stat, path, is_standard })
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// A file of its own, that is read at offsets; else what is read is what comes next.
    fn is_file(&self) -> bool {
        self.kind().is_file() && !self.is_standard
    }

    /// Returns whether its size says nothing (proc(5), sysfs(5)): decided when it was opened.
    fn ends_where_it_ends(&self) -> bool {
        size(&self.stat) == 0 || is_generated(self.file.as_fd(), &self.stat)
    }

    fn name(&self) -> Name<'_> {
        Name { directory: CWD, path: &self.path, name: c"" }
    }

    /// A pipe without a name has no mode of its own either.
    fn mode(&self) -> u32 {
        let is_pipe = || fstatfs(&self.file).is_ok_and(|fs| i128::from(fs.f_type) == PIPEFS);
        if self.is_standard || is_pipe() { 0o666 } else { self.stat.st_mode & PERMISSIONS }
    }

    fn copy_to_file(
        &self,
        to: Name<'_>,
        run: &Run<'_>,
        account: &mut Account,
    ) -> Result<(), Error> {
        let old = look(to)?;
        if let Some(old) = &old {
            may_replace((&self.stat, self.name()), (old, to))?;
        }
        let stands = old.is_some();
        let old = old.filter(|old| FileType::from_raw_mode(old.st_mode).is_file());
        wait(self.file.as_fd(), PollFlags::IN, &self.path, run)?;
        let mode = if old.is_some() { 0o600 } else { self.mode() };
        let (from, mode) = ((&self.stat, self.name()), Mode::from_raw_mode(mode));
        let sink = Sink::open(from, (old.as_ref(), to), mode, run)?;
        let file = sink.file().as_fd();
        let transfer = Piped::to_file(0, None, self.settings(run.options, FileType::RegularFile));
        let ends = Ends { source: self, sink: file, sink_waits: false, path: &to.path() };
        let moved = ends.drive(transfer, run, account);
        moved.map_err(|error| sink.ended_early(error, to))?;
        if let (Some(old), false) = (&old, sink.is_in_place()) {
            attributes::inherit(old, file, to, &mut Refusals::new(run, account));
        }
        run.go_on()?;
        let copy = Arc::clone(sink.file());
        // One that is replaced must not lose its name before the new one is on the disk.
        let replaces = stands && !sink.is_in_place();
        if replaces && run.options.sync {
            sync(&copy, &to.path())?;
            account.synced += 1;
        }
        let placed = sink.place((old.as_ref(), to), run.options.keep_existing, run)?;
        placed.count(&mut account.files, &mut account.skipped);
        run.observer.placed();
        if placed == Placed::Here && run.options.sync && !replaces {
            run.sync_file(&copy, to, account);
        }
        Ok(())
    }

    fn copy_to_stream(
        &self,
        sink: BorrowedFd<'_>,
        path: &Path,
        run: &Run<'_>,
        account: &mut Account,
    ) -> Result<(), Error> {
        let there = fstat(sink).map_err(Error::of("fstat", path))?;
        let kind = FileType::from_raw_mode(there.st_mode);
        if identity(&there) == identity(&self.stat) && !kind.is_char_device() && !kind.is_socket() {
            return Err(Error::SameFile { from: self.path.clone(), to: path.to_owned() });
        }
        let settings = self.settings(run.options, kind);
        let ends = Ends { source: self, sink, sink_waits: true, path };
        if self.is_file() {
            let size = size(&self.stat);
            // Only a read tells what a file has that says it is empty (proc(5)).
            let (end, settings) = match self.ends_where_it_ends() {
                true => (FAR, Settings { via: Via::Copy, ..settings }),
                false => (size, settings),
            };
            run.observer.found(size);
            ends.drive(Piped::from_file(0..end, settings), run, account)?;
        } else {
            ends.drive(Piped::between(None, settings), run, account)?;
        }
        account.files += 1;
        run.observer.placed();
        Ok(())
    }

    /// How to move the bytes: splice(2) needs a pipe.
    fn settings(&self, options: &Options, sink: FileType) -> Settings {
        let via = match options.via {
            Via::Auto if sink.is_fifo() || self.kind().is_fifo() => Via::Auto,
            Via::Auto if self.is_file() => Via::Sendfile,
            Via::Auto => Via::Copy,
            via => via,
        };
        // Pages of the file at the other end can be dropped, not passed by.
        let cache = match options.cache {
            CachePolicy::Direct => CachePolicy::Drop,
            cache => cache,
        };
        Settings { via, cache, ..Settings::default() }
    }
}

/// Both ends, open.
struct Ends<'a> {
    source: &'a Source,
    sink: BorrowedFd<'a>,
    /// The sink is a stream, which may be full.
    sink_waits: bool,
    path: &'a Path,
}

impl Ends<'_> {
    fn drive(
        &self,
        mut transfer: Piped,
        run: &Run<'_>,
        account: &mut Account,
    ) -> Result<(), Error> {
        if !self.source.is_file() {
            run.observer.found_stream();
        }
        let outcome = self.step_to_the_end(&mut transfer, run);
        account.enter(transfer.report());
        outcome
    }

    fn step_to_the_end(&self, transfer: &mut Piped, run: &Run<'_>) -> Result<(), Error> {
        loop {
            self.wait(transfer, run)?;
            run.go_on()?;
            let error = match transfer.step(self.source.file.as_fd(), self.sink) {
                Ok(Progress::Moved(bytes)) => {
                    run.observer.advanced(bytes);
                    continue;
                }
                Ok(Progress::NeedsReadable | Progress::NeedsWritable) => continue,
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::Truncated { .. }) if self.source.ends_where_it_ends() => return Ok(()),
                Ok(Progress::Truncated { .. }) => {
                    let (path, was) = (self.source.path.clone(), size(&self.source.stat));
                    return Err(Error::CutOff { path, was, is: transfer.report().bytes });
                }
                Ok(_) => Errno::AGAIN.into(),
                Err(error) => error,
            };
            let (from, to) = (self.source.path.clone(), self.path.to_owned());
            let (via, at) = (transfer.report().ran, transfer.report().bytes);
            return Err(Error::Moving { from, to, via, at, error });
        }
    }

    /// Waits until both ends are ready, in whatever mode they are.
    fn wait(&self, transfer: &Piped, run: &Run<'_>) -> Result<(), Error> {
        if !self.source.is_file() && transfer.in_flight() == 0 {
            wait(self.source.file.as_fd(), PollFlags::IN, &self.source.path, run)?;
        }
        if self.sink_waits {
            wait(self.sink, PollFlags::OUT, self.path, run)?;
        }
        Ok(())
    }
}

/// Waits until a stream is ready.
fn wait(fd: BorrowedFd<'_>, flags: PollFlags, path: &Path, run: &Run<'_>) -> Result<(), Error> {
    loop {
        run.go_on()?;
        let mut waiting = PollFd::from_borrowed_fd(fd, flags);
        match poll(std::slice::from_mut(&mut waiting), Some(&PATIENCE)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(Error::of("poll", path)(errno)),
        }
    }
}

/// Opens a FIFO or a device to be written to; a FIFO when it has a reader.
fn open_special(path: &Path, run: &Run<'_>) -> Result<OwnedFd, Error> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    loop {
        run.go_on()?;
        match open(path, flags, Mode::empty()) {
            // It has no reader yet: open(2) would wait, and no signal would end that.
            Err(Errno::NXIO) if is_fifo(path) => thread::sleep(PAUSE),
            opened => return opened.map_err(Error::of("open", path)),
        }
    }
}

fn is_fifo(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_fifo())
}
