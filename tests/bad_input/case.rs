//! The rows of the matrix, and builders for them.

use std::fmt::Display;

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{Decision, DenyReason, ErrorReason};
use tonic::Code;

use crate::{
    descriptors,
    hostile::{HOSTILE, Hostile},
};

/// The aspect of a field that a value tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Aspect {
    /// An empty value: absent, an empty text or list, zero.
    Empty,
    /// The smallest valid value.
    Smallest,
    /// The largest valid value.
    Largest,
    /// One more than the largest valid value.
    TooLarge,
    /// A value of the wrong form.
    IllFormed,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// Bytes that do not decode as the field's type.
    Undecodable,
    /// A repeated value: in a list, or the whole field on the wire.
    Duplicate,
    /// Text that a terminal, a log, a database, a template or a person may misread.
    Hostile,
    /// A secret in a field for other text.
    Secret,
}

/// One row of the matrix.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// `Service/Method`.
    pub(crate) rpc: &'static str,
    /// The field's path in the request message, as in `labels.key`; empty for the whole message.
    pub(crate) field: String,
    pub(crate) aspect: Aspect,
    /// A description of the value for people.
    pub(crate) what: String,
    pub(crate) request: Bytes,
    pub(crate) expect: Expect,
}

/// The expected outcome of a request.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// The call succeeds, and the result reads back exactly.
    Accepted,
    /// The call succeeds, and stores nothing even if the RPC normally stores.
    DryRun,
    /// The stream ends without a response and without an error.
    Silence,
    /// The call returns this verdict.
    Verdict(Decision, DenyReason),
    /// The call is refused.
    Refused {
        code: Code,
        reason: ErrorReason,
        /// The fields that the error names, in order.
        fields: Vec<String>,
    },
}

/// Expects a refusal that names these fields.
pub(crate) fn fields(named: &[&str]) -> Expect {
    let fields = named.iter().map(ToString::to_string).collect();
    Expect::Refused {
        code: Code::InvalidArgument,
        reason: ErrorReason::InvalidField,
        fields,
    }
}

/// Expects a refusal that names no field.
pub(crate) fn refused(code: Code, reason: ErrorReason) -> Expect {
    Expect::Refused {
        code,
        reason,
        fields: Vec::new(),
    }
}

/// Expects a refusal because the message does not decode.
pub(crate) fn undecodable() -> Expect {
    refused(Code::InvalidArgument, ErrorReason::UndecodableRequest)
}

/// Expects a refusal because the message is too large.
pub(crate) fn too_large() -> Expect {
    refused(Code::ResourceExhausted, ErrorReason::MessageTooLarge)
}

/// Makes a request unique by the row's number.
type Fresh<'a, R> = dyn Fn(&mut R, usize) + 'a;

/// The rows of one RPC: each is the same valid request with one change.
pub(crate) struct Rows<'a, R> {
    rpc: &'static str,
    base: R,
    /// Called with the row's number before the row's change, because each created resource needs its own name.
    fresh: Box<Fresh<'a, R>>,
    cases: Vec<Case>,
}

impl<'a, R: Message + Clone> Rows<'a, R> {
    pub(crate) fn of(rpc: &'static str, base: R) -> Self {
        Self {
            rpc,
            base,
            fresh: Box::new(|_, _| ()),
            cases: Vec::new(),
        }
    }

    /// Makes each row's request unique with `fresh`.
    pub(crate) fn each_fresh(self, fresh: impl Fn(&mut R, usize) + 'a) -> Self {
        Self {
            fresh: Box::new(fresh),
            ..self
        }
    }

    pub(crate) fn finish(self) -> Vec<Case> {
        self.cases
    }

    pub(crate) const fn rpc(&self) -> &'static str {
        self.rpc
    }

    /// Returns the valid request of the next row.
    pub(crate) fn good(&self) -> R {
        let mut request = self.base.clone();
        (self.fresh)(&mut request, self.cases.len());
        request
    }

    /// Adds a row with any request.
    pub(crate) fn raw(&mut self, field: &str, aspect: Aspect, what: impl Display, request: Vec<u8>, expect: Expect) {
        let (rpc, field, what) = (self.rpc, field.to_owned(), what.to_string());
        self.cases.push(Case {
            rpc,
            field,
            aspect,
            what,
            request: request.into(),
            expect,
        });
    }

    /// Adds a row with a change to the valid request.
    pub(crate) fn row(
        &mut self,
        field: &str,
        aspect: Aspect,
        what: impl Display,
        change: impl FnOnce(&mut R),
        expect: Expect,
    ) {
        let mut request = self.good();
        change(&mut request);
        self.raw(field, aspect, what, request.encode_to_vec(), expect);
    }

    /// Returns a builder for rows that differ in one field, which `set` sets.
    pub(crate) fn field<V, S: Fn(&mut R, V)>(&mut self, field: &'static str, set: S) -> FieldRows<'_, 'a, R, S> {
        FieldRows {
            rows: self,
            field,
            named: field.to_owned(),
            set,
        }
    }
}

/// The rows of one field.
pub(crate) struct FieldRows<'r, 'a, R, S> {
    rows: &'r mut Rows<'a, R>,
    field: &'static str,
    named: String,
    set: S,
}

impl<R: Message + Clone, S> FieldRows<'_, '_, R, S> {
    /// The path by which a refusal names the field, if it differs from the field's path.
    pub(crate) fn named(mut self, named: &str) -> Self {
        named.clone_into(&mut self.named);
        self
    }

    pub(crate) fn row<V>(&mut self, aspect: Aspect, what: impl Display, value: V, expect: Expect)
    where
        S: Fn(&mut R, V),
    {
        self.rows
            .row(self.field, aspect, what, |request| (self.set)(request, value), expect);
    }

    /// Adds a row with a valid value.
    pub(crate) fn good<V>(&mut self, aspect: Aspect, what: impl Display, value: impl Into<V>)
    where
        S: Fn(&mut R, V),
    {
        self.row(aspect, what, value.into(), Expect::Accepted);
    }

    /// Adds a row with an invalid value.
    pub(crate) fn bad<V>(&mut self, aspect: Aspect, what: impl Display, value: impl Into<V>)
    where
        S: Fn(&mut R, V),
    {
        let expect = fields(&[&self.named]);
        self.row(aspect, what, value.into(), expect);
    }
}

impl<R: Message + Clone, S: Fn(&mut R, String)> FieldRows<'_, '_, R, S> {
    /// Adds rows with every hostile text at the `{}` of each text in `around`; `expect` returns the expected outcome.
    pub(crate) fn hostile(&mut self, around: &[&str], expect: impl Fn(&str, &Hostile) -> Expect) {
        for hostile in HOSTILE {
            for around in around {
                let value = around.replace("{}", &hostile.text());
                let expect = expect(&value, hostile);
                self.row(
                    Aspect::Hostile,
                    format!("{} in {around:?}", hostile.what),
                    value,
                    expect,
                );
            }
        }
    }

    /// Adds rows with every hostile text. All of them are invalid.
    pub(crate) fn hostile_is_bad(&mut self, around: &[&str]) {
        let named = self.named.clone();
        self.hostile(around, |_, _| fields(&[&named]));
    }

    /// Adds rows with the field twice on the wire, where the last value counts.
    pub(crate) fn last_counts(&mut self, bad: &str, good: &str) {
        let named = self.named.clone();
        for (first, last, expect) in [(bad, good, Expect::Accepted), (good, bad, fields(&[&named]))] {
            self.twice(first, last, expect);
        }
    }

    /// Adds a row with the field twice on the wire.
    pub(crate) fn twice(&mut self, first: &str, last: &str, expect: Expect) {
        let mut request = self.rows.good().encode_to_vec();
        let field = descriptors::field(self.rows.rpc, self.field);
        request.extend(field.encode(first.as_bytes()));
        request.extend(field.encode(last.as_bytes()));
        self.rows.raw(
            self.field,
            Aspect::Duplicate,
            format!("{first:?}, then {last:?}"),
            request,
            expect,
        );
    }
}
