//! Extended attributes of files (getxattr(2)).

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

/// The value of an attribute. A longer value than any label of a security module is an error.
///
/// # Errors
///
/// `ENODATA` if the file has no such attribute, `ENOTSUP` if its file system has none, `ERANGE` if the value is
/// longer than a label, and the errors of stat(2).
pub fn get(path: &Path, name: &CStr) -> io::Result<Vec<u8>> {
    const LONGEST: usize = 4096;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut value = vec![0; LONGEST];
    // SAFETY: both texts end with a null byte, and the buffer is as long as the call is told.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(Errno::result(length)?).unwrap_or_default());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_that_does_not_exist_is_an_error() {
        let file = std::env::current_exe().unwrap();
        let error = get(&file, c"user.pam_idle_watchdog.none").unwrap_err().raw_os_error();
        assert!(matches!(error, Some(libc::ENODATA | libc::ENOTSUP)), "{error:?}");
        assert_eq!(get(Path::new("/nowhere"), c"user.a").unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}
