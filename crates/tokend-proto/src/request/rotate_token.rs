//! `TokenAdmin.RotateToken`.

use std::time::Duration;

use prost::Message;
use tokend_core::{
    name::TokenName,
    request_id::{BodyDigest, Retryable},
    rotation::MAX_OVERLAP,
};

use super::token_admin::{ChosenExpiry, chosen};
use crate::{
    field::{FieldViolations, Fields, span},
    v1,
};

/// A span that is longer than any overlap.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be at most {} days", MAX_OVERLAP.as_secs() / 86_400)]
struct OverlapTooLong;

/// A `RotateTokenRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct RotateToken {
    /// Which.
    pub name: TokenName,
    /// How long its secret still works, if that was chosen; zero for not at all.
    pub overlap: Option<Duration>,
    /// When the successor ends, if that was chosen.
    pub expiry: Option<ChosenExpiry>,
    /// What makes the call safe to retry, if the client wants that.
    pub retry: Option<Retryable>,
    /// Whether to answer before the old token's end is known everywhere.
    pub no_wait: bool,
}

impl RotateToken {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::RotateTokenRequest) -> Result<Self, FieldViolations> {
        let mut fields = Fields::default();
        let retry = retryable(&mut fields, &message);
        let v1::RotateTokenRequest { name, overlap, expiry, request_id: _, no_wait } = message;
        let name = fields.check("name", name.parse());
        let overlap = overlap.map_or(Some(None), |overlap| {
            let overlap = fields.check("overlap", span(&overlap))?;
            let overlap = if overlap <= MAX_OVERLAP { Ok(overlap) } else { Err(OverlapTooLong) };
            fields.check("overlap", overlap).map(Some)
        });
        let expiry = expiry.map_or(Some(None), |expiry| chosen(&mut fields, as_of_creation(expiry)).map(Some));
        fields.finish((|| Some(Self { name: name?, overlap: overlap?, expiry: expiry?, retry: retry?, no_wait }))())
    }
}

fn retryable(fields: &mut Fields, message: &v1::RotateTokenRequest) -> Option<Option<Retryable>> {
    if message.request_id.is_empty() {
        return Some(None);
    }
    let id = fields.check("request_id", message.request_id.parse())?;
    // Who waits no longer asks for the same.
    let body = v1::RotateTokenRequest { request_id: String::new(), no_wait: false, ..message.clone() };
    Some(Some(Retryable { id, body: BodyDigest::of(&body.encode_to_vec()) }))
}

/// The two messages have the same choices, and protobuf a type for each.
fn as_of_creation(expiry: v1::rotate_token_request::Expiry) -> v1::create_token_request::Expiry {
    use v1::{create_token_request::Expiry as Created, rotate_token_request::Expiry as Rotated};
    match expiry {
        Rotated::Ttl(ttl) => Created::Ttl(ttl),
        Rotated::ExpireTime(at) => Created::ExpireTime(at),
        Rotated::NoExpiry(choice) => Created::NoExpiry(choice),
    }
}
