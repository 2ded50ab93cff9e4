//! The C library's heap.

/// Returns freed memory to the kernel. This is worth it because each session has a helper, and a helper may
/// sleep for hours between two looks.
pub fn trim() {
    // Only glibc keeps so much freed memory that this is useful.
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and moves no allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}
