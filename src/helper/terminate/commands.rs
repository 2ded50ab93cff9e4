//! The command names of the processes to end, for a field of a record.

use std::collections::BTreeSet;

/// This many names are enough to tell what was lost.
const SHOWN: usize = 8;

/// The distinct names in their order. If there are many, only the first names and the number of the others.
///
/// A process chooses its own name. A comma in a name is escaped, because commas separate names.
#[must_use]
pub fn field(names: impl IntoIterator<Item = String>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut shown: Vec<String> = Vec::new();
    for name in names {
        if !name.is_empty() && seen.insert(name.clone()) && shown.len() < SHOWN {
            shown.push(name.escape_default().to_string().replace(',', "\\u{2c}"));
        }
    }
    let more = seen.len() - shown.len();
    let list = shown.join(",");
    match more {
        0 => (!list.is_empty()).then_some(list),
        _ => Some(format!("{list} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Event, Key, Record};
    use proptest::prelude::*;

    fn of(names: &[&str]) -> Option<String> {
        field(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn each_name_comes_once() {
        assert_eq!(of(&["bash", "vim", "bash", "make"]).as_deref(), Some("bash,vim,make"));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[""]), None);
    }

    #[test]
    fn of_many_only_the_first_are_named() {
        let names: Vec<String> = (0..11).map(|n| format!("n{n}")).collect();
        assert_eq!(field(names[..8].to_vec()).as_deref(), Some("n0,n1,n2,n3,n4,n5,n6,n7"));
        assert_eq!(field(names).as_deref(), Some("n0,n1,n2,n3,n4,n5,n6,n7 and 3 more"));
    }

    #[test]
    fn a_name_passes_for_no_other() {
        assert_eq!(of(&["a,b", "c\n"]).as_deref(), Some("a\\u{2c}b,c\\n"));
        let record = Record::new(Event::Ended).with_some(Key::Processes, of(&["x\" survivors=0"]));
        assert_eq!(record.to_string(), r#"ended processes="x\\\" survivors=0""#);
    }

    proptest! {
        #[test]
        fn it_is_short_whatever_the_names_are(names in proptest::collection::vec(".{0,15}", 0..100)) {
            // Each of the fifteen characters of a name becomes at most ten.
            prop_assert!(field(names).unwrap_or_default().len() <= SHOWN * 151 + 20);
        }
    }
}
