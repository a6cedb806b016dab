use std::borrow::Cow;

use super::FilterError;
use crate::quote::quoted;

/// What ends a word, white space aside.
const PUNCTUATION: &[char] = &['(', ')', '<', '>', '=', '!', ',', '"', '\''];

/// Takes a filter's text apart, one piece at a time. What a piece is depends on what may stand there: a value may hold colons and
/// dots, as times, scopes and resources do.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// The byte that comes next.
    at: usize,
}

/// What stands between a field and its value.
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

/// A value as it was written.
pub(super) struct Value<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) is_quoted: bool,
}

impl Operator {
    /// Longer ones first, since their starts are others.
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

    /// The byte at which the next piece starts.
    pub(super) fn next_at(&mut self) -> usize {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
        self.at
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.next_at() == self.text.len()
    }

    /// Takes this punctuation mark, if it comes next.
    pub(super) fn take(&mut self, mark: &str) -> bool {
        self.next_at();
        let comes = self.rest().starts_with(mark);
        if comes {
            self.at += mark.len();
        }
        comes
    }

    /// Takes this keyword, if it comes next.
    pub(super) fn take_keyword(&mut self, keyword: &str) -> bool {
        let start = self.next_at();
        let comes = self.word(":") == keyword;
        if !comes {
            self.at = start;
        }
        comes
    }

    /// Takes a field's name; empty if none comes next.
    pub(super) fn name(&mut self) -> &'a str {
        self.next_at();
        self.word(":")
    }

    pub(super) fn operator(&mut self) -> Option<Operator> {
        Operator::SPELLED.into_iter().find(|(spelled, _)| self.take(spelled)).map(|(_, operator)| operator)
    }

    /// Takes a value; nothing if none comes next.
    pub(super) fn value(&mut self) -> Result<Option<Value<'a>>, FilterError> {
        self.next_at();
        match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => self.text_in(quote).map(Some),
            _ => match self.word("") {
                "" => Ok(None),
                word => Ok(Some(Value { text: Cow::Borrowed(word), is_quoted: false })),
            },
        }
    }

    /// That something else stands at this byte than what should.
    pub(super) fn unexpected(&self, at: usize, expected: impl Into<String>) -> FilterError {
        let mut there = Self { text: self.text, at };
        let found = match there.rest().chars().next() {
            None => "the end".to_owned(),
            Some('"' | '\'') => quoted(there.rest()),
            Some(mark) if mark == ':' || PUNCTUATION.contains(&mark) => quoted(mark.encode_utf8(&mut [0; 4])),
            Some(_) => quoted(there.word("")),
        };
        FilterError::Unexpected { position: self.position(at), expected: expected.into(), found }
    }

    /// The character, counted from 1, that starts at this byte.
    pub(super) fn position(&self, at: usize) -> usize {
        self.text[..at].chars().count() + 1
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes what comes up to white space, punctuation or one of the characters of `also`.
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
                    return Ok(Value { text: Cow::Owned(text), is_quoted: true });
                }
                _ => text.push(char),
            }
            is_escaped = false;
        }
        Err(self.unexpected(self.text.len(), format!("a closing {quote}")))
    }
}
