//! How much memory this process may use at most.
//!
//! Owns: [`host_memory_bytes`], the smaller of the machine's RAM and the limits of the control groups that the process
//! is in. Source: kernel documentation, admin-guide/cgroup-v2 (`memory.max`) and cgroup-v1/memory
//! (`memory.limit_in_bytes`).

use std::path::Path;

/// Bytes of RAM, or of the tightest control group's limit where that is less. Zero when neither can be read.
pub fn host_memory_bytes() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_total(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = cgroup_limit(&groups, Path::new("/sys/fs/cgroup"));
    match (total, limit) {
        (Some(total), Some(limit)) => total.min(limit),
        (total, limit) => total.or(limit).unwrap_or(0),
    }
}

fn meminfo_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The smallest limit on the way from the process's groups up to the root, which is where a container's limit shows.
fn cgroup_limit(groups: &str, sysfs: &Path) -> Option<u64> {
    let mut smallest: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => (sysfs.to_path_buf(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                (sysfs.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = root.join(path.trim_start_matches('/'));
        for dir in group.ancestors().take_while(|dir| dir.starts_with(&root)) {
            let limit =
                std::fs::read_to_string(dir.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
            smallest = match (smallest, limit) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_total_of_meminfo() {
        assert_eq!(meminfo_total("MemFree: 5 kB\nMemTotal:       16 kB\n"), Some(16 * 1024));
        assert_eq!(meminfo_total("nothing"), None);
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let sysfs = tempfile::tempdir().unwrap();
        let leaf = sysfs.path().join("a/b");
        std::fs::create_dir_all(&leaf).unwrap();
        std::fs::write(leaf.join("memory.max"), "max\n").unwrap();
        std::fs::write(sysfs.path().join("a/memory.max"), "1000\n").unwrap();
        std::fs::write(sysfs.path().join("memory.max"), "5000\n").unwrap();
        assert_eq!(cgroup_limit("0::/a/b\n", sysfs.path()), Some(1000));
        assert_eq!(cgroup_limit("0::/gone\n", sysfs.path()), Some(5000));
    }

    #[test]
    fn the_old_hierarchy_is_read_too() {
        let sysfs = tempfile::tempdir().unwrap();
        let group = sysfs.path().join("memory/job");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(group.join("memory.limit_in_bytes"), "7\n").unwrap();
        assert_eq!(cgroup_limit("3:cpu:/x\n4:memory:/job\n", sysfs.path()), Some(7));
    }

    #[test]
    fn this_machine_has_some() {
        assert!(host_memory_bytes() > 1 << 20);
    }
}
