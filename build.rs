//! Keeps the module mapped once it is loaded, and compiles the helper's path into it.

use std::env;

const HELPER: &str = "PAM_IDLE_WATCHDOG_HELPER";
const HELPER_DEFAULT: &str = "/usr/libexec/pam_idle_watchdog_helper";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={HELPER}");

    // libpam unloads a module at pam_end(). Rust's standard library leaves thread-local
    // destructors behind that must not point into unmapped memory (rust-lang/rust#91979).
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");

    let helper = env::var(HELPER).unwrap_or_else(|_| HELPER_DEFAULT.to_owned());
    assert!(
        helper.starts_with('/') && !helper.contains('\0'),
        "{HELPER} must be an absolute path, not {helper:?}"
    );
    println!("cargo::rustc-env={HELPER}={helper}");
}
