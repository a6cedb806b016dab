//! Rows of the matrix, and how they are written.

use std::fmt::Display;

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{Decision, DenyReason, ErrorReason};
use tonic::Code;

use crate::{
    descriptors,
    hostile::{HOSTILE, Hostile},
};

/// In what respect a value tries a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Aspect {
    /// Nothing: absent, an empty text or list, zero.
    Empty,
    /// The least that there can be.
    Smallest,
    /// The most that fits.
    Largest,
    /// One more than fits.
    TooLarge,
    /// Of the wrong form.
    IllFormed,
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// Bytes that are no value of the field's type.
    Undecodable,
    /// Twice: in a list, or the whole field on the wire.
    Duplicate,
    /// Made to be misread by a terminal, a log, a database, a template or a person.
    Hostile,
    /// A secret where none belongs.
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
    /// What is special about the value, for people.
    pub(crate) what: String,
    pub(crate) request: Bytes,
    pub(crate) expect: Expect,
}

/// What has to come of a request.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// It is done, and reads back exactly.
    Accepted,
    /// It is answered, and nothing is stored even by an RPC that stores.
    Rehearsed,
    /// It is decided.
    Verdict(Decision, DenyReason),
    /// It is refused.
    Refused {
        code: Code,
        reason: ErrorReason,
        /// The fields that are named, in order.
        fields: Vec<String>,
    },
}

/// Refused, for these fields.
pub(crate) fn fields(named: &[&str]) -> Expect {
    let fields = named.iter().map(ToString::to_string).collect();
    Expect::Refused { code: Code::InvalidArgument, reason: ErrorReason::InvalidField, fields }
}

/// Refused, and no field is named.
pub(crate) fn refused(code: Code, reason: ErrorReason) -> Expect {
    Expect::Refused { code, reason, fields: Vec::new() }
}

/// Refused as no message at all.
pub(crate) fn undecodable() -> Expect {
    refused(Code::InvalidArgument, ErrorReason::UndecodableRequest)
}

/// Refused as too large a message.
pub(crate) fn too_large() -> Expect {
    refused(Code::ResourceExhausted, ErrorReason::MessageTooLarge)
}

/// Makes the request of the row of this number one of its own.
type Fresh<'a, R> = dyn Fn(&mut R, usize) + 'a;

/// The rows of one RPC: each is the same good request with one change.
pub(crate) struct Rows<'a, R> {
    rpc: &'static str,
    base: R,
    /// Called with the number of the row before its change: what is made needs a name of its own.
    fresh: Box<Fresh<'a, R>>,
    cases: Vec<Case>,
}

impl<'a, R: Message + Clone> Rows<'a, R> {
    pub(crate) fn of(rpc: &'static str, base: R) -> Self {
        Self { rpc, base, fresh: Box::new(|_, _| ()), cases: Vec::new() }
    }

    /// Rows that can't all ask for the same.
    pub(crate) fn each_fresh(self, fresh: impl Fn(&mut R, usize) + 'a) -> Self {
        Self { fresh: Box::new(fresh), ..self }
    }

    pub(crate) fn finish(self) -> Vec<Case> {
        self.cases
    }

    pub(crate) const fn rpc(&self) -> &'static str {
        self.rpc
    }

    /// The good request of the next row.
    pub(crate) fn good(&self) -> R {
        let mut request = self.base.clone();
        (self.fresh)(&mut request, self.cases.len());
        request
    }

    /// A row with any request.
    pub(crate) fn raw(&mut self, field: &str, aspect: Aspect, what: impl Display, request: Vec<u8>, expect: Expect) {
        let (rpc, field, what) = (self.rpc, field.to_owned(), what.to_string());
        self.cases.push(Case { rpc, field, aspect, what, request: request.into(), expect });
    }

    /// A row with the good request changed.
    pub(crate) fn row(&mut self, field: &str, aspect: Aspect, what: impl Display, change: impl FnOnce(&mut R), expect: Expect) {
        let mut request = self.good();
        change(&mut request);
        self.raw(field, aspect, what, request.encode_to_vec(), expect);
    }

    /// Rows that differ in one field, which `set` sets.
    pub(crate) fn field<V, S: Fn(&mut R, V)>(&mut self, field: &'static str, set: S) -> FieldRows<'_, 'a, R, S> {
        FieldRows { rows: self, field, named: field.to_owned(), set }
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
    /// The path under which a refusal names the field, if not its own.
    pub(crate) fn named(mut self, named: &str) -> Self {
        named.clone_into(&mut self.named);
        self
    }

    pub(crate) fn row<V>(&mut self, aspect: Aspect, what: impl Display, value: V, expect: Expect)
    where
        S: Fn(&mut R, V),
    {
        self.rows.row(self.field, aspect, what, |request| (self.set)(request, value), expect);
    }

    /// A value that fits.
    pub(crate) fn good<V>(&mut self, aspect: Aspect, what: impl Display, value: impl Into<V>)
    where
        S: Fn(&mut R, V),
    {
        self.row(aspect, what, value.into(), Expect::Accepted);
    }

    /// A value that does not.
    pub(crate) fn bad<V>(&mut self, aspect: Aspect, what: impl Display, value: impl Into<V>)
    where
        S: Fn(&mut R, V),
    {
        let expect = fields(&[&self.named]);
        self.row(aspect, what, value.into(), expect);
    }
}

impl<R: Message + Clone, S: Fn(&mut R, String)> FieldRows<'_, '_, R, S> {
    /// Every hostile text, put into `around` where it says `{}`, with what `expect` says of it.
    pub(crate) fn hostile(&mut self, around: &[&str], expect: impl Fn(&str, &Hostile) -> Expect) {
        for hostile in HOSTILE {
            for around in around {
                let value = around.replace("{}", &hostile.text());
                let expect = expect(&value, hostile);
                self.row(Aspect::Hostile, format!("{} in {around:?}", hostile.what), value, expect);
            }
        }
    }

    /// Every hostile text, none of which fits.
    pub(crate) fn hostile_is_bad(&mut self, around: &[&str]) {
        let named = self.named.clone();
        self.hostile(around, |_, _| fields(&[&named]));
    }

    /// The field twice on the wire: the last one counts.
    pub(crate) fn last_counts(&mut self, bad: &str, good: &str) {
        let named = self.named.clone();
        for (first, last, expect) in [(bad, good, Expect::Accepted), (good, bad, fields(&[&named]))] {
            self.twice(first, last, expect);
        }
    }

    /// The field twice on the wire.
    pub(crate) fn twice(&mut self, first: &str, last: &str, expect: Expect) {
        let mut request = self.rows.good().encode_to_vec();
        let field = descriptors::field(self.rows.rpc, self.field);
        request.extend(field.encode(first.as_bytes()));
        request.extend(field.encode(last.as_bytes()));
        self.rows.raw(self.field, Aspect::Duplicate, format!("{first:?}, then {last:?}"), request, expect);
    }
}
