//! How the process's memory is given back.
//!
//! Owns: [`bound`], which keeps freed memory from staying with the process beside the budget that counts what is in use.

/// Allocations of this many bytes and more are mapped and unmapped one by one.
const MAPPED_BYTES_MIN: libc::c_int = 128 << 10;
/// Pools that smaller allocations are cut from, in all threads together.
const ARENA_COUNT_MAX: libc::c_int = 2;

/// Sets the C library's allocator up. To be called before the first thread is started.
///
/// # Why
/// glibc raises the first figure to the size of what was freed last, and has eight pools for each processor. The buffers of some
/// hundred connections, of all sizes up to 256 KiB, then come from the pools, which give back only what is free at their end: with
/// 64 files read at once and a budget of 256 MiB the process held 563 MiB; so it held 376 to 399, for 4 % more CPU time
/// (2 cores). What is left beside the cache is in `UNCACHED_PART` of the budget and in the connections' buffers.
pub fn bound() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: sets two integers of the allocator, which no other thread uses yet.
        let taken = unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN) == 1
                && libc::mallopt(libc::M_ARENA_MAX, ARENA_COUNT_MAX) == 1
        };
        debug_assert!(taken, "glibc knows both");
    }
}
