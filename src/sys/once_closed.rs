//! For tests that close a descriptor.

/// Waits until something is so because this test has closed a descriptor.
///
/// A test that runs at the same time may be starting a child. The child has a copy of each descriptor until it executes a
/// program or exits.
pub fn once_closed(mut is_so: impl FnMut() -> bool) {
    const TRIES: usize = 1000;
    for _ in 0..TRIES {
        if is_so() {
            return;
        }
        nix::poll::poll(&mut [], 10u16).unwrap();
    }
    panic!("the descriptor is closed, and nothing has changed in ten seconds");
}
