//! The C library's heap.

/// Returns freed memory to the kernel. There is one helper for each session, and a helper may sleep for hours between
/// two looks.
pub fn trim() {
    // Only glibc keeps so much freed memory that this is useful.
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and moves no allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}
