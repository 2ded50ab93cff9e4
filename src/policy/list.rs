//! A column's list by commas, in which `!` excludes.

use std::fmt::{self, Display};

/// Items, and those among them that do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    /// In the order they were written; each with whether `!` stands before it.
    items: Vec<(bool, T)>,
}

impl<T: Item> List<T> {
    /// Reads a column.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut items = Vec::new();
        for part in text.split(',') {
            let (except, name) = part.strip_prefix('!').map_or((false, part), |name| (true, name));
            if name.is_empty() {
                return Err(format!("an item is missing, expected {}", T::EXPECTED));
            }
            if name.contains('=') {
                // A column was left out, most likely.
                return Err(format!("expected {}, found a setting: four columns go before it", T::EXPECTED));
            }
            let item = T::parse(name).map_err(|problem| {
                // A column of one item is shown beside the problem as it is.
                if part == text { problem } else { format!("\"{}\": {problem}", name.escape_debug()) }
            })?;
            if except && item.is_any() {
                return Err("!* leaves nobody".to_owned());
            }
            items.push((except, item));
        }
        if items.iter().all(|(except, _)| *except) {
            // Some would read it as everything else, others as nothing.
            return Err(format!("only exceptions: for everything else, write *,{}", text.escape_debug()));
        }
        Ok(Self { items })
    }

    /// Whether an item of the list holds and none of its exceptions does.
    ///
    /// # Errors
    ///
    /// The first of `holds`.
    pub fn matches<E>(&self, mut holds: impl FnMut(&T) -> Result<bool, E>) -> Result<bool, E> {
        let mut found = false;
        for (except, item) in &self.items {
            // Name services are asked no more than needed.
            if (*except || !found) && holds(item)? {
                if *except {
                    return Ok(false);
                }
                found = true;
            }
        }
        Ok(found)
    }

    /// Whether it holds for everything, and visibly so.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.items.iter().all(|(except, _)| !except) && self.items().any(Item::is_any)
    }

    /// The items that are no exceptions.
    pub fn wanted(&self) -> impl Iterator<Item = &T> {
        self.items.iter().filter(|(except, _)| !except).map(|(_, item)| item)
    }

    /// The exceptions, without their `!`.
    pub fn exceptions(&self) -> impl Iterator<Item = &T> {
        self.items.iter().filter(|(except, _)| *except).map(|(_, item)| item)
    }

    /// The items, exceptions among them.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(_, item)| item)
    }
}

impl<T: Display> Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (except, item)) in self.items.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let mark = if *except { "!" } else { "" };
            write!(f, "{comma}{mark}{item}")?;
        }
        Ok(())
    }
}

/// What a column's list is made of.
pub trait Item: Sized {
    /// What may stand there, for a message.
    const EXPECTED: &'static str;

    /// Reads one item, without its `!`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or what was expected.
    fn parse(text: &str) -> Result<Self, String>;

    /// Whether it is `*`.
    fn is_any(&self) -> bool;

    /// That something else stands there.
    #[must_use]
    fn expected() -> String {
        format!("expected {}", Self::EXPECTED)
    }
}
