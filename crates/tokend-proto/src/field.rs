//! Fields that do not fit, named as `google.rpc.BadRequest` names them, and the values that several messages share.

use std::{collections::HashSet, fmt::Display, hash::Hash, str::FromStr, time::Duration};

use tokend_core::{credential::refuse_secrets, time::Timestamp};

/// One field that does not fit, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, such as `scopes[1]`.
    pub field: String,
    /// What is wrong with it and what would be right: the end of a sentence that the field's name begins.
    pub description: String,
}

/// Most bytes of the violations that a refusal tells: they travel in HTTP/2 headers, of which clients by default take 8 KiB, in base64.
/// A peer that gets more cuts the connection, with whatever else is under way on it.
const MAX_BYTES: usize = 2 * 1024;

/// The fields of a request that do not fit: at least one, and of very many the first ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {}", .0[0].field, .0[0].description)]
pub struct FieldViolations(Vec<FieldViolation>);

impl FieldViolations {
    /// The violation of a single field.
    #[must_use]
    pub fn one(field: impl Into<String>, description: impl Display) -> Self {
        Self(vec![FieldViolation { field: field.into(), description: description.to_string() }])
    }

    /// The violations, in the order of the message's fields.
    #[must_use]
    pub fn as_slice(&self) -> &[FieldViolation] {
        &self.0
    }
}

/// Checks a message's fields one by one and remembers those that do not fit.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<FieldViolation>);

impl Fields {
    /// The value of `field`, or nothing and a violation.
    pub(crate) fn check<T, E: Display>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.refuse(field, error)).ok()
    }

    /// The filter in the field of that name; none where it is empty. `None` if it does not fit, or holds a secret.
    pub(crate) fn filter<F: FromStr<Err: Display>>(&mut self, filter: &str) -> Option<Option<F>> {
        if filter.is_empty() {
            return Some(None);
        }
        self.check("filter", refuse_secrets(filter))?;
        self.check("filter", filter.parse()).map(Some)
    }

    /// Each value of the repeated `field`, or nothing and a violation for each that does not fit.
    pub(crate) fn check_each<T, U, E: Display>(
        &mut self,
        field: &str,
        values: impl IntoIterator<Item = T>,
        parse: impl Fn(T) -> Result<U, E>,
    ) -> Option<Vec<U>> {
        let parsed = values.into_iter().enumerate();
        let parsed: Vec<_> = parsed.map(|(index, value)| self.check(&format!("{field}[{index}]"), parse(value))).collect();
        parsed.into_iter().collect()
    }

    /// Remembers a field that does not fit, as long as a refusal has room for it.
    pub(crate) fn refuse(&mut self, field: &str, description: impl Display) {
        let bytes = |violation: &FieldViolation| violation.field.len() + violation.description.len();
        let violation = FieldViolation { field: field.to_owned(), description: description.to_string() };
        if self.0.is_empty() || self.0.iter().chain([&violation]).map(bytes).sum::<usize>() <= MAX_BYTES {
            self.0.push(violation);
        }
    }

    /// Refuses each value of the repeated `field` that stands before it, too.
    pub(crate) fn refuse_repeated<T: Hash + Eq>(&mut self, field: &str, values: &[T]) {
        let mut seen = HashSet::new();
        for (index, value) in values.iter().enumerate() {
            if !seen.insert(value) {
                self.refuse(&format!("{field}[{index}]"), "is one that stands before it");
            }
        }
    }

    /// The message in `field` of this one, or nothing and its violations.
    pub(crate) fn merge<T>(&mut self, field: &str, inner: Result<T, FieldViolations>) -> Option<T> {
        inner
            .map_err(|FieldViolations(violations)| {
                violations.iter().for_each(|inner| self.refuse(&format!("{field}.{}", inner.field), &inner.description))
            })
            .ok()
    }

    /// The value made of the fields, or everything that does not fit. `value` is nothing only if a field did not fit.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, FieldViolations> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(FieldViolations(self.0)),
        }
    }
}

/// Why a span is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a span of at least a microsecond and at most 10,000 years, with 0 to 999,999,999 nanoseconds")]
pub struct SpanOutOfRange;

/// A span that is more than zero; nanoseconds are cut to microseconds.
pub(crate) fn positive_span(span: &prost_types::Duration) -> Result<Duration, SpanOutOfRange> {
    plain_span(span).filter(|span| span.as_micros() > 0).ok_or(SpanOutOfRange)
}

/// Why a span that may be zero is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a span of zero to 10,000 years, with 0 to 999,999,999 nanoseconds")]
pub struct NegativeOrEndless;

/// A span that may be zero; nanoseconds are cut to microseconds.
pub(crate) fn span(span: &prost_types::Duration) -> Result<Duration, NegativeOrEndless> {
    plain_span(span).ok_or(NegativeOrEndless)
}

fn plain_span(span: &prost_types::Duration) -> Option<Duration> {
    /// `google.protobuf.Duration`: about 10,000 years.
    const MAX_SECONDS: u64 = 315_576_000_000;
    let (seconds, nanos) = (u64::try_from(span.seconds), u32::try_from(span.nanos));
    let (Ok(seconds @ 0..=MAX_SECONDS), Ok(nanos @ 0..=999_999_999)) = (seconds, nanos) else { return None };
    Some(Duration::new(seconds, nanos))
}

/// Why a time is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must lie in the years 0001 to 9999, with 0 to 999,999,999 nanoseconds")]
pub struct MalformedTime;

/// A time of the years 0001 to 9999; nanoseconds are cut to microseconds.
pub(crate) fn time(time: &prost_types::Timestamp) -> Result<Timestamp, MalformedTime> {
    match u32::try_from(time.nanos) {
        Ok(nanos @ 0..=999_999_999) => Timestamp::from_unix_seconds(time.seconds, nanos).map_err(|_| MalformedTime),
        _ => Err(MalformedTime),
    }
}

pub(crate) fn time_message(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.unix_seconds();
    prost_types::Timestamp { seconds, nanos: nanos.cast_signed() }
}

pub(crate) fn span_message(span: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), nanos: span.subsec_nanos().cast_signed() }
}
