//! The file COPYRIGHT: whose work is in the source and in the vendored crates, in Debian's format for such lists. The
//! crates' own files say it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::graph::{self, Crate, Failure, Id, PROGRAMS, TARGET};

/// Where the text of a licence is.
enum Text {
    /// In a file of ours or of a crate, from the line with these words to the end.
    From(&'static str, &'static str, &'static str),
    /// In Debian's /usr/share/common-licenses, under this name. The words say where else.
    Common(&'static str, &'static str),
}

/// The licences by their names in SPDX and in Debian.
const LICENSES: [(&str, &str, Text); 7] = [
    ("Apache-2.0", "Apache-2.0", Text::Common("Apache-2.0", "The text is in LICENSE-APACHE.")),
    (
        "Apache-2.0 WITH LLVM-exception",
        "Apache-2.0 with LLVM exception",
        Text::From("wit-bindgen", "LICENSE-Apache-2.0_WITH_LLVM-exception", "LLVM Exceptions to the"),
    ),
    ("BSD-2-Clause", "BSD-2-clause", Text::From("zerocopy", "LICENSE-BSD", "Redistribution and use")),
    ("LGPL-2.1-or-later", "LGPL-2.1+", Text::Common("LGPL-2.1", "No program contains code under it.")),
    ("MIT", "Expat", Text::From(env!("CARGO_PKG_NAME"), "LICENSE-MIT", "Permission is hereby granted")),
    ("Unicode-3.0", "Unicode-3.0", Text::From("unicode-ident", "LICENSE-UNICODE", "UNICODE LICENSE V3")),
    ("Unlicense", "Unlicense", Text::From("memchr", "UNLICENSE", "This is free and unencumbered")),
];

/// `MIT OR Apache-2.0` → `Expat or Apache-2.0`. The names in SPDX are added to `used`.
fn in_debians_words(expression: &str, used: &mut BTreeSet<&'static str>) -> Result<String, Failure> {
    // (MIT OR Apache-2.0) AND Unicode-3.0
    if let Some((either, also)) = expression.strip_prefix('(').and_then(|rest| rest.split_once(") AND ")) {
        return Ok(format!("{}, and {}", in_debians_words(either, used)?, in_debians_words(also, used)?));
    }
    let mut names = Vec::new();
    for one in expression.split(" OR ") {
        let Some((spdx, debian, _)) = LICENSES.iter().find(|(spdx, ..)| *spdx == one) else {
            let problem = "is not among the LICENSES in examples/crates/copyright.rs: add its name and text";
            return Err(format!("{one:?} {problem}").into());
        };
        used.insert(spdx);
        names.push(*debian);
    }
    Ok(names.join(" or "))
}

/// The holders that the licence files in a directory name, each with the years.
fn holders(directory: &Path) -> Result<BTreeSet<String>, Failure> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let kinds = ["LICEN", "UNLICEN", "COPYING", "COPYRIGHT", "NOTICE", "AUTHORS"];
        // Our own COPYRIGHT is the output of this program: it names the holders of all crates.
        if !kinds.iter().any(|kind| name.starts_with(kind))
            || directory == graph::root() && name == "COPYRIGHT"
        {
            continue;
        }
        let text = fs::read(entry.path())?;
        for line in String::from_utf8_lossy(&text).lines() {
            // Copyright (c) 2015 Andrew Gallant. But not: Copyright [yyyy] [name of copyright owner]
            let Some(rest) = line.trim().strip_prefix("Copyright ").filter(|rest| !rest.contains('[')) else {
                continue;
            };
            let signs = ["(c) ", "(C) ", "© "];
            let holder = signs.iter().find_map(|sign| rest.strip_prefix(sign));
            let years = rest.starts_with(|c: char| c.is_ascii_digit());
            found.extend(
                holder.or(years.then_some(rest)).map(|holder| holder.trim_end_matches('.').to_owned()),
            );
        }
    }
    Ok(found)
}

fn paragraph(files: &str, holders: &[String], license: &str, comment: &str) -> String {
    let holders = holders.join("\n           ");
    format!("\nFiles: {files}\nCopyright: {holders}\nLicense: {license}\nComment: {comment}\n")
}

/// A paragraph with the text of a licence.
fn license(name: &str, text: &Text, crates: &BTreeMap<Id, Crate>) -> Result<String, Failure> {
    let text = match text {
        Text::Common(file, elsewhere) => {
            format!("{elsewhere}\nOn Debian systems it is in /usr/share/common-licenses/{file}, too.")
        }
        Text::From(package, file, start) => {
            let known = crates.iter().find(|(id, _)| id.name == *package).map(|(_, known)| known);
            let path = known
                .ok_or_else(|| format!("no crate {package} has the text of {name}"))?
                .directory
                .join(file);
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let lines = text.lines().skip_while(|line| !line.contains(start));
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    if text.is_empty() {
        return Err(format!("the text of {name} does not start as examples/crates/copyright.rs says").into());
    }
    let lines =
        text.trim_end().lines().map(|line| if line.trim().is_empty() { "." } else { line.trim_end() });
    Ok(format!("\nLicense: {name}\n {}\n", lines.collect::<Vec<_>>().join("\n ")))
}

/// `1.0.18` → 1, 0, 18.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The directory of a crate, as `cargo vendor` names it: only the newest version has no number.
fn place(id: &Id, crates: &BTreeMap<Id, Crate>) -> String {
    let newer = |other: &Id| other.name == id.name && numbers(&other.version) > numbers(&id.version);
    let number = if crates.keys().any(newer) { format!("-{}", id.version) } else { String::new() };
    format!("vendor/{}{number}/*", id.name)
}

pub fn text() -> Result<String, Failure> {
    let crates = graph::crates()?;
    let mut programs: BTreeMap<Id, Vec<&str>> = BTreeMap::new();
    for (program, features) in PROGRAMS {
        for id in graph::linked(features, TARGET)?.into_keys() {
            programs.entry(id).or_default().push(program);
        }
    }
    let mut used = BTreeSet::new();
    let (mut own, mut vendored) = (String::new(), String::new());
    for (id, known) in &crates {
        let license = in_debians_words(&known.license, &mut used).map_err(|e| format!("{}: {e}", id.name))?;
        let mut holders: Vec<String> = holders(&known.directory)?.into_iter().collect();
        if holders.is_empty() {
            holders.clone_from(&known.authors);
        }
        if holders.is_empty() {
            holders.push(format!("the developers of {}", id.name));
        }
        if id.name == env!("CARGO_PKG_NAME") {
            own = paragraph("*", &holders, &license, "All that is not below vendor.");
            continue;
        }
        let user = match programs.get(id) {
            Some(programs) => programs.join(", "),
            None => "no program. It is for the build, the tests or other systems".to_owned(),
        };
        let comment = format!("{} {} is in {user}.", id.name, id.version);
        vendored += &paragraph(&place(id, &crates), &holders, &license, &comment);
    }
    let mut text = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: {}\nComment: \
         `make copyright` writes this file from what the crates say about themselves.\n{own}{vendored}",
        env!("CARGO_PKG_NAME")
    );
    for (spdx, name, source) in &LICENSES {
        if used.contains(spdx) {
            text += &license(name, source, &crates)?;
        }
    }
    Ok(text)
}
