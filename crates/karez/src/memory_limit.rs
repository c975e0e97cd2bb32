//! The memory limit of the control groups of the process: cgroups(7), of version 1 and 2.
//!
//! # Limitations
//!
//! The file systems of control groups are looked for below `/sys/fs/cgroup`, and read once, at the start.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the smallest limit of the control group of the process and of the groups above it, in bytes.
/// `None` if none is known.
pub(crate) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(|line| limit_of(line, Path::new("/sys/fs/cgroup"))).min()
}

/// Returns the limit by one line of `/proc/self/cgroup`: `0::PATH` or `N:CONTROLLERS:PATH`.
fn limit_of(line: &str, mount: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, file) = match controllers {
        "" => (mount.to_owned(), "memory.max"),
        list if list.split(',').any(|name| name == "memory") => {
            (mount.join("memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let group = mount.join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|group| group.starts_with(&mount))
        .filter_map(|group| read(&group.join(file)))
        .min()
}

/// Returns the number in a file; `max`, and in version 1 a number that no memory has, are no limit.
fn read(file: &PathBuf) -> Option<u64> {
    let limit = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < 1 << 60).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_above_a_group_counts() {
        let mount = tempfile::tempdir().unwrap();
        let group = |path: &str, file: &str, limit: &str| {
            let group = mount.path().join(path);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join(file), limit).unwrap();
        };
        group("a", "memory.max", "1000\n");
        group("a/b", "memory.max", "max\n");
        group("a/b/c", "memory.max", "2000\n");
        group("memory", "memory.limit_in_bytes", "9223372036854771712\n");
        group("memory/d", "memory.limit_in_bytes", "3000\n");
        for (line, limit) in [
            ("0::/a/b/c", Some(1000)),
            ("0::/a/b", Some(1000)),
            ("0::/", None),
            ("0::/elsewhere", None),
            ("4:cpu,memory:/d", Some(3000)),
            ("4:memory:/", None),
            ("5:cpu:/a", None),
            ("", None),
        ] {
            assert_eq!(limit_of(line, mount.path()), limit, "{line}");
        }
    }
}
