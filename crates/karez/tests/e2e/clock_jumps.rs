//! Jumps of the wall clock: deadlines are by the monotonic clock, so that none fires early or late.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::connection_limits::{LARGE, half_open, site};
use crate::layouts;
use crate::server::Server;

/// Adds the seconds in a file to the wall clock of a process, by each call of clock_gettime(2) through the C library.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static volatile int64_t *offset;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("TEST_CLOCK_OFFSET");
    void *mapped = mmap(0, 8, PROT_READ, MAP_SHARED, open(name, O_RDONLY), 0);
    if (mapped == MAP_FAILED) abort();
    offset = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += *offset;
    return result;
}
"#;

/// More than all deadlines.
const YEAR: i64 = 366 * 86_400;

/// A wall clock that the test sets.
struct Clock {
    shim: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// Prints the reason and returns `None` where no C compiler is.
    fn make(directory: &Path) -> Option<Self> {
        let (source, shim) = (directory.join("shim.c"), directory.join("shim.so"));
        let clock = Self { shim, offset: directory.join("offset") };
        fs::write(&source, SHIM).unwrap();
        clock.jump_to(0);
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-o"]).arg(&clock.shim).arg(&source).arg("-ldl");
        match command.status() {
            Ok(status) if status.success() => Some(clock),
            failed => {
                println!("skipped: no C compiler: {failed:?}");
                None
            }
        }
    }

    /// Writes into the file that is mapped, without truncating it.
    fn jump_to(&self, seconds: i64) {
        use std::os::unix::fs::FileExt as _;
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&self.offset).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

#[test]
fn deadlines_ignore_jumps_of_the_wall_clock() {
    let directory = tempfile::tempdir().unwrap();
    let Some(clock) = Clock::make(directory.path()) else { return };
    let root = site();
    let preload = format!("LD_PRELOAD={}", clock.shim.display());
    let offset = format!("TEST_CLOCK_OFFSET={}", clock.offset.display());
    for layout in layouts::each_model() {
        clock.jump_to(0);
        let flags = ["--log", "off", "--header-timeout", "2s"];
        let server = Server::start_under(&["env", &preload, &offset], layout, root.path(), &flags);
        let mut idle = server.connect();
        let year = |date: &str| date[12..16].to_owned();
        let now = |server: &Server| year(server.get("/small").field("date").unwrap());
        let before = year(idle.get("/small").field("date").unwrap());
        let mut download = server.connect();
        assert_eq!(download.start_get("/large").status, 200, "{layout}");

        clock.jump_to(YEAR);
        server.wait_until("the wall clock has jumped", || now(&server) > before);
        assert_eq!(idle.get("/small").body, b"small", "{layout}");
        download.read_body(LARGE);

        let mut partial = half_open(&server);
        clock.jump_to(-YEAR);
        server.wait_until("it has jumped back", || now(&server) < before);
        assert_eq!(partial.response(false).status, 408, "{layout}");
        assert_eq!(idle.get("/small").body, b"small", "{layout}");
    }
}
