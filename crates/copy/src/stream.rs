//! Copies from and to streams: pipes, terminals and devices, which have bytes but no length.
//!
//! As with cp(1) they are read and written, not made anew, unless trees are copied. splice(2) where
//! one end is a pipe. A regular file as the target gets its name when the stream has ended.
//!
//! poll(2) with a timeout precedes each step, so that the observer can stop a blocked copy.
//!
//! # Limitations
//!
//! Bytes that were read from a pipe and could not be written are lost. The open of a FIFO without a
//! reader is retried by a timer. Attributes of a stream are not copied; holes become zeros.

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

use crate::atomic_file::Commit;
use crate::attribute_failures::AttributeFailures;
use crate::attributes::{self, PERMISSIONS};
use crate::context::Context;
use crate::directory::Directory;
use crate::error::Error;
use crate::file::{FAR, existing, may_replace, size};
use crate::hard_links::identity;
use crate::name::Name;
use crate::options::Options;
use crate::pseudo_file::is_pseudo_file;
use crate::sink::Sink;
use crate::summary::Summary;
use crate::sync::sync;
use crate::target;

/// The time between two calls of the observer during a wait.
const POLL_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The time between two attempts to open a FIFO without a reader.
const PAUSE: Duration = Duration::from_millis(20);

/// `PIPEFS_MAGIC` of linux/magic.h: pipes without a name.
const PIPEFS: i128 = 0x5049_5045;

/// The name of standard input and standard output.
const STANDARD: &str = "-";

/// A copy with a stream at one end or both.
pub(crate) struct Stream {
    from: Input,
    pub(crate) to: Output,
}

enum Input {
    Standard,
    Path(PathBuf),
}

/// The destination of a stream.
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
                return Err(Error::invalid(source, "is a directory, and the target is a stream"));
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
        return Err(Error::invalid(
            source,
            "is standard input, which has no name for a copy in a directory",
        ));
    }
    let (parents, name) = target::place(&to)?;
    Ok(Output::File { parents: Arc::new(parents), name })
}

/// Returns whether the file is a FIFO or a device.
fn is_special(path: &Path) -> bool {
    let kind = stat(path).map(|stat| FileType::from_raw_mode(stat.st_mode));
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device() || kind.is_block_device())
}

impl Stream {
    pub(crate) fn copy(&self, context: &Context<'_>, summary: &mut Summary) -> Result<(), Error> {
        if context.options.keep_existing && self.to.exists()? {
            // A FIFO is not opened, because its writer would notice.
            summary.skipped += 1;
            return Ok(());
        }
        let from = Source::open(&self.from)?;
        match &self.to {
            Output::File { parents, name } => {
                from.copy_to_file(parents.sink(name), context, summary)
            }
            Output::Special(path) => {
                let sink = open_special(path, context)?;
                from.copy_to_stream(sink.as_fd(), path, context, summary)
            }
            Output::Standard => {
                let (sink, path) = (std::io::stdout(), Path::new("standard output"));
                from.copy_to_stream(sink.as_fd(), path, context, summary)
            }
        }
    }
}

impl Output {
    /// Returns whether the destination exists; false for standard output.
    fn exists(&self) -> Result<bool, Error> {
        match self {
            Self::Standard => Ok(false),
            Self::Special(_) => Ok(true),
            Self::File { parents, name } => existing(parents.sink(name)).map(|old| old.is_some()),
        }
    }
}

/// An open source.
struct Source {
    file: OwnedFd,
    stat: Stat,
    path: PathBuf,
    /// Whether it is standard input.
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
                // The open of a FIFO does not block; the wait is by poll, which can be interrupted.
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

    /// Returns whether it is read at offsets, not as a stream.
    fn is_file(&self) -> bool {
        self.kind().is_file() && !self.is_standard
    }

    /// Returns whether its size is unknown (proc(5), sysfs(5)), as of the open.
    fn has_unknown_size(&self) -> bool {
        size(&self.stat) == 0 || is_pseudo_file(self.file.as_fd(), &self.stat)
    }

    fn name(&self) -> Name<'_> {
        Name { directory: CWD, path: &self.path, name: c"" }
    }

    /// Returns the mode of a new file; a pipe without a name has none to copy.
    fn mode(&self) -> u32 {
        let is_pipe = || fstatfs(&self.file).is_ok_and(|fs| i128::from(fs.f_type) == PIPEFS);
        if self.is_standard || is_pipe() { 0o666 } else { self.stat.st_mode & PERMISSIONS }
    }

    fn copy_to_file(
        &self,
        to: Name<'_>,
        context: &Context<'_>,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        let old = existing(to)?;
        if let Some(old) = &old {
            may_replace((&self.stat, self.name()), (old, to))?;
        }
        let exists = old.is_some();
        let old = old.filter(|old| FileType::from_raw_mode(old.st_mode).is_file());
        wait(self.file.as_fd(), PollFlags::IN, &self.path, context)?;
        let mode = if old.is_some() { 0o600 } else { self.mode() };
        let (from, mode) = ((&self.stat, self.name()), Mode::from_raw_mode(mode));
        let sink = Sink::open(from, (old.as_ref(), to), mode, context)?;
        let file = sink.file().as_fd();
        let transfer =
            Piped::to_file(0, None, self.settings(context.options, FileType::RegularFile));
        let ends = Ends { source: self, sink: file, sink_waits: false, path: &to.path() };
        let moved = ends.drive(transfer, context, summary);
        moved.map_err(|error| sink.ended_early(error, to))?;
        if let (Some(old), false) = (&old, sink.is_in_place()) {
            attributes::inherit(old, file, to, &mut AttributeFailures::new(context, summary));
        }
        context.check_stop()?;
        let copy = Arc::clone(sink.file());
        // The old file keeps its name until the new one is on the disk.
        let replaces = exists && !sink.is_in_place();
        if replaces && context.options.sync {
            sync(&copy, &to.path())?;
            summary.synced += 1;
        }
        let commit = sink.commit((old.as_ref(), to), context.options.keep_existing, context)?;
        commit.count(&mut summary.files, &mut summary.skipped);
        context.observer.file_done();
        if commit == Commit::Committed && context.options.sync && !replaces {
            context.sync_file(&copy, to, summary);
        }
        Ok(())
    }

    fn copy_to_stream(
        &self,
        sink: BorrowedFd<'_>,
        path: &Path,
        context: &Context<'_>,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        let there = fstat(sink).map_err(Error::of("fstat", path))?;
        let kind = FileType::from_raw_mode(there.st_mode);
        if identity(&there) == identity(&self.stat) && !kind.is_char_device() && !kind.is_socket() {
            return Err(Error::SameFile { from: self.path.clone(), to: path.to_owned() });
        }
        let settings = self.settings(context.options, kind);
        let ends = Ends { source: self, sink, sink_waits: true, path };
        if self.is_file() {
            let size = size(&self.stat);
            // Only a read finds the end of a file that reports a size of 0 (proc(5)).
            let (end, settings) = match self.has_unknown_size() {
                true => (FAR, settings.via(Via::Copy)),
                false => (size, settings),
            };
            context.observer.file_found(size);
            ends.drive(Piped::from_file(0..end, settings), context, summary)?;
        } else {
            ends.drive(Piped::between(None, settings), context, summary)?;
        }
        summary.files += 1;
        context.observer.file_done();
        Ok(())
    }

    /// Chooses the transfer method: splice(2) needs a pipe.
    fn settings(&self, options: &Options, sink: FileType) -> Settings {
        let via = match options.via {
            Via::Auto if sink.is_fifo() || self.kind().is_fifo() => Via::Auto,
            Via::Auto if self.is_file() => Via::Sendfile,
            Via::Auto => Via::Copy,
            via => via,
        };
        // `O_DIRECT` is not supported here; the pages of the file are dropped instead.
        let cache = match options.cache {
            CachePolicy::Direct => CachePolicy::Drop,
            cache => cache,
        };
        Settings::from(via).cache(cache)
    }
}

/// Both open ends.
struct Ends<'a> {
    source: &'a Source,
    sink: BorrowedFd<'a>,
    /// The sink is a stream and may block.
    sink_waits: bool,
    path: &'a Path,
}

impl Ends<'_> {
    fn drive(
        &self,
        mut transfer: Piped,
        context: &Context<'_>,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        if !self.source.is_file() {
            context.observer.stream_found();
        }
        let outcome = self.step_to_the_end(&mut transfer, context);
        summary.add_report(transfer.report());
        outcome
    }

    fn step_to_the_end(&self, transfer: &mut Piped, context: &Context<'_>) -> Result<(), Error> {
        loop {
            self.wait(transfer, context)?;
            context.check_stop()?;
            let error = match transfer.step(self.source.file.as_fd(), self.sink) {
                Ok(Progress::Moved(bytes)) => {
                    context.observer.advanced(bytes);
                    continue;
                }
                Ok(Progress::NeedsReadable | Progress::NeedsWritable) => continue,
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::Truncated { .. }) if self.source.has_unknown_size() => return Ok(()),
                Ok(Progress::Truncated { .. }) => {
                    let (path, was) = (self.source.path.clone(), size(&self.source.stat));
                    return Err(Error::Truncated { path, was, is: transfer.report().bytes });
                }
                Ok(_) => Errno::AGAIN.into(),
                Err(error) => error,
            };
            let (from, to) = (self.source.path.clone(), self.path.to_owned());
            let (via, at) = (transfer.report().effective, transfer.report().bytes);
            return Err(Error::Transfer { from, to, via, at, error });
        }
    }

    /// Waits until both ends are ready, whether they are blocking or not.
    fn wait(&self, transfer: &Piped, context: &Context<'_>) -> Result<(), Error> {
        if !self.source.is_file() && transfer.in_flight() == 0 {
            wait(self.source.file.as_fd(), PollFlags::IN, &self.source.path, context)?;
        }
        if self.sink_waits {
            wait(self.sink, PollFlags::OUT, self.path, context)?;
        }
        Ok(())
    }
}

/// Waits until a stream is ready.
fn wait(
    fd: BorrowedFd<'_>,
    flags: PollFlags,
    path: &Path,
    context: &Context<'_>,
) -> Result<(), Error> {
    loop {
        context.check_stop()?;
        let mut waiting = PollFd::from_borrowed_fd(fd, flags);
        match poll(std::slice::from_mut(&mut waiting), Some(&POLL_TIMEOUT)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(Error::of("poll", path)(errno)),
        }
    }
}

/// Opens a FIFO or a device to be written to; a FIFO when it has a reader.
fn open_special(path: &Path, context: &Context<'_>) -> Result<OwnedFd, Error> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    loop {
        context.check_stop()?;
        match open(path, flags, Mode::empty()) {
            // No reader yet: a blocking open(2) could not be interrupted.
            Err(Errno::NXIO) if is_fifo(path) => thread::sleep(PAUSE),
            opened => return opened.map_err(Error::of("open", path)),
        }
    }
}

fn is_fifo(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_fifo())
}
