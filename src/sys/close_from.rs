//! Closes all descriptors from a number on, in a child that must not allocate memory: by close_range(2) (Linux 5.9), or one
//! after the other.

use std::ffi::c_int;

/// Closes all open descriptors from this number on. Returns whether all of them are closed. `lacks_close_range` says that
/// the kernel lacks the call. The caller asks for that before the child starts.
///
/// # Safety
///
/// Only in a child with its own descriptor table.
pub(super) unsafe fn close_from(first: c_int, lacks_close_range: bool) -> bool {
    // SAFETY: system calls on integers. The caller promises the rest.
    unsafe {
        if lacks_close_range {
            return close_each(first);
        }
        libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0) == 0
    }
}

/// The same without that call. `/proc` lists what is open.
///
/// # Safety
///
/// Only in a child with its own descriptor table.
unsafe fn close_each(first: c_int) -> bool {
    const LIST_FLAGS: c_int = libc::O_RDONLY | libc::O_DIRECTORY;
    // SAFETY: system calls on integers, on one constant path, and on a buffer that outlives the call.
    unsafe {
        let list = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, c"/proc/self/fd".as_ptr(), LIST_FLAGS, 0);
        let Ok(list @ 0..) = c_int::try_from(list) else { return false };
        // The entries begin at multiples of 8 bytes.
        let mut entries = [0u64; 128];
        // Closing does not disturb the listing, because the kernel continues it at the next number.
        let listed = loop {
            let room = size_of_val(&entries);
            let length = libc::syscall(libc::SYS_getdents64, list, entries.as_mut_ptr(), room);
            let Ok(length @ 1..) = usize::try_from(length) else { break length == 0 };
            let bytes = std::slice::from_raw_parts(entries.as_ptr().cast::<u8>(), length);
            for fd in Names(bytes).filter_map(number).filter(|fd| *fd >= first && *fd != list) {
                libc::syscall(libc::SYS_close, fd);
            }
        };
        libc::syscall(libc::SYS_close, list);
        listed
    }
}

/// The names in what getdents64(2) has written, each with the bytes that follow it.
struct Names<'a>(&'a [u8]);

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // An inode and an offset of 8 bytes each, the length of the entry in 2 bytes, and the type in one byte.
        const LENGTH_AT: usize = 16;
        const NAME_AT: usize = 19;
        let length: [u8; 2] = self.0.get(LENGTH_AT..LENGTH_AT + 2)?.try_into().ok()?;
        let (entry, others) = self.0.split_at_checked(u16::from_ne_bytes(length).into())?;
        self.0 = others;
        entry.get(NAME_AT..)
    }
}

/// The number that the bytes begin with. `None` if it is none, as in the entries `.` and `..`.
fn number(name: &[u8]) -> Option<c_int> {
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit());
    let number = |number: c_int, digit: &u8| number.checked_mul(10)?.checked_add((digit - b'0').into());
    name.first().filter(|byte| byte.is_ascii_digit())?;
    digits.into_iter().try_fold(0, number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::newer_calls::CLOSE_RANGE;
    use crate::sys::offload::{self, Offload};
    use std::fs::File;
    use std::os::fd::{AsRawFd, FromRawFd};

    #[test]
    fn all_descriptors_from_a_number_on_are_closed() {
        const FIRST: c_int = 4;
        const MANY: c_int = 400;
        for lacks_close_range in [CLOSE_RANGE.is_missing(), true] {
            let answer = Offload::default().run(|pipe| {
                // SAFETY: the child uses only the descriptors that it makes here.
                let (closed, mut pipe) = unsafe {
                    libc::dup2(pipe.as_raw_fd(), FIRST - 1);
                    (0..MANY).for_each(|n| _ = libc::dup2(FIRST - 1, FIRST + 2 * n));
                    (close_from(FIRST, lacks_close_range), File::from_raw_fd(FIRST - 1))
                };
                let open = (FIRST..FIRST + 3 * MANY).filter(|fd| {
                    // SAFETY: fcntl(2) takes integers here.
                    unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 }
                });
                offload::answer(&mut pipe, format!("{closed} {}", open.count()).as_bytes());
                // The pipe that we got is closed, so nobody may drop it.
                // SAFETY: _exit(2) takes an integer.
                unsafe { libc::_exit(0) }
            });
            assert_eq!(String::from_utf8(answer).unwrap(), "true 0", "{lacks_close_range}");
        }
    }

    #[test]
    fn only_numbers_are_descriptors() {
        for (name, expected) in [
            (&b"0\0"[..], Some(0)),
            (b"1023\0\0\0", Some(1023)),
            (b".\0", None),
            (b"..\0", None),
            (b"", None),
            (b"99999999999\0", None),
        ] {
            assert_eq!(number(name), expected, "{name:?}");
        }
        // A list that is cut off has no more names.
        assert_eq!(Names(&[0; 18]).count() + Names(&[255; 40]).count(), 0);
    }
}
