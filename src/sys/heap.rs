//! The C library's heap.

/// Gives freed memory back to the kernel: a helper sleeps for hours between two looks, and there is
/// one for each session.
pub fn trim() {
    // glibc alone keeps so much that it is worth asking.
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and moves no allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}
