//! `make completions`: writes the completions of the command line into `dist/completions`. A test compares them with
//! the table of the command line.

mod shells;

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/completions");
    for (name, text) in shells::files() {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}
