//! The relevant limits of the process (getrlimit(2)) and of the kernel (/proc/sys).

use rustix::process::{Resource, getrlimit};
use std::fs;

use crate::finding::{Finding, Section};

const PROCESS_LIMITS: [(&str, Resource, &str); 3] = [
    ("open files", Resource::Nofile, "connections, and files held open"),
    ("locked memory", Resource::Memlock, "bytes; io_uring before 5.12, BPF before 5.11"),
    ("pending signals", Resource::Sigpending, "the queue of model signal"),
];

const KERNEL_LIMITS: [(&str, &str); 11] = [
    ("net/core/somaxconn", "connections that wait to be accepted"),
    ("net/ipv4/tcp_wmem", "bytes a TCP socket may have to send: least, first, most"),
    ("net/core/optmem_max", "bytes of notifications that MSG_ZEROCOPY may have out"),
    ("fs/pipe-max-size", "bytes that an unprivileged pipe may be given"),
    ("fs/pipe-user-pages-soft", "pages that all pipes of a user may have"),
    ("fs/file-max", "open files of the whole machine"),
    ("fs/nr_open", "the most that the limit on open files may be raised to"),
    ("fs/aio-max-nr", "requests that model linux-aio may have out, over all processes"),
    ("fs/aio-nr", "of which are taken"),
    ("fs/epoll/max_user_watches", "descriptors that a user may have in epoll"),
    ("fs/inotify/max_user_watches", "files that a user may watch"),
];

pub(crate) fn section() -> Section {
    let own = PROCESS_LIMITS.iter().map(|&(name, resource, what)| {
        let limit = getrlimit(resource);
        let limit_text =
            |value: Option<u64>| value.map_or("unlimited".to_owned(), |n| n.to_string());
        let (now, most) = (limit_text(limit.current), limit_text(limit.maximum));
        Finding::fact(name, format!("{now}, at most {most}: {what}"))
    });
    let kernel = KERNEL_LIMITS.iter().map(|&(name, what)| {
        match fs::read_to_string(format!("/proc/sys/{name}")) {
            Ok(value) => {
                let value: Vec<_> = value.split_whitespace().collect();
                Finding::fact(name, format!("{}: {what}", value.join(" ")))
            }
            Err(error) => Finding::unknown(name, format!("{error}: {what}")),
        }
    });
    Section { title: "limits", findings: own.chain(kernel).collect() }
}
