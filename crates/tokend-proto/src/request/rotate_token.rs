//! The request of `TokenAdmin.RotateToken`.

use std::time::Duration;

use prost::Message;
use tokend_core::{
    name::TokenName,
    request_id::{BodyDigest, Retryable},
    token::rotation::MAX_OVERLAP,
};

use super::token_admin::{ChosenExpiry, chosen};
use crate::{
    field::{Checked, FieldViolations, Fields, span},
    v1,
};

/// The overlap is longer than [`MAX_OVERLAP`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("must be at most {} days", MAX_OVERLAP.as_secs() / 86_400)]
struct OverlapTooLong;

/// A validated `RotateTokenRequest`.
#[derive(Clone, Debug)]
pub struct RotateToken {
    /// The token to rotate.
    pub name: TokenName,
    /// How long the old secret keeps working, if that was chosen; zero for not at all.
    pub overlap: Option<Duration>,
    /// When the successor expires, if that was chosen.
    pub expiry: Option<ChosenExpiry>,
    /// What makes the call safe to retry, if the client asked for that.
    pub retry: Option<Retryable>,
    /// Whether to respond before every replica knows when the old token expires.
    pub no_wait: bool,
}

impl RotateToken {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::RotateTokenRequest) -> Result<Self, FieldViolations> {
        let mut fields = Fields::default();
        let retry = retryable(&mut fields, &message);
        let v1::RotateTokenRequest {
            name,
            overlap,
            expiry,
            request_id: _,
            no_wait,
        } = message;
        let name = fields.check("name", name.parse());
        let overlap = overlap.map(|overlap| {
            let overlap = fields.check("overlap", span(&overlap))?;
            let overlap = if overlap <= MAX_OVERLAP {
                Ok(overlap)
            } else {
                Err(OverlapTooLong)
            };
            fields.check("overlap", overlap)
        });
        let overlap = overlap.transpose();
        let expiry = expiry
            .map(|expiry| chosen(&mut fields, as_of_creation(expiry)))
            .transpose();
        fields.finish(|| {
            Ok(Self {
                name: name?,
                overlap: overlap?,
                expiry: expiry?,
                retry: retry?,
                no_wait,
            })
        })
    }
}

fn retryable(fields: &mut Fields, message: &v1::RotateTokenRequest) -> Checked<Option<Retryable>> {
    if message.request_id.is_empty() {
        return Ok(None);
    }
    let id = fields.check("request_id", message.request_id.parse())?;
    // A retry may differ in `no_wait`.
    let body = v1::RotateTokenRequest {
        request_id: String::new(),
        no_wait: false,
        ..message.clone()
    };
    Ok(Some(Retryable {
        id,
        body: BodyDigest::of(&body.encode_to_vec()),
    }))
}

/// Both messages have the same choices, but protobuf generates a type for each.
fn as_of_creation(expiry: v1::rotate_token_request::Expiry) -> v1::create_token_request::Expiry {
    use v1::{create_token_request::Expiry as Created, rotate_token_request::Expiry as Rotated};
    match expiry {
        Rotated::Ttl(ttl) => Created::Ttl(ttl),
        Rotated::ExpireTime(at) => Created::ExpireTime(at),
        Rotated::NoExpiry(choice) => Created::NoExpiry(choice),
    }
}
