//! The software bill of materials in the format of CycloneDX 1.6: the crates in each of the three programs.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::graph::{self, Crate, Failure, Id, PROGRAMS, TARGET};

/// The standard library. The version of rustc is its version.
const STD: &str = "rust-std";

/// The output of a program, without the newline at its end.
fn output(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{program} {}: {}", arguments.join(" "), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn reference(id: &Id) -> String {
    // A version with build metadata has a plus sign, which has another meaning in a URL.
    format!("pkg:cargo/{}@{}", id.name, id.version.replace('+', "%2B"))
}

fn component(id: &Id, known: &Crate) -> Value {
    let checksum = known.checksum.iter().map(|sum| json!({ "alg": "SHA-256", "content": sum }));
    json!({
        "type": "library",
        "bom-ref": reference(id),
        "name": id.name,
        "version": id.version,
        "description": known.description,
        "licenses": [{ "expression": known.license }],
        "purl": reference(id),
        "hashes": checksum.collect::<Vec<Value>>(),
    })
}

/// The same source and time give the same text. The time is in seconds since 1970.
pub fn text(time: Option<&str>) -> Result<String, Failure> {
    let crates = graph::crates()?;
    let (us, ours) =
        crates.iter().find(|(id, _)| id.name == env!("CARGO_PKG_NAME")).ok_or("no package of ours")?;
    let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut contained = BTreeSet::new();
    for (program, features) in PROGRAMS {
        for (id, called) in graph::linked(features, TARGET)? {
            // The programs have different features, so each calls other crates. The bill names the program, not our
            // package.
            let caller = if id == *us { program.to_owned() } else { reference(&id) };
            calls.entry(caller).or_default().extend(called.iter().map(reference));
            contained.insert(id);
        }
        calls.entry(program.to_owned()).or_default().insert(STD.to_owned());
    }
    contained.remove(us);
    let mut components = Vec::new();
    for id in &contained {
        let known = crates.get(id).ok_or_else(|| format!("cargo metadata does not know {}", id.name))?;
        components.push(component(id, known));
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = output(&rustc, &["--version"])?;
    components.push(json!({
        "type": "library",
        "bom-ref": STD,
        "name": STD,
        "version": version.split(' ').nth(1),
        "description": "The standard library of Rust",
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    }));
    let programs = PROGRAMS.map(|(name, _)| {
        let kind = if name.ends_with(".so") { "library" } else { "application" };
        json!({ "type": kind, "bom-ref": name, "name": name, "version": us.version })
    });
    calls.insert(us.name.clone(), PROGRAMS.iter().map(|(name, _)| (*name).to_owned()).collect());
    let mut metadata = json!({
        "component": {
            "type": "application",
            "bom-ref": us.name,
            "name": us.name,
            "version": us.version,
            "description": ours.description,
            "licenses": [{ "expression": ours.license }],
            "components": programs,
        },
    });
    if let (Some(seconds), Some(fields)) = (time, metadata.as_object_mut()) {
        let time = output("date", &["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])?;
        fields.insert("timestamp".to_owned(), time.into());
    }
    let calls: Vec<Value> =
        calls.iter().map(|(caller, called)| json!({ "ref": caller, "dependsOn": called })).collect();
    let whole = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": calls,
    });
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}
