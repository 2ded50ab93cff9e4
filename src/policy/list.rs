//! One column of a rule: a list separated by commas, in which `!` excludes.

use std::fmt::{self, Display};

use super::quoting::{self, Letter, Written};

/// The items and exceptions of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    /// In the order in which they are written. `true` marks an exception (`!`).
    items: Vec<(bool, T)>,
}

impl<T: Item> List<T> {
    /// Reads a column.
    ///
    /// # Errors
    ///
    /// The column is malformed. The text says what was expected.
    pub fn read(column: &[Letter]) -> Result<Self, String> {
        let mut items = Vec::new();
        for part in quoting::items(column) {
            let (except, name) = quoting::behind('!', part).map_or((false, part), |name| (true, name));
            if name.is_empty() {
                return Err(format!("an item is missing; a list has no spaces; expected {}", T::EXPECTED));
            }
            if name.iter().any(|(c, written)| *c == '=' && (*written == Written::Bare || !T::QUOTABLE)) {
                // Probably a column was left out.
                return Err(format!("expected {}, found an option: four columns come first", T::EXPECTED));
            }
            let item = T::read(name).map_err(|problem| {
                // If the column has only one item, the caller's error already shows it.
                if part.len() == column.len() {
                    problem
                } else {
                    format!("\"{}\": {problem}", quoting::text(name).escape_debug())
                }
            })?;
            if except && item.is_any() {
                return Err("!* excludes everybody".to_owned());
            }
            items.push((except, item));
        }
        let list = Self { items };
        if list.wanted().next().is_none() {
            // Some people would read such a column as everything else, others as nothing.
            return Err(format!("only exceptions: to match everything else, write *,{list}"));
        }
        Ok(list)
    }

    /// Reads a column that has no quotation marks.
    #[cfg(test)]
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(&quoting::bare(text))
    }

    /// Whether an item of the list matches and no exception does.
    ///
    /// # Errors
    ///
    /// The first error of `holds`.
    pub fn matches<E>(&self, mut holds: impl FnMut(&T) -> Result<bool, E>) -> Result<bool, E> {
        let mut found = false;
        for (except, item) in &self.items {
            // This asks name services no more than needed.
            if (*except || !found) && holds(item)? {
                if *except {
                    return Ok(false);
                }
                found = true;
            }
        }
        Ok(found)
    }

    /// Whether it certainly matches everything.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.items.iter().all(|(except, _)| !except) && self.items().any(Item::is_any)
    }

    /// The items that are not exceptions.
    pub fn wanted(&self) -> impl Iterator<Item = &T> {
        self.items.iter().filter(|(except, _)| !except).map(|(_, item)| item)
    }

    /// The exceptions, without their `!`.
    pub fn exceptions(&self) -> impl Iterator<Item = &T> {
        self.items.iter().filter(|(except, _)| *except).map(|(_, item)| item)
    }

    /// All items, including exceptions.
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

/// One item of a column.
pub trait Item: Sized + Display {
    /// What the column may contain, for an error.
    const EXPECTED: &'static str;

    /// Whether quotation marks change the meaning of an item.
    const QUOTABLE: bool = false;

    /// Reads one item, without its `!`.
    ///
    /// # Errors
    ///
    /// The item is malformed. The text says what was expected.
    fn read(letters: &[Letter]) -> Result<Self, String>;

    /// Whether it is `*`.
    fn is_any(&self) -> bool;

    /// The error for anything else.
    #[must_use]
    fn expected() -> String {
        format!("expected {}", Self::EXPECTED)
    }
}
