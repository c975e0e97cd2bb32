//! Names of system calls. Their numbers depend on the architecture and come from libc.

macro_rules! names {
    ($($name:ident $number:ident),+ $(,)?) => {
        const NAMES: &[(&str, libc::c_long)] = &[$((stringify!($name), libc::$number)),+];
    };
}

names! {
    read SYS_read, write SYS_write, pread64 SYS_pread64, pwrite64 SYS_pwrite64,
    preadv2 SYS_preadv2, pwritev2 SYS_pwritev2, readv SYS_readv, writev SYS_writev,
    recvfrom SYS_recvfrom, sendto SYS_sendto, recvmsg SYS_recvmsg, sendmsg SYS_sendmsg,
    setsockopt SYS_setsockopt, getsockopt SYS_getsockopt, sendfile SYS_sendfile,
    splice SYS_splice, vmsplice SYS_vmsplice, tee SYS_tee, pipe2 SYS_pipe2, fcntl SYS_fcntl,
    copy_file_range SYS_copy_file_range, ioctl SYS_ioctl, lseek SYS_lseek, mmap SYS_mmap,
    munmap SYS_munmap, madvise SYS_madvise, mprotect SYS_mprotect, brk SYS_brk,
    mremap SYS_mremap, mincore SYS_mincore, openat SYS_openat, close SYS_close,
    statx SYS_statx, fstat SYS_fstat, fstatfs SYS_fstatfs, newfstatat SYS_newfstatat, fadvise64 SYS_fadvise64, fdatasync SYS_fdatasync,
    sync_file_range SYS_sync_file_range, futex SYS_futex, ppoll SYS_ppoll,
    pselect6 SYS_pselect6, epoll_ctl SYS_epoll_ctl, epoll_pwait SYS_epoll_pwait,
    accept4 SYS_accept4, connect SYS_connect, shutdown SYS_shutdown,
    clock_nanosleep SYS_clock_nanosleep, nanosleep SYS_nanosleep, getrandom SYS_getrandom,
    io_uring_enter SYS_io_uring_enter, sched_yield SYS_sched_yield, rt_sigreturn SYS_rt_sigreturn,
    restart_syscall SYS_restart_syscall, rt_sigtimedwait SYS_rt_sigtimedwait, kill SYS_kill,
    tgkill SYS_tgkill, rt_sigqueueinfo SYS_rt_sigqueueinfo, io_submit SYS_io_submit,
    getpid SYS_getpid, getuid SYS_getuid, gettid SYS_gettid, clone3 SYS_clone3, exit SYS_exit,
    rt_sigprocmask SYS_rt_sigprocmask, set_robust_list SYS_set_robust_list, rseq SYS_rseq,
    close_range SYS_close_range, eventfd2 SYS_eventfd2, openat2 SYS_openat2,
    getdents64 SYS_getdents64, sigaltstack SYS_sigaltstack, prctl SYS_prctl,
    io_getevents SYS_io_getevents, io_cancel SYS_io_cancel, clock_gettime SYS_clock_gettime,
}

/// `cachestat(2)`, which has this number on all architectures except alpha.
const CACHESTAT: u64 = 451;

#[cfg(target_arch = "x86_64")]
const OLD: &[(&str, libc::c_long)] = &[
    ("poll", libc::SYS_poll),
    ("select", libc::SYS_select),
    ("epoll_wait", libc::SYS_epoll_wait),
    ("open", libc::SYS_open),
    ("stat", libc::SYS_stat),
    ("pipe", libc::SYS_pipe),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(&str, libc::c_long)] = &[];

/// Returns the name of a system call, or its number if the name is unknown.
#[must_use]
pub fn call_name(number: u64) -> String {
    if number == CACHESTAT {
        return "cachestat".to_owned();
    }
    let is_it = |known: &&(&str, libc::c_long)| u64::try_from(known.1) == Ok(number);
    let known = NAMES.iter().chain(OLD).find(is_it);
    known.map_or_else(|| format!("call {number}"), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syscalls_have_names() {
        assert_eq!(call_name(u64::try_from(libc::SYS_sendfile).unwrap()), "sendfile");
        assert_eq!(call_name(451), "cachestat");
        assert_eq!(call_name(9999), "call 9999");
    }
}
