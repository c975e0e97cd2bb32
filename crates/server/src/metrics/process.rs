//! Numbers of the process, by files of proc(5) that are opened once: a sandbox may forbid to open them later.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

use rustix::fs::{Dir, Mode, OFlags, open};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::lock::lock;

/// The files of proc(5).
pub(super) struct Process {
    stat: Option<File>,
    descriptors: Option<Mutex<Dir>>,
    /// Seconds between 1970 and the start of the system.
    boot: Option<u64>,
}

/// Numbers of the process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessNumbers {
    pub(super) cpu_seconds: f64,
    /// Seconds since 1970.
    pub(super) start_time: f64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
    pub(super) open_descriptors: u64,
    pub(super) max_descriptors: u64,
}

impl Process {
    pub(super) fn open() -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open("/proc/self/fd", flags, Mode::empty()).ok();
        let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
            line.trim().parse().ok()
        });
        Self {
            stat: File::open("/proc/self/stat").ok(),
            descriptors: directory.and_then(|fd| Dir::new(fd).ok()).map(Mutex::new),
            boot,
        }
    }

    /// Reads the numbers; `None` without `/proc`.
    pub(super) fn read(&self) -> Option<ProcessNumbers> {
        let mut buffer = [0; 1024];
        let count = self.stat.as_ref()?.read_at(&mut buffer, 0).ok()?;
        let mut numbers = parse(std::str::from_utf8(&buffer[..count]).ok()?)?;
        numbers.start_time += self.boot? as f64;
        numbers.open_descriptors = self.count_descriptors().unwrap_or(0);
        numbers.max_descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Some(numbers)
    }

    fn count_descriptors(&self) -> Option<u64> {
        let mut directory = lock(self.descriptors.as_ref()?);
        directory.rewind();
        let entries = directory.by_ref().filter_map(Result::ok);
        let count = entries.filter(|entry| !entry.file_name().to_bytes().starts_with(b".")).count();
        u64::try_from(count).ok()
    }
}

/// Returns the numbers of `/proc/PID/stat`; the start is in seconds since that of the system.
fn parse(stat: &str) -> Option<ProcessNumbers> {
    // The name may contain anything. The field behind it is the third.
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = clock_ticks_per_second() as f64;
    Some(ProcessNumbers {
        cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
        start_time: field(22)? as f64 / ticks,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_size() as u64,
        ..ProcessNumbers::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    #[expect(clippy::print_stdout, reason = "a test says what it skips")]
    fn numbers_are_those_of_this_process() {
        let process = Process::open();
        let Some(first) = process.read() else { return println!("skipped: no /proc") };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        // A container may have another clock of the start.
        assert!(first.start_time > 1e9 && first.start_time < now + 60.0, "{first:?}");
        assert!(first.resident_bytes > 0 && first.virtual_bytes >= first.resident_bytes);
        let before = process.read().unwrap().open_descriptors;
        assert!(before >= 2 && first.max_descriptors >= before, "{first:?}");
    }

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let mut text = "7 (a) b) R".to_owned();
        (4..=24).for_each(|number| text += &format!(" {number}"));
        let numbers = parse(&text).unwrap();
        assert_eq!(numbers.virtual_bytes, 23);
        assert_eq!((numbers.cpu_seconds * clock_ticks_per_second() as f64).round(), 29.0);
    }
}
