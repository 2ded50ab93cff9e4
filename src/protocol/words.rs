//! The words of a message: each is `--name=value`, and most names come once.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// The words that nobody has taken yet.
#[derive(Debug)]
pub struct Words(Vec<(String, String)>);

impl Words {
    /// Splits the words.
    ///
    /// # Errors
    ///
    /// One of them is no `--name=value`.
    pub fn split<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let split = |word: &str| {
            let (name, value) = word.strip_prefix("--")?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let words = words.into_iter();
        words
            .map(|word| split(word).ok_or_else(|| format!("{word:?} is no option with a value")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Takes the value of a name, if it is there.
    pub fn maybe(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(found, _)| found == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes all values of a name that may come several times.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        std::iter::from_fn(|| self.maybe(name)).collect()
    }

    /// Takes the value of a name.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn text(&mut self, name: &str) -> Result<String, String> {
        self.maybe(name).ok_or_else(|| format!("--{name} is missing"))
    }

    /// Takes and reads the value of a name.
    ///
    /// # Errors
    ///
    /// It is not there, or malformed.
    pub fn value<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, String> {
        let text = self.text(name)?;
        text.parse().map_err(|e| format!("--{name}={text}: {e}"))
    }

    /// Takes and reads a time in seconds, if it is there.
    ///
    /// # Errors
    ///
    /// It is malformed.
    pub fn maybe_seconds(&mut self, name: &str) -> Result<Option<Duration>, String> {
        let read = |text: String| text.parse().map_err(|e| format!("--{name}={text}: {e}"));
        Ok(self.maybe(name).map(read).transpose()?.map(Duration::from_secs))
    }

    /// Checks that all words were taken.
    ///
    /// # Errors
    ///
    /// A word is unknown, or there twice.
    pub fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("--{name} is unknown or given twice")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Words {
        Words::split(words.iter().copied()).unwrap()
    }

    #[test]
    fn each_word_is_taken_once() {
        let mut read = words(&["--a=1", "--b=x=y", "--t=2", "--t="]);
        assert_eq!((read.value("a"), read.text("b")), (Ok(1), Ok("x=y".to_owned())));
        assert_eq!((read.maybe("c"), read.all("t")), (None, vec!["2".to_owned(), String::new()]));
        assert_eq!(read.finish(), Ok(()));
    }

    #[test]
    fn a_mistake_is_named() {
        assert!(Words::split(["--a"]).unwrap_err().contains("--a"));
        assert!(Words::split(["a=1"]).is_err());
        assert_eq!(words(&[]).text("a"), Err("--a is missing".to_owned()));
        assert!(words(&["--a=x"]).value::<u8>("a").unwrap_err().starts_with("--a=x: "));
        assert!(words(&["--a=256"]).value::<u8>("a").is_err());
        assert!(words(&["--a=-1"]).maybe_seconds("a").is_err());
        let mut twice = words(&["--a=1", "--a=2"]);
        assert_eq!(twice.value("a"), Ok(1));
        assert_eq!(twice.finish(), Err("--a is unknown or given twice".to_owned()));
    }
}
