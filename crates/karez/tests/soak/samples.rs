//! Memory, descriptors and threads of the server over time, and the slopes of their regression lines.

use rustix::process::Pid;
use std::fs;
use std::net::SocketAddr;

use crate::tree::Tree;

/// The state of one process at a time, in seconds from the start of the run.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: f64,
    pub pid: i32,
    /// No client has a connection.
    pub at_rest: bool,
    /// Pages of the program count in parts, so it grows when another process that runs the program ends.
    pub pss_kib: f64,
    /// Memory of its own: heaps, stacks, and mappings without a file.
    pub anonymous_kib: f64,
    pub threads: f64,
    /// Open files of the tree.
    pub files: f64,
    pub sockets: f64,
    /// Other descriptors, such as those that event loops wait with.
    pub others: f64,
}

impl Sample {
    /// Returns `None` for a process that has ended or may not be examined.
    pub fn take(at: f64, at_rest: bool, pid: Pid, tree: &Tree) -> Option<Self> {
        let path = |name: &str| format!("/proc/{}/{name}", pid.as_raw_nonzero());
        let rollup = fs::read_to_string(path("smaps_rollup")).ok()?;
        let status = fs::read_to_string(path("status")).ok()?;
        let (mut files, mut sockets, mut others) = (0.0, 0.0, 0.0);
        for entry in fs::read_dir(path("fd")).ok()? {
            let Ok(target) = fs::read_link(entry.ok()?.path()) else { continue };
            let is_socket = target.to_string_lossy().starts_with("socket:");
            let count = if is_socket {
                &mut sockets
            } else if tree.holds(&target) && !target.is_dir() {
                &mut files
            } else {
                &mut others
            };
            *count += 1.0;
        }
        Some(Self {
            at,
            pid: pid.as_raw_nonzero().get(),
            at_rest,
            pss_kib: number(&rollup, "Pss:")?,
            anonymous_kib: number(&rollup, "Anonymous:")?,
            threads: number(&status, "Threads:")?,
            files,
            sockets,
            others,
        })
    }
}

fn number(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the number of connections at these ports that a process of this network namespace has accepted.
pub fn connections(addresses: [SocketAddr; 2]) -> usize {
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_open = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = fields[1].rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
        let listens = fields[3] == "0A";
        addresses.iter().any(|address| Some(address.port()) == port) && !listens && fields[9] != "0"
    };
    table.lines().skip(1).filter(is_open).count()
}

/// A regression line.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    pub mean: f64,
    pub per_hour: f64,
    /// The standard error of the slope.
    pub error: f64,
}

/// Fits a line to points (seconds, value); `None` for fewer than three.
pub fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let xx: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let xy: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let slope = xy / xx;
    let rest = |point: &(f64, f64)| (point.1 - y - slope * (point.0 - x)).powi(2);
    let variance = points.iter().map(rest).sum::<f64>() / (count - 2.0);
    Some(Slope { mean: y, per_hour: slope * 3600.0, error: (variance / xx).sqrt() * 3600.0 })
}

#[test]
fn a_line_is_found_with_its_error() {
    let line: Vec<_> = (0..10).map(|x| (f64::from(x) * 60.0, 5.0 + f64::from(x))).collect();
    let found = slope(&line).unwrap();
    assert!((found.per_hour - 60.0).abs() < 1e-9 && found.error < 1e-9, "{found:?}");
    let noisy: Vec<_> = line.iter().map(|(x, _)| (*x, x % 120.0)).collect();
    let found = slope(&noisy).unwrap();
    assert!(found.per_hour.abs() < 3.0 * found.error, "{found:?}");
}
