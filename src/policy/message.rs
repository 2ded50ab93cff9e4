//! The administrator's own texts, with placeholders.

/// A longer text would not fit on a terminal or a command line.
pub const LENGTH_MAX: usize = 2000;

/// The value that a placeholder shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `{user}`: the user's name.
    User,
    /// `{idle}`: how long the session has been idle.
    Idle,
    /// `{limit}`: how long the session may be idle.
    Limit,
    /// `{remaining}`: how long until the end.
    Remaining,
    /// `{terminal}`: the terminal that shows the warning.
    Terminal,
    /// `{rule}`: the rule that applies, as `file:line`.
    Rule,
}

impl Field {
    const ALL: [Self; 6] = [Self::User, Self::Idle, Self::Limit, Self::Remaining, Self::Terminal, Self::Rule];

    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Idle => "idle",
            Self::Limit => "limit",
            Self::Remaining => "remaining",
            Self::Terminal => "terminal",
            Self::Rule => "rule",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A text with placeholders. It contains no control characters except line feeds and tabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

impl Template {
    /// Reads the text of a warning. For example, `{user}` is a placeholder. `{{` and `}}` are braces.
    ///
    /// # Errors
    ///
    /// The text is malformed.
    pub fn parse(source: &str) -> Result<Self, String> {
        Self::parse_with(source, &Field::ALL)
    }

    /// Reads the text of an announcement. It has only the placeholders whose values are known at login.
    ///
    /// # Errors
    ///
    /// The text is malformed.
    pub fn parse_announcement(source: &str) -> Result<Self, String> {
        Self::parse_with(source, &[Field::User, Field::Limit, Field::Rule])
    }

    fn parse_with(source: &str, fields: &[Field]) -> Result<Self, String> {
        if source.trim().is_empty() {
            return Err("expected a text".to_owned());
        }
        if source.len() > LENGTH_MAX {
            return Err(format!("too long, expected at most {LENGTH_MAX} bytes"));
        }
        if let Some(c) = source.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(format!("control character {} is not allowed", c.escape_unicode()));
        }
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (plain, brace) = rest.split_at(at);
            text.push_str(plain);
            if let Some(tail) = brace.strip_prefix("{{") {
                text.push('{');
                rest = tail;
            } else if let Some(tail) = brace.strip_prefix("}}") {
                text.push('}');
                rest = tail;
            } else {
                let (field, tail) = placeholder(brace, fields)?;
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Field(field));
                rest = tail;
            }
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The text as it was written. [`Template::parse`] reads it back.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text with values instead of placeholders. Of a value, only what is [`printable`] is kept.
    pub fn fill(&self, value: impl Fn(Field) -> String) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Field(field) => text.push_str(&printable(&value(*field))),
            }
        }
        text
    }
}

/// Foreign text for a person's terminal. Only printable ASCII is kept, because others can choose the text and the
/// terminal's encoding is not known.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Reads a placeholder of these fields. Returns it with the text that follows.
fn placeholder<'a>(text: &'a str, fields: &[Field]) -> Result<(Field, &'a str), String> {
    let names = || fields.iter().map(|field| format!("{{{}}}", field.name())).collect::<Vec<_>>().join(" ");
    let inner = text.strip_prefix('{').and_then(|text| text.split_once('}'));
    let Some((name, tail)) = inner else {
        return Err(format!("a single brace, expected {{{{ or }}}} or one of {}", names()));
    };
    let field = fields.iter().copied().find(|field| field.name() == name);
    field.map(|field| (field, tail)).ok_or_else(|| {
        format!("unknown placeholder {{{}}}, expected one of {}", name.escape_debug(), names())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(text: &str) -> String {
        Template::parse(text).unwrap().fill(|field| format!("<{}>", field.name()))
    }

    #[test]
    fn placeholders_are_filled_and_doubled_braces_are_braces() {
        assert_eq!(filled("{user}: {{{idle}}} of {limit}"), "<user>: {<idle>} of <limit>");
        assert_eq!(filled("{terminal}{rule}{remaining}"), "<terminal><rule><remaining>");
    }

    #[test]
    fn a_text_that_could_be_misread_is_refused() {
        for text in
            ["", "  \n", "{", "}", "{user", "{User}", "{}", "a{ b}", "\x1b[31m", "\u{9b}x", "a\rb", "\x07"]
        {
            assert!(Template::parse(text).is_err(), "{text:?}");
        }
        assert!(Template::parse(&"x".repeat(LENGTH_MAX + 1)).is_err());
    }

    #[test]
    fn an_announcement_has_no_placeholder_whose_value_comes_later() {
        let text = Template::parse_announcement("{user}: {limit}, {rule}").unwrap();
        assert_eq!(text.fill(|field| field.name().to_owned()), "user: limit, rule");
        for late in ["{idle}", "{remaining}", "{terminal}"] {
            let problem = Template::parse_announcement(late).unwrap_err();
            assert_eq!(
                problem,
                format!("unknown placeholder {late}, expected one of {{user}} {{limit}} {{rule}}")
            );
        }
    }

    proptest! {
        #[test]
        fn no_control_character_reaches_a_terminal(text in "\\PC*\\{user\\}\\PC*|.*", name in "(?s).*") {
            if let Ok(template) = Template::parse(&text) {
                let filled = template.fill(|_| name.clone());
                prop_assert!(filled.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
                prop_assert_eq!(Template::parse(template.source()), Ok(template));
            }
        }
    }
}
