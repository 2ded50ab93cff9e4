//! The program of `make sbom` and `make copyright`. It writes which crates of other people are used to standard output.

mod copyright;
mod graph;
mod sbom;

fn main() -> Result<(), graph::Failure> {
    let text = match std::env::args().nth(1).as_deref() {
        Some("copyright") => copyright::text()?,
        Some("sbom") => sbom::text(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?,
        _ => return Err("say which of the two: copyright or sbom".into()),
    };
    print!("{text}");
    Ok(())
}
