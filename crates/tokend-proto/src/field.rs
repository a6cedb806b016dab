//! Invalid fields, named as `google.rpc.BadRequest` names them, and conversions of values that several messages share.

use std::{collections::HashSet, fmt::Display, hash::Hash, str::FromStr, time::Duration};

use tokend_core::{credential::refuse_secrets, time::Timestamp};

/// An invalid field, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, such as `scopes[1]`.
    pub field: String,
    /// What is wrong with the field and what is expected: the rest of a sentence that begins with the field's name.
    pub description: String,
}

/// The size limit of all violations in an error, in bytes. They travel in HTTP/2 headers in base64, and clients by
/// default accept 8 KiB of headers. A client that gets more closes the connection, with all other calls on it.
const MAX_BYTES: usize = 2 * 1024;

/// The invalid fields of a request: at least one. If they are too many for an error, the first ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {}", .0[0].field, .0[0].description)]
pub struct FieldViolations(Vec<FieldViolation>);

impl FieldViolations {
    /// Creates the violation of a single field.
    #[must_use]
    pub fn one(field: impl Into<String>, description: impl Display) -> Self {
        Self(vec![FieldViolation {
            field: field.into(),
            description: description.to_string(),
        }])
    }

    /// Returns the violations, in the order of the message's fields.
    #[must_use]
    pub fn as_slice(&self) -> &[FieldViolation] {
        &self.0
    }
}

/// A field is invalid, and its violation is recorded in [`Fields`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invalid;

/// The validated value of a field, if it is valid.
pub(crate) type Checked<T> = Result<T, Invalid>;

/// Validates the fields of a message one by one and collects violations.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<FieldViolation>);

impl Fields {
    /// Returns the value of `field`, or records a violation.
    pub(crate) fn check<T, E: Display>(&mut self, field: &str, value: Result<T, E>) -> Checked<T> {
        value.map_err(|error| self.refuse(field, error))
    }

    /// Parses the field `filter`: `Ok(None)` if it is empty. Records a violation if it is malformed or contains a
    /// secret.
    pub(crate) fn filter<F: FromStr<Err: Display>>(&mut self, filter: &str) -> Checked<Option<F>> {
        if filter.is_empty() {
            return Ok(None);
        }
        self.check("filter", refuse_secrets(filter))?;
        self.check("filter", filter.parse()).map(Some)
    }

    /// Converts each value of the repeated `field`, or records a violation for each invalid one.
    pub(crate) fn check_each<T, U, E: Display>(
        &mut self,
        field: &str,
        values: impl IntoIterator<Item = T>,
        parse: impl Fn(T) -> Result<U, E>,
    ) -> Checked<Vec<U>> {
        let parsed = values.into_iter().enumerate();
        let parsed: Vec<_> = parsed
            .map(|(index, value)| self.check(&format!("{field}[{index}]"), parse(value)))
            .collect();
        parsed.into_iter().collect()
    }

    /// Records an invalid field, as long as there is room in an error.
    pub(crate) fn refuse(&mut self, field: &str, description: impl Display) -> Invalid {
        let bytes = |violation: &FieldViolation| violation.field.len() + violation.description.len();
        let violation = FieldViolation {
            field: field.to_owned(),
            description: description.to_string(),
        };
        if self.0.is_empty() || self.0.iter().chain([&violation]).map(bytes).sum::<usize>() <= MAX_BYTES {
            self.0.push(violation);
        }
        Invalid
    }

    /// Records a violation for each repetition of an earlier value in the repeated `field`.
    pub(crate) fn refuse_repeated<T: Hash + Eq>(&mut self, field: &str, values: &[T]) {
        let mut seen = HashSet::new();
        for (index, value) in values.iter().enumerate() {
            if !seen.insert(value) {
                self.refuse(&format!("{field}[{index}]"), "must not repeat an earlier value");
            }
        }
    }

    /// Returns the value of the nested message in `field`, or records its violations.
    pub(crate) fn merge<T>(&mut self, field: &str, inner: Result<T, FieldViolations>) -> Checked<T> {
        inner.map_err(|FieldViolations(violations)| {
            for inner in &violations {
                self.refuse(&format!("{field}.{}", inner.field), &inner.description);
            }
            Invalid
        })
    }

    /// Returns the value that `build` puts together from checked fields, or every violation. Without violations,
    /// `build` must return `Ok`.
    pub(crate) fn finish<T>(self, build: impl FnOnce() -> Checked<T>) -> Result<T, FieldViolations> {
        match build() {
            Ok(value) if self.0.is_empty() => Ok(value),
            _ => Err(FieldViolations(self.0)),
        }
    }
}

/// The span is not positive or is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a span of at least a microsecond and at most 10,000 years, with 0 to 999,999,999 nanoseconds")]
pub struct SpanOutOfRange;

/// Converts a span that must be positive. Nanoseconds are truncated to microseconds.
pub(crate) fn positive_span(span: &prost_types::Duration) -> Result<Duration, SpanOutOfRange> {
    plain_span(span)
        .filter(|span| span.as_micros() > 0)
        .ok_or(SpanOutOfRange)
}

/// The span is negative or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a span of zero to 10,000 years, with 0 to 999,999,999 nanoseconds")]
pub struct NonNegativeSpanError;

/// Converts a span that may be zero. Nanoseconds are truncated to microseconds.
pub(crate) fn span(span: &prost_types::Duration) -> Result<Duration, NonNegativeSpanError> {
    plain_span(span).ok_or(NonNegativeSpanError)
}

fn plain_span(span: &prost_types::Duration) -> Option<Duration> {
    /// The limit of `google.protobuf.Duration`: about 10,000 years.
    const MAX_SECONDS: u64 = 315_576_000_000;
    let (seconds, nanos) = (u64::try_from(span.seconds), u32::try_from(span.nanos));
    let (Ok(seconds @ 0..=MAX_SECONDS), Ok(nanos @ 0..=999_999_999)) = (seconds, nanos) else {
        return None;
    };
    Some(Duration::new(seconds, nanos))
}

/// The time is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must lie in the years 0001 to 9999, with 0 to 999,999,999 nanoseconds")]
pub struct MalformedTime;

/// Converts a time in the years 0001 to 9999. Nanoseconds are truncated to microseconds.
pub(crate) fn time(time: &prost_types::Timestamp) -> Result<Timestamp, MalformedTime> {
    match u32::try_from(time.nanos) {
        Ok(nanos @ 0..=999_999_999) => Timestamp::from_unix_seconds(time.seconds, nanos).map_err(|_| MalformedTime),
        _ => Err(MalformedTime),
    }
}

pub(crate) fn time_message(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.unix_seconds();
    prost_types::Timestamp {
        seconds,
        nanos: nanos.cast_signed(),
    }
}

pub(crate) fn span_message(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: span.subsec_nanos().cast_signed(),
    }
}
