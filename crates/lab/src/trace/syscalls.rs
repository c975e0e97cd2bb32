//! Classification of system calls by name: calls that move bytes, and whose.
//!
//! # Limitations
//! A name does not tell the kind of a descriptor: `write` may go to an eventfd. The events during
//! the call tell more.

/// A system call.
#[derive(Clone, Debug)]
pub struct TracedCall {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// Its result, an error as its negated number; `None` if it had not returned at the end.
    pub result: Option<i64>,
}

/// Calls that read a file into user memory.
const READERS: [&str; 5] = ["pread64", "preadv2", "read", "readv", "read_fixed"];

/// Calls that copy user memory into a socket.
const SENDERS: [&str; 3] = ["sendto", "sendmsg", "send"];

/// Calls that receive from a socket and may block.
const RECEIVERS: [&str; 4] = ["recvfrom", "recvmsg", "recv", "read"];

/// Other calls that return a number of bytes.
const MOVERS: [&str; 11] = [
    "write",
    "pwrite64",
    "pwritev2",
    "writev",
    "sendfile",
    "splice",
    "vmsplice",
    "tee",
    "send_zc",
    "sendmsg_zc",
    "write_fixed",
];

/// Calls that wait for several descriptors or events.
const WAITS: [&str; 10] = [
    "epoll_pwait",
    "epoll_wait",
    "ppoll",
    "poll",
    "pselect6",
    "select",
    "rt_sigtimedwait",
    "io_getevents",
    "io_uring_enter",
    "futex",
];

/// Calls whose first argument is not a descriptor.
const WITHOUT_DESCRIPTOR: [&str; 22] = [
    "mmap",
    "munmap",
    "madvise",
    "mprotect",
    "brk",
    "mremap",
    "mincore",
    "futex",
    "ppoll",
    "poll",
    "pselect6",
    "select",
    "nanosleep",
    "clock_nanosleep",
    "clock_gettime",
    "getrandom",
    "kill",
    "tgkill",
    "sched_yield",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "io_getevents",
];

/// Operations of io_uring by number (linux/io_uring.h).
const OPERATIONS: [&str; 49] = [
    "nop",
    "readv",
    "writev",
    "fsync",
    "read_fixed",
    "write_fixed",
    "poll_add",
    "poll_remove",
    "sync_file_range",
    "sendmsg",
    "recvmsg",
    "timeout",
    "timeout_remove",
    "accept",
    "async_cancel",
    "link_timeout",
    "connect",
    "fallocate",
    "openat",
    "close",
    "files_update",
    "statx",
    "read",
    "write",
    "fadvise",
    "madvise",
    "send",
    "recv",
    "openat2",
    "epoll_ctl",
    "splice",
    "provide_buffers",
    "remove_buffers",
    "tee",
    "shutdown",
    "renameat",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "linkat",
    "msg_ring",
    "fsetxattr",
    "setxattr",
    "fgetxattr",
    "getxattr",
    "socket",
    "uring_cmd",
    "send_zc",
    "sendmsg_zc",
];

pub(super) fn operation(number: u64) -> &'static str {
    let found = usize::try_from(number).ok().and_then(|number| OPERATIONS.get(number));
    found.copied().unwrap_or("an operation")
}

pub(super) fn reads_file(name: &str) -> bool {
    READERS.contains(&name)
}

/// Returns whether a write of this size goes to a socket: wakers write at most eight bytes.
pub(super) fn may_send(name: &str, bytes: u64) -> bool {
    name == "write" && bytes > 8
}

pub(super) fn sends(name: &str) -> bool {
    SENDERS.contains(&name)
}

pub(super) fn receives(name: &str) -> bool {
    RECEIVERS.contains(&name)
}

pub(super) fn waits(name: &str) -> bool {
    WAITS.contains(&name)
}

/// Returns whether the result is a number of bytes.
pub(super) fn moves(name: &str) -> bool {
    reads_file(name) || sends(name) || receives(name) || MOVERS.contains(&name)
}

/// Returns the number of bytes that a call has moved.
pub(super) fn bytes(call: &TracedCall) -> Option<u64> {
    let result = call.result.filter(|_| moves(&call.name))?;
    u64::try_from(result).ok()
}

/// Returns the descriptor of a call.
pub(super) fn descriptor(call: &TracedCall) -> Option<u64> {
    let has_one = !WITHOUT_DESCRIPTOR.contains(&&*call.name);
    has_one.then_some(call.arguments[0]).filter(|&number| number < 1 << 20)
}

/// Returns whether the call sends user pages by reference.
pub(super) fn is_zerocopy(call: &TracedCall) -> bool {
    sends(&call.name) && flag_word(call) & libc::MSG_ZEROCOPY.cast_unsigned() != 0
}

fn flag_word(call: &TracedCall) -> u32 {
    let word = match &*call.name {
        "sendto" | "recvfrom" => call.arguments[3],
        "sendmsg" | "recvmsg" => call.arguments[2],
        _ => 0,
    };
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)
}

/// Returns the relevant flags.
pub(super) fn flags(call: &TracedCall) -> Vec<&'static str> {
    let word = flag_word(call);
    let known = [
        (libc::MSG_MORE, "MSG_MORE"),
        (libc::MSG_ZEROCOPY, "MSG_ZEROCOPY"),
        (libc::MSG_ERRQUEUE, "MSG_ERRQUEUE"),
        (libc::MSG_PEEK, "MSG_PEEK"),
        (libc::MSG_DONTWAIT, "MSG_DONTWAIT"),
    ];
    let set = known.into_iter().filter(|(flag, _)| word & flag.cast_unsigned() != 0);
    set.map(|(_, name)| name).collect()
}

/// Returns the name of an error, if the result is one.
pub(super) fn error(result: i64) -> Option<String> {
    if !(-4095..0).contains(&result) {
        return None;
    }
    let number = i32::try_from(-result).unwrap_or(0);
    let known = [
        (libc::EAGAIN, "EAGAIN"),
        (libc::EINTR, "EINTR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EBADF, "EBADF"),
        (libc::EPIPE, "EPIPE"),
        (libc::ECONNRESET, "ECONNRESET"),
        (libc::EINPROGRESS, "EINPROGRESS"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::ETIME, "ETIME"),
        (libc::EFAULT, "EFAULT"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ENODATA, "ENODATA"),
        (libc::ESPIPE, "ESPIPE"),
        // Internal to the kernel: an interrupted call that is restarted.
        (512, "ERESTARTSYS"),
        (514, "ERESTARTNOHAND"),
        (516, "ERESTART_RESTARTBLOCK"),
    ];
    let found = known.into_iter().find(|(errno, _)| *errno == number);
    Some(found.map_or_else(|| format!("errno {number}"), |(_, name)| name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: [u64; 6], result: i64) -> TracedCall {
        TracedCall { name: name.to_owned(), arguments, result: Some(result) }
    }

    #[test]
    fn calls_are_classified_by_name() {
        let zerocopy = u64::from(libc::MSG_ZEROCOPY.cast_unsigned());
        let sent = call("sendto", [9, 0, 4096, zerocopy, 0, 0], 4096);
        assert!(is_zerocopy(&sent));
        assert_eq!((bytes(&sent), descriptor(&sent)), (Some(4096), Some(9)));
        assert_eq!(flags(&sent), ["MSG_ZEROCOPY"]);
        let refused = call("recvfrom", [9, 0, 65536, 0, 0, 0], -11);
        assert_eq!(bytes(&refused), None);
        assert_eq!(error(-11).as_deref(), Some("EAGAIN"));
        let mapped = call("mmap", [0; 6], 0x7f00_0000_0000);
        assert_eq!((bytes(&mapped), descriptor(&mapped)), (None, None));
        assert_eq!(operation(26), "send");
        assert_eq!(operation(47), "send_zc");
    }
}
