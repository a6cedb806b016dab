use std::borrow::Cow;

use super::FilterError;
use crate::text::quoted;

/// The characters that end a word, besides white space.
const PUNCTUATION: &[char] = &['(', ')', '<', '>', '=', '!', ',', '"', '\''];

/// Splits a filter into pieces, one at a time. What counts as a piece depends on what may come next: values contain
/// colons and dots, as times, scopes and resources do.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// The offset of the next byte.
    at: usize,
}

/// The operator between a field and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Has,
}

/// A value in its original spelling.
pub(super) struct Value<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) is_quoted: bool,
}

impl Operator {
    /// Longer operators first, since shorter ones are prefixes of some.
    const SPELLED: [(&'static str, Self); 7] = [
        ("!=", Self::NotEqual),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("=", Self::Equal),
        ("<", Self::Less),
        (">", Self::Greater),
        (":", Self::Has),
    ];
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the offset at which the next piece starts.
    pub(super) fn next_at(&mut self) -> usize {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
        self.at
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.next_at() == self.text.len()
    }

    /// Consumes this punctuation mark if it comes next.
    pub(super) fn take(&mut self, mark: &str) -> bool {
        self.next_at();
        let comes = self.rest().starts_with(mark);
        if comes {
            self.at += mark.len();
        }
        comes
    }

    /// Consumes this keyword if it comes next.
    pub(super) fn take_keyword(&mut self, keyword: &str) -> bool {
        let start = self.next_at();
        let comes = self.word(":") == keyword;
        if !comes {
            self.at = start;
        }
        comes
    }

    /// Consumes a field's name; empty if none comes next.
    pub(super) fn name(&mut self) -> &'a str {
        self.next_at();
        self.word(":")
    }

    pub(super) fn operator(&mut self) -> Option<Operator> {
        Operator::SPELLED
            .into_iter()
            .find(|(spelled, _)| self.take(spelled))
            .map(|(_, operator)| operator)
    }

    /// Consumes a value; `None` if none comes next.
    pub(super) fn value(&mut self) -> Result<Option<Value<'a>>, FilterError> {
        self.next_at();
        match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => self.text_in(quote).map(Some),
            _ => match self.word("") {
                "" => Ok(None),
                word => Ok(Some(Value {
                    text: Cow::Borrowed(word),
                    is_quoted: false,
                })),
            },
        }
    }

    /// Creates the error that something other than `expected` was found at this offset.
    pub(super) fn unexpected(&self, at: usize, expected: impl Into<String>) -> FilterError {
        let mut there = Self { text: self.text, at };
        let found = match there.rest().chars().next() {
            None => "the end".to_owned(),
            Some('"' | '\'') => quoted(there.rest()),
            Some(mark) if mark == ':' || PUNCTUATION.contains(&mark) => quoted(mark.encode_utf8(&mut [0; 4])),
            Some(_) => quoted(there.word("")),
        };
        FilterError::Unexpected {
            position: self.position(at),
            expected: expected.into(),
            found,
        }
    }

    /// Converts an offset to a character position, counted from 1.
    pub(super) fn position(&self, at: usize) -> usize {
        self.text[..at].chars().count() + 1
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Consumes everything up to white space, punctuation or one of the characters in `also`.
    fn word(&mut self, also: &str) -> &'a str {
        let rest = self.rest();
        let ends = |char: char| char.is_ascii_whitespace() || PUNCTUATION.contains(&char) || also.contains(char);
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn text_in(&mut self, quote: char) -> Result<Value<'a>, FilterError> {
        let (mut text, mut is_escaped) = (String::new(), false);
        for (offset, char) in self.rest().char_indices().skip(1) {
            let at = self.at + offset;
            match char {
                '"' | '\'' | '\\' if is_escaped => text.push(char),
                _ if is_escaped => return Err(self.unexpected(at, "a quote or a backslash after the backslash")),
                '\\' => {
                    is_escaped = true;
                    continue;
                }
                _ if char == quote => {
                    self.at = at + quote.len_utf8();
                    return Ok(Value {
                        text: Cow::Owned(text),
                        is_quoted: true,
                    });
                }
                _ => text.push(char),
            }
            is_escaped = false;
        }
        Err(self.unexpected(self.text.len(), format!("a closing {quote}")))
    }
}
