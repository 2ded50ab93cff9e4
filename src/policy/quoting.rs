//! The words of a policy file. Each character is stored together with the way it was written.

/// How a character was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Outside quotation marks.
    Bare,
    /// Inside quotation marks.
    Quoted,
    /// Inside quotation marks, after a backslash. It has no special meaning.
    Escaped,
}

/// A character of a word.
pub type Letter = (char, Written);

/// The text of a word, or of a part of one.
#[must_use]
pub fn text(letters: &[Letter]) -> String {
    letters.iter().map(|(c, _)| c).collect()
}

/// Whether any character is in quotation marks.
#[must_use]
pub fn is_quoted(letters: &[Letter]) -> bool {
    letters.iter().any(|(_, written)| *written != Written::Bare)
}

/// The text after a mark such as `!`. `None` if the word does not start with the mark, or the mark is escaped.
#[must_use]
pub fn behind(mark: char, letters: &[Letter]) -> Option<&[Letter]> {
    letters
        .split_first()
        .filter(|((c, written), _)| *c == mark && *written != Written::Escaped)
        .map(|(_, rest)| rest)
}

/// The parts of a list. An escaped comma does not separate parts.
pub fn items(letters: &[Letter]) -> impl Iterator<Item = &[Letter]> {
    letters.split(|(c, written)| *c == ',' && *written != Written::Escaped)
}

/// The item as letters, none of them escaped.
#[must_use]
pub fn unescaped(letters: &[Letter]) -> Option<String> {
    letters.iter().all(|(_, written)| *written != Written::Escaped).then(|| text(letters))
}

/// The meaning of a backslash and this character inside quotation marks.
#[must_use]
pub fn escaped(c: char) -> Option<char> {
    match c {
        'n' => Some('\n'),
        't' => Some('\t'),
        '"' | '\\' | ',' | '!' | '@' | '*' | ' ' => Some(c),
        _ => None,
    }
}

/// Writes a character for use inside quotation marks, so that it has no special meaning.
pub fn escape(c: char, into: &mut String) {
    match c {
        '\n' => into.push_str("\\n"),
        '\t' => into.push_str("\\t"),
        c => {
            if escaped(c).is_some_and(|escaped| escaped == c) {
                into.push('\\');
            }
            into.push(c);
        }
    }
}

/// The letters of a word without quotation marks.
#[cfg(test)]
pub fn bare(text: &str) -> Vec<Letter> {
    text.chars().map(|c| (c, Written::Bare)).collect()
}
