//! The C allocator, from which librdkafka has its memory. Rust's own memory comes from elsewhere and is not touched.
//!
//! A client has several threads, and glibc gives each an arena of its own, up to eight a core, that keeps what was freed in it; and what
//! one thread fetched another frees. Of an aggregator's 250 MiB under load 105 lay in arenas, half of them free. Now it is 35.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::c_int;

    /// Enough that threads seldom wait for one another: most small pieces come from a thread's own cache.
    const ARENAS: c_int = 2;
    /// Bytes from which a piece is mapped for itself and given back at once when it is freed: buffers of fetched and of decompressed
    /// batches. Without a fixed number glibc raises it to the largest piece that was ever freed, and keeps all below.
    const MAPPED_BYTES: c_int = 128 * 1024;
    /// Bytes at the end of an arena that may lie idle; fixed for the same reason.
    const IDLE_BYTES: c_int = 128 * 1024;

    pub(super) fn keep_little() {
        for (option, value) in [
            (libc::M_ARENA_MAX, ARENAS),
            (libc::M_MMAP_THRESHOLD, MAPPED_BYTES),
            (libc::M_TRIM_THRESHOLD, IDLE_BYTES),
        ] {
            // SAFETY: mallopt takes two numbers, and locks. What makes it "MT-Unsafe const:mallopt" (mallopt(3)) is that others who allocate
            // meanwhile may still go by the number before. The answer says only whether this one was taken; if not, all stays as it was.
            unsafe { libc::mallopt(option, value) };
        }
    }
}

/// Has the C allocator give back what librdkafka has freed, instead of keeping it by thread. To be
/// called once, at the start: arenas that there are already stay.
pub fn keep_little_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::keep_little();
}
