//! The machine's memory before a run.
//!
//! Owns: [`prepare_memory`], after which no tool has pages in the kernel, and memory is at hand for all alike.

/// Drops the kernel's pages of all files, and touches memory for those that come.
pub fn prepare_memory() {
    drop_kernel_caches();
    touch_memory();
}

/// Writes out and drops what the kernel caches; only the superuser can drop, for others the mounts are fresh all the same.
fn drop_kernel_caches() {
    // SAFETY: sync() takes nothing and cannot fail.
    unsafe { libc::sync() };
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
}

/// Memory that a run is likely to take, in bytes: pages of the files that it reads and writes, and the tool's own.
const TOUCHED_BYTES: usize = 4 << 30;

/// Has the machine's memory ready. On a virtual machine the first touch of a page is the host's work and takes many times what copying
/// it does, and the host takes back what lies free: what a tool needs for that would tell of the run before it, and not of the tool.
fn touch_memory() {
    let bytes = TOUCHED_BYTES.min(available_bytes() / 2);
    if bytes == 0 {
        return;
    }
    let (access, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | libc::MAP_NORESERVE,
    );
    // SAFETY: a new mapping of no file, which nobody else knows of, is made and taken away.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0);
        if at != libc::MAP_FAILED {
            libc::munmap(at, bytes);
        }
    }
}

/// Memory that can be had without anybody else losing any, in bytes.
fn available_bytes() -> usize {
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or(0) << 10
}
