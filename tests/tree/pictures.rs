//! The pictures of the documents.

use super::*;

/// The tags of an XML text without its comments, and the text between them. An attribute must not contain a
/// `>`, so a tag ends at the first one.
fn tags_and_text(xml: &str) -> (Vec<String>, String) {
    let (mut tags, mut between, mut rest) = (Vec::new(), String::new(), xml);
    while let Some((text, after)) = rest.split_once('<') {
        between += text;
        rest = match after.strip_prefix("!--") {
            Some(comment) => comment.split_once("-->").expect("a comment ends").1,
            None => {
                let (tag, behind) = after.split_once('>').expect("a tag ends");
                tags.push(tag.to_owned());
                behind
            }
        };
    }
    (tags, between + rest)
}

#[test]
fn every_picture_is_well_formed_has_its_text_and_is_shown_by_a_document() {
    let mut documents: Vec<String> = documents().into_values().collect();
    documents.push(text("CONTRIBUTING.md"));
    let entries = fs::read_dir(root().join("docs/pictures")).unwrap();
    let pictures: BTreeSet<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(pictures.len() >= 4, "{pictures:?}");
    for picture in pictures {
        let (tags, between) = tags_and_text(&text(&format!("docs/pictures/{picture}")));
        assert!(!between.contains('>'), "{picture}: a tag is not what it seems");
        let entities = between.split('&').skip(1).map(|rest| rest.split(';').next().unwrap());
        let unknown: Vec<_> = entities.filter(|name| !["amp", "lt", "gt"].contains(name)).collect();
        assert!(unknown.is_empty(), "{picture}: {unknown:?}");
        let mut open = Vec::new();
        for tag in &tags {
            let name = tag.split([' ', '\n']).next().unwrap();
            assert!(!["script", "a", "image", "foreignObject"].contains(&name), "{picture}: <{tag}>");
            // Each attribute is `name="value"`. The text outside of quotation marks has no other characters.
            let outside: String = tag.split('"').step_by(2).collect();
            let names = outside.split_whitespace().skip(1).filter(|word| *word != "/");
            let are_whole = tag.matches('"').count() % 2 == 0
                && names.clone().all(|name| name.trim_end_matches('/').ends_with('='));
            assert!(are_whole, "{picture}: <{tag}>");
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed), "{picture}"),
                None if tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
        assert_eq!(open, [""; 0], "{picture}: left open");
        for part in ["title", "desc"] {
            assert!(
                tags.iter().any(|tag| tag.starts_with(&format!("{part} id="))),
                "{picture} has no {part}"
            );
        }
        let shown = documents.iter().any(|document| document.contains(&format!("pictures/{picture}")));
        assert!(shown, "no document shows docs/pictures/{picture}");
    }
}

#[test]
fn every_directory_that_the_picture_of_the_parts_names_exists() {
    let (_, named) = tags_and_text(&text("docs/pictures/architecture.svg"));
    let words = named.split(|sign: char| !sign.is_alphanumeric() && !"_/.-".contains(sign));
    let named: BTreeSet<&str> =
        words.filter(|word| word.starts_with("src/")).map(|word| word.trim_end_matches('.')).collect();
    let missing: Vec<_> = named.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty() && named.len() >= 10, "{missing:?} of {named:?}");
}
