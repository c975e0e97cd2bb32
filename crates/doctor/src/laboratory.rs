//! Requirements of the laboratory's exact counters: the kernel's type information (BTF), two
//! capabilities and permissive sysctls. capabilities(7), bpf(2).

use rustix::thread::{CapabilitySet, capabilities};
use std::fs;

use crate::finding::{Finding, Section};

const FACTS: [(&str, &str); 4] = [
    (
        "kernel/perf_event_paranoid",
        "2 and more: users other than root see only their own user space",
    ),
    ("kernel/unprivileged_bpf_disabled", "0: every user may load some programs"),
    ("kernel/yama/ptrace_scope", "1: only children may be traced"),
    ("user/max_user_namespaces", "0: no network namespace without root"),
];

pub(crate) fn section() -> Section {
    let mut findings = vec![btf()];
    let effective = capabilities(None).map(|sets| sets.effective);
    for (name, capability, why) in [
        ("CAP_BPF", CapabilitySet::BPF, "loads the counters, Linux 5.8"),
        ("CAP_PERFMON", CapabilitySet::PERFMON, "attaches them to the kernel's events, Linux 5.8"),
        ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN, "creates network namespaces for measurements"),
        ("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN, "includes the first two before Linux 5.8"),
    ] {
        findings.push(match effective {
            Ok(effective) if effective.contains(capability) => Finding::available(name, why),
            Ok(_) => Finding::refused(name, format!("missing in this process: {why}")),
            Err(errno) => Finding::from_result::<()>(name, &Err(errno), why),
        });
    }
    findings.extend(FACTS.iter().map(|&(name, what)| {
        match fs::read_to_string(format!("/proc/sys/{name}")) {
            Ok(value) => Finding::fact(name, format!("{} ({what})", value.trim())),
            Err(error) => Finding::unknown(name, format!("{error} ({what})")),
        }
    }));
    Section { title: "laboratory", findings }
}

fn btf() -> Finding {
    let name = "BTF of the kernel";
    match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(meta) => Finding::available(name, format!("{} KiB, Linux 5.4", meta.len() >> 10)),
        Err(error) => Finding::refused(name, format!("/sys/kernel/btf/vmlinux: {error}")),
    }
}
