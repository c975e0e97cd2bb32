//! seccomp(2), Linux 3.5: an allow-list of the system calls that a server makes while it runs.
//!
//! Any other call fails with `ENOSYS`, as on a kernel without it: the C library and this program then take the
//! older way that they have for such kernels, so a library that begins to use a new call is not broken. The call
//! is not executed either way. Threads are made by clone(2), whose flags a filter can see, and not by clone3(2),
//! so no process can be made and no namespace entered; memory is never made executable.
//!
//! Since Linux 5.11 the kernel remembers which calls a filter permits whatever their arguments are, so that it
//! does not run the filter for them.
//!
//! # Limitations
//!
//! Operations of a ring (io_uring) are not seen. A filter cannot read memory: paths, and the flags of openat2(2),
//! are left to Landlock. Needs an architecture that the library knows: x86-64, AArch64 or RISC-V.

#![allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "types of libc differ between C libraries and architectures"
)]

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};
use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::io;

/// The system calls of a thread besides those of every server.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemCalls {
    /// io_uring(7).
    pub uring: bool,
    /// Linux AIO (io_submit(2)).
    pub aio: bool,
    /// Resetting a TCP connection by connect(2) with `AF_UNSPEC`. A filter does not see the family, so Landlock
    /// has to forbid connections; connecting by another size of an address is not permitted.
    pub disconnect: bool,
    /// Those of a client that connects, resolves names by the C library, which loads modules, and writes files.
    pub client: bool,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

impl SystemCalls {
    /// Forbids any other system call to the calling thread, and to threads that it makes later.
    ///
    /// # Errors
    /// The kernel has no filters, or none for this architecture.
    pub fn enforce(self) -> io::Result<()> {
        let failed = |error: &dyn std::fmt::Display| io::Error::other(format!("seccomp: {error}"));
        let program = self.program().map_err(|error| failed(&error))?;
        apply_filter(&program).map_err(|error| failed(&error))
    }

    fn program(self) -> Result<BpfProgram, BackendError> {
        let mut rules = Rules::new();
        let mut permit = |calls: &[c_long]| {
            rules.extend(calls.iter().map(|&call| (i64::from(call), Vec::new())));
        };
        permit(ALWAYS);
        #[cfg(target_arch = "x86_64")]
        permit(OLD);
        if self.uring {
            permit(URING);
        }
        if self.aio {
            permit(AIO);
        }
        if self.client {
            permit(CLIENT);
        }
        self.add_conditions(&mut rules)?;
        let otherwise = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        SeccompFilter::new(rules, otherwise, SeccompAction::Allow, ARCH.try_into()?)?.try_into()
    }

    /// Adds the calls that are permitted with some arguments only.
    fn add_conditions(self, rules: &mut Rules) -> Result<(), BackendError> {
        let mut permit = |call: c_long, argument: u8, values: &[Value]| {
            let rule = |value: &Value| SeccompRule::new(vec![value.of(argument)?]);
            let any_of = values.iter().map(rule).collect::<Result<_, _>>()?;
            rules.insert(i64::from(call), any_of);
            Ok::<_, BackendError>(())
        };
        permit(libc::SYS_clone, 0, &[Value::Masked(THREAD | NAMESPACES, THREAD)])?;
        permit(libc::SYS_ioctl, 1, &IOCTLS.map(|request| Value::Is(low_bits(request))))?;
        permit(libc::SYS_prctl, 0, &PRCTLS.map(|option| Value::Is(low_bits(option.into()))))?;
        permit(libc::SYS_prlimit64, 0, &[Value::Is(0)])?;
        if self.disconnect && !self.client {
            // As rustix calls it. No address of a UNIX socket is as long.
            let length = size_of::<libc::sockaddr_storage>() as u64;
            permit(libc::SYS_connect, 2, &[Value::Is(length)])?;
        }
        let own = u64::from(std::process::id());
        for call in [libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
            permit(call, 0, &[Value::Is(own)])?;
        }
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            let executable = libc::PROT_EXEC.unsigned_abs().into();
            let forbidden = if self.client { 0 } else { executable };
            permit(call, 2, &[Value::Masked(forbidden, 0)])?;
        }
        Ok(())
    }
}

/// A value of an argument, of which the kernel uses 32 bits.
enum Value {
    Is(u64),
    /// These bits have these values.
    Masked(u64, u64),
}

impl Value {
    fn of(&self, argument: u8) -> Result<SeccompCondition, BackendError> {
        let (operator, value) = match *self {
            Self::Is(value) => (SeccompCmpOp::Eq, value),
            Self::Masked(mask, value) => (SeccompCmpOp::MaskedEq(mask), value),
        };
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
    }
}

fn low_bits(value: u64) -> u64 {
    value & u64::from(u32::MAX)
}

const THREAD: u64 = libc::CLONE_THREAD.unsigned_abs() as u64;
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .unsigned_abs() as u64;

/// Signals of a descriptor, non-blocking mode, bytes that can be read and that are not acknowledged, close-on-exec,
/// whether a descriptor is a terminal, flags of a directory.
const IOCTLS: [u64; 8] = [
    libc::FIOASYNC as u64,
    libc::FIONBIO as u64,
    libc::FIONREAD as u64,
    libc::TIOCOUTQ as u64,
    libc::FIOCLEX as u64,
    libc::TCGETS as u64,
    libc::TIOCGWINSZ as u64,
    libc::FS_IOC_GETFLAGS as u64,
];

/// The name of a thread; names of memory areas, which glibc gives; the auxiliary vector (PR_GET_AUXV).
const PRCTLS: [u32; 4] = [
    libc::PR_SET_NAME.unsigned_abs(),
    libc::PR_GET_NAME.unsigned_abs(),
    libc::PR_SET_VMA.unsigned_abs(),
    0x4155_5856,
];

#[rustfmt::skip]
const ALWAYS: &[c_long] = &[
    // Files.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_lseek, libc::SYS_close,
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_statx, libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_fstatfs,
    libc::SYS_statfs, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getdents64,
    libc::SYS_getcwd, libc::SYS_unlinkat, libc::SYS_ftruncate, libc::SYS_fsync, libc::SYS_fdatasync,
    libc::SYS_fadvise64, libc::SYS_sync_file_range, libc::SYS_dup, libc::SYS_fcntl, libc::SYS_memfd_create,
    libc::SYS_mincore, CACHESTAT, libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    // Transfers.
    libc::SYS_sendfile, libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice, libc::SYS_copy_file_range,
    libc::SYS_pipe2, libc::SYS_eventfd2,
    // Sockets that exist or are accepted.
    libc::SYS_accept, libc::SYS_accept4, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg,
    libc::SYS_shutdown, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_getsockname, libc::SYS_getpeername,
    // Waiting.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2, libc::SYS_ppoll,
    libc::SYS_pselect6, libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk,
    // Threads.
    libc::SYS_futex, FUTEX_WAITV, FUTEX_WAKE, FUTEX_WAIT, libc::SYS_set_robust_list, libc::SYS_rseq,
    libc::SYS_membarrier, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_getuid, libc::SYS_geteuid,
    libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getcpu, libc::SYS_getrusage, libc::SYS_sysinfo, libc::SYS_uname,
    // Signals.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigpending, libc::SYS_sigaltstack,
    // Time and randomness.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_getrandom,
];

/// Calls of which other architectures have only the newer form.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLD: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_unlink,
    libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_epoll_create, libc::SYS_pipe,
    libc::SYS_getrlimit, libc::SYS_time,
];

const URING: &[c_long] =
    &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

#[rustfmt::skip]
const AIO: &[c_long] = &[
    libc::SYS_io_setup, libc::SYS_io_submit, libc::SYS_io_getevents, libc::SYS_io_cancel,
    libc::SYS_io_destroy,
];

#[rustfmt::skip]
const CLIENT: &[c_long] = &[
    libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_flock,
    libc::SYS_mkdirat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_fchmod, libc::SYS_fchmodat,
    #[cfg(target_arch = "x86_64")] libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_rename,
];

// Numbers that are the same on all of these architectures, and that libc does not have everywhere.
const FUTEX_WAITV: c_long = 449;
const CACHESTAT: c_long = 451;
const FUTEX_WAKE: c_long = 454;
const FUTEX_WAIT: c_long = 455;

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout, reason = "a skipped test says why")]

    use super::*;
    use rustix::io::Errno;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::thread;

    /// Runs `test` on a thread under a filter, unless the kernel has none.
    fn filtered(calls: SystemCalls, test: impl FnOnce() + Send + 'static) {
        let run = move || match calls.enforce() {
            Ok(()) => test(),
            Err(error) => println!("skipped: {error}"),
        };
        thread::spawn(run).join().unwrap();
    }

    fn errno<T>(result: io::Result<T>) -> Option<Errno> {
        result.err().and_then(|error| Errno::from_io_error(&error))
    }

    #[test]
    fn threads_and_files_work_and_processes_do_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        filtered(SystemCalls::default(), move || {
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
            assert!(!std::fs::read("/proc/self/status").unwrap().is_empty());
            assert_eq!(errno(Command::new("/bin/true").spawn()), Some(Errno::NOSYS));
            assert_eq!(errno(TcpStream::connect(address)), Some(Errno::NOSYS));
            assert_eq!(errno(TcpListener::bind("127.0.0.1:0")), Some(Errno::NOSYS));
            let same_root = std::os::unix::fs::chroot("/");
            assert_eq!(errno(same_root), Some(Errno::NOSYS));
            // The thread that it makes has the filter, too.
            let inherited = thread::spawn(move || errno(TcpStream::connect(address)));
            assert_eq!(inherited.join().unwrap(), Some(Errno::NOSYS));
        });
    }

    #[test]
    fn a_client_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = SystemCalls { client: true, ..SystemCalls::default() };
        filtered(client, move || {
            drop(TcpStream::connect(("localhost", address.port())).unwrap());
            assert_eq!(errno(Command::new("/bin/true").spawn()), Some(Errno::NOSYS));
        });
    }

    #[test]
    fn a_filter_is_within_the_limit_of_the_kernel() {
        let all = SystemCalls { uring: true, aio: true, disconnect: false, client: true };
        assert!(all.program().unwrap().len() < 4096);
    }
}
