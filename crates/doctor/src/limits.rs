//! The relevant limits of the process (getrlimit(2)) and of the kernel (/proc/sys).

use rustix::process::{Resource, getrlimit};
use std::fs;

use crate::finding::{Finding, Section};

const PROCESS_LIMITS: [(&str, Resource, &str); 3] = [
    ("open files", Resource::Nofile, "connections and open files"),
    ("locked memory", Resource::Memlock, "bytes; io_uring before 5.12, BPF before 5.11"),
    ("pending signals", Resource::Sigpending, "the queue of model signal"),
];

const KERNEL_LIMITS: [(&str, &str); 12] = [
    ("net/core/somaxconn", "connections waiting for accept"),
    ("net/ipv4/tcp_wmem", "bytes of a TCP send buffer: minimum, default, maximum"),
    ("net/core/optmem_max", "bytes of pending MSG_ZEROCOPY completions"),
    ("fs/pipe-max-size", "bytes of an unprivileged pipe"),
    ("fs/pipe-user-pages-soft", "pages in all pipes of a user"),
    ("fs/file-max", "open files of the whole machine"),
    ("fs/nr_open", "maximum of the limit on open files"),
    ("fs/aio-max-nr", "pending requests of model linux-aio, over all processes"),
    ("fs/aio-nr", "of which are in use"),
    ("fs/epoll/max_user_watches", "descriptors per user in epoll"),
    ("fs/inotify/max_user_instances", "inotify instances per user: one for each event loop"),
    ("fs/inotify/max_user_watches", "watched directories and files per user"),
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
