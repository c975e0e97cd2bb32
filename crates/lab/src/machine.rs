//! Description of the machine that a report depends on: kernel, processor, mitigations.

use serde_json::{Value, json};
use std::fs;

/// Returns the description for a report. It does not identify the machine.
pub(crate) fn machine() -> Value {
    let uname = rustix::system::uname();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let flags: Vec<_> = field("flags")
        .split(' ')
        .filter(|flag| ["erms", "fsrm", "hypervisor"].contains(flag))
        .collect();
    let sysctl = |path: &str| {
        let text = fs::read_to_string(path).ok();
        text.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    json!({
        "karez": env!("CARGO_PKG_VERSION"),
        "optimised": !cfg!(debug_assertions),
        "kernel": uname.release().to_string_lossy(),
        "architecture": uname.machine().to_string_lossy(),
        "processor": field("model name"),
        "flags": flags,
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "page_size": karez_sys::page_size(),
        "mitigations": mitigations(),
        "pipe_size": pipe_size(),
        "tcp_wmem": sysctl("/proc/sys/net/ipv4/tcp_wmem"),
        "tcp_rmem": sysctl("/proc/sys/net/ipv4/tcp_rmem"),
        "tcp_congestion_control": sysctl("/proc/sys/net/ipv4/tcp_congestion_control"),
    })
}

/// Returns the kernel's mitigation for each known vulnerability of the processor.
fn mitigations() -> Value {
    let known = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten();
    let each = known.filter_map(Result::ok).filter_map(|entry| {
        let state = fs::read_to_string(entry.path()).ok()?;
        let concerns = state.trim() != "Not affected";
        concerns.then(|| (entry.file_name().to_string_lossy().into_owned(), json!(state.trim())))
    });
    Value::Object(each.collect())
}

/// Returns the default capacity of a pipe in bytes.
fn pipe_size() -> Option<usize> {
    let (read, _write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
    rustix::pipe::fcntl_getpipe_size(read).ok()
}
