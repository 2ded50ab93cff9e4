//! The modules of the product: their names, and who uses whom.

use super::*;

/// The items of a kind that the modules define outside of tests: each name, and the rest of its line.
fn items(kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in rust_files("src") {
        if path.ends_with("tests.rs") {
            continue;
        }
        for line in text.split("\n#[cfg(test)]").next().unwrap().lines() {
            let visible = line.strip_prefix("pub ").or_else(|| line.split_once(") ").map(|(_, rest)| rest));
            let Some(item) = visible.unwrap_or(line).strip_prefix(kind) else { continue };
            let end = item.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(item.len());
            found.push((item[..end].to_owned(), item[end..].to_owned()));
        }
    }
    assert!(found.len() > 5, "{kind}: {found:?}");
    found
}

#[test]
fn no_two_types_have_one_name() {
    let mut names = BTreeSet::new();
    for (name, _) in ["struct ", "enum "].into_iter().flat_map(items) {
        assert!(names.insert(name.clone()), "there are two types {name}");
    }
}

#[test]
fn no_constant_has_one_name_and_two_values() {
    let mut values = BTreeMap::new();
    for (name, value) in items("const ") {
        let earlier = values.insert(name.clone(), value.clone());
        assert!(earlier.is_none_or(|earlier| earlier == value), "there are two constants {name}");
    }
}

/// The paths that start with `crate::` or `super::` in a source file, each segment by segment. A group in braces is
/// one path for each of its items.
fn imports(text: &str) -> Vec<Vec<String>> {
    let segments =
        |path: &str| -> Vec<String> { path.split("::").map(|part| part.trim().to_owned()).collect() };
    let text: String = text.lines().map(code).collect::<Vec<_>>().join(" ");
    let starts =
        ["crate::", "super::"].into_iter().flat_map(|start| text.match_indices(start).map(|(at, _)| at));
    let first = |at: &usize| !text[..*at].ends_with("::");
    let mut found = Vec::new();
    for at in starts.filter(first) {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
        let path = rest[..end].trim_end_matches(':');
        let group = rest[end..].strip_prefix('{').and_then(|group| group.split('}').next());
        match group {
            Some(group) => {
                found.extend(group.split(',').map(|item| segments(&format!("{path}::{}", item.trim()))))
            }
            None => found.push(segments(path)),
        }
    }
    found
}

#[test]
fn no_two_modules_import_each_other_in_a_circle() {
    let name = |path: &Path| -> Vec<String> {
        let path = path.strip_prefix("src").unwrap().with_extension("");
        path.iter().map(|part| part.to_str().unwrap().to_owned()).filter(|part| part != "mod").collect()
    };
    let files = rust_files("src").into_iter().filter(|(path, _)| !path.ends_with("tests.rs"));
    let files: BTreeMap<Vec<String>, String> = files.map(|(path, text)| (name(&path), text)).collect();
    let module = |path: Vec<String>| {
        (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|path| files.contains_key(path))
    };
    let mut needs: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (file, text) in &files {
        for path in imports(text.split("\n#[cfg(test)]").next().unwrap()) {
            let up = path.iter().take_while(|part| *part == "super").count();
            let base = if up == 0 { &[][..] } else { &file[..file.len().saturating_sub(up)] };
            let other = module([base, &path[up.max(1)..]].concat());
            // A directory and its files may need each other.
            let other = other.filter(|other| !file.starts_with(other) && !other.starts_with(file));
            needs.entry(file).or_default().extend(other);
        }
    }
    assert!(needs.values().map(BTreeSet::len).sum::<usize>() > 100, "{needs:?}");
    // Modules that need no other that is left are taken away. In the end only circles are left.
    while let Some(last) =
        needs.iter().find(|(_, others)| others.iter().all(|other| !needs.contains_key(other)))
    {
        let last = (*last.0).clone();
        needs.remove(&last);
    }
    assert!(needs.is_empty(), "{needs:#?}");
}
