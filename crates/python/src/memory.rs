//! Memory that nobody uses any more, given back to the machine.

/// What the allocator keeps for later goes back: a model's tens of megabytes would stay in the heap of each
/// thread that ever loaded one. It takes milliseconds; never call it while a request waits.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: it takes no pointer, and locks what it touches.
    unsafe {
        libc::malloc_trim(0);
    }
}
