//! The rules for every refusal.

use std::collections::HashSet;

use tokend_client::{CallError, v1::ErrorReason};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::hostile::Class;

/// The largest number of characters in a message or description.
const MAX_CHARS: usize = 800;
/// The largest number of bytes that a refusal adds to the response headers. Clients accept 8 KiB of headers by default.
const MAX_HEADER_BYTES: usize = 6 * 1024;
/// The words that may follow the field's name in a description.
const PREDICATES: [&str; 4] = ["must ", "is ", "has ", "names "];
/// The number of consecutive characters of a secret that must not appear.
const WINDOW: usize = 8;
/// The number of characters before a credential's secret part: `tkdw_`, key and ID, `_`.
const PUBLIC_CHARS: usize = 24;

/// Checks a refusal. The error says which rule it breaks.
pub(crate) fn check(
    status: &Status,
    code: Code,
    reason: ErrorReason,
    fields: &[String],
    secrets: &Secrets,
) -> Result<(), String> {
    let details = status.get_error_details();
    let domain = details.error_info().map(|info| info.domain.as_str());
    let failure = CallError::from(status.clone());
    let named: Vec<_> = failure.fields.iter().map(|violation| violation.field.clone()).collect();
    let wanted = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    if (failure.code, failure.reason.as_str(), domain) != (code, wanted, Some(tokend_proto::ERROR_DOMAIN)) {
        return Err(format!(
            "refused as {:?} {}: {}",
            failure.code, failure.reason, failure.message
        ));
    }
    if named != fields {
        return Err(format!("names {named:?} instead of {fields:?}: {}", failure.message));
    }
    let descriptions = failure.fields.iter().map(|violation| violation.description.as_str());
    for description in descriptions.clone() {
        if reason == ErrorReason::InvalidField && !PREDICATES.iter().any(|start| description.starts_with(start)) {
            return Err(format!("does not go on after the name of a field: {description}"));
        }
    }
    for text in descriptions
        .chain(named.iter().map(String::as_str))
        .chain([failure.message.as_str()])
    {
        one_printable_line(text)?;
    }
    let header_bytes = percent_encoded_len(&failure.message) + status.details().len().div_ceil(3) * 4;
    if header_bytes > MAX_HEADER_BYTES {
        return Err(format!("is {header_bytes} bytes of headers"));
    }
    secrets.are_not_in(&failure.message)?;
    secrets.are_not_in(&String::from_utf8_lossy(status.details()))
}

fn one_printable_line(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if !(1..=MAX_CHARS).contains(&length) {
        return Err(format!("has a text of {length} characters: {text:?}"));
    }
    match text.chars().find(|&char| char.is_control() || reorders(char)) {
        Some(char) => Err(format!("has {char:?} in a text: {text:?}")),
        None => Ok(()),
    }
}

/// Returns whether the character changes the order or the line of the text after it.
pub(crate) fn reorders(char: char) -> bool {
    matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Returns whether a text may have this character: a text of one line, or of several if `lines`.
pub(crate) fn may_hold(class: Class, lines: bool) -> bool {
    match class {
        Class::Printable => true,
        Class::Line | Class::Reordering => lines,
        Class::Control => false,
    }
}

/// Returns the length of a message as gRPC encodes it.
fn percent_encoded_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| {
            if matches!(byte, b' '..=b'~') && byte != b'%' {
                1
            } else {
                3
            }
        })
        .sum()
}

/// The secret parts of credentials, to find pieces of them in any text.
#[derive(Debug, Default)]
pub(crate) struct Secrets(HashSet<String>);

impl Secrets {
    pub(crate) fn of<'a>(credentials: impl IntoIterator<Item = &'a str>) -> Self {
        let secret_parts = credentials
            .into_iter()
            .map(|credential| &credential.as_bytes()[PUBLIC_CHARS..]);
        let windows = secret_parts.flat_map(|secret| secret.windows(WINDOW));
        Self(
            windows
                .map(|window| String::from_utf8(window.to_vec()).expect("a credential is ASCII"))
                .collect(),
        )
    }

    pub(crate) fn are_not_in(&self, text: &str) -> Result<(), String> {
        let shown = text
            .as_bytes()
            .windows(WINDOW)
            .any(|window| str::from_utf8(window).is_ok_and(|window| self.0.contains(window)));
        if shown {
            Err("shows a piece of a secret".to_owned())
        } else {
            Ok(())
        }
    }
}
