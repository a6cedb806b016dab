//! The most frequent answer of all, written straight into bytes: no field of it is built as a message first.

use std::{borrow::Borrow, fmt::Display, io::Write};

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};
use tokend_core::token::Token;

use super::verdict::KnownToken;
use crate::{
    field::{span_message, time_message},
    v1,
};

impl<T: Borrow<Token>> KnownToken<T> {
    /// Appends the `VerifyResponse` that allows the token, encoded: the message that
    /// [`into_message`](super::Verification::into_message) returns for this token and ALLOW.
    pub fn encode_allow(&self, bytes: &mut Vec<u8>) {
        let mut response = Fields(bytes);
        response.number(1, v1::Decision::Allow as u64);
        response.nested(3, |token| self.encode_token(token));
        response.message(5, &span_message(self.cacheable_for()));
        response.message(6, &v1::Revision::from(self.revision));
    }

    /// Appends the same as one response of a `BatchVerifyResponse`, encoded.
    pub fn encode_allow_of_batch(&self, bytes: &mut Vec<u8>) {
        Fields(bytes).nested(1, |response| self.encode_allow(response.0));
    }

    fn encode_token(&self, fields: &mut Fields<'_>) {
        let Token {
            name,
            digest: _,
            resource,
            display_name,
            description: _,
            scopes,
            allowed_addresses,
            labels,
            create_time: _,
            creator: _,
            own_expiry: _,
            requested_expiry: _,
            revocation: _,
            rotated_from: _,
            rotated_to: _,
        } = self.token.borrow();
        let id = name.id.digits();
        // base62 is ASCII.
        let id = str::from_utf8(&id).unwrap_or_default();
        fields.text(1, &["workspaces/", name.workspace.as_str(), "/tokens/", id]);
        fields.text(2, &["workspaces/", name.workspace.as_str()]);
        fields.text(3, &[resource.as_str()]);
        if !display_name.as_str().is_empty() {
            fields.text(4, &[display_name.as_str()]);
        }
        for scope in scopes.effective() {
            fields.text(5, &[scope.as_str()]);
        }
        if let Some(at) = self.expiry.time() {
            fields.message(6, &time_message(at));
            fields.message(7, &span_message(at.saturating_since(self.now)));
        }
        for network in allowed_addresses.networks() {
            fields.shown(8, network);
        }
        for (key, value) in labels.iter() {
            fields.nested(9, |entry| {
                entry.text(1, &[key]);
                if !value.is_empty() {
                    entry.text(2, &[value]);
                }
            });
        }
    }
}

/// The fields of a message, encoded at the end of these bytes ("Encoding" in the documentation of protocol buffers).
struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    fn number(&mut self, field: u32, value: u64) {
        encode_key(field, WireType::Varint, self.0);
        encode_varint(value, self.0);
    }

    /// A text that consists of these parts.
    fn text(&mut self, field: u32, parts: &[&str]) {
        encode_key(field, WireType::LengthDelimited, self.0);
        encode_varint(parts.iter().map(|part| part.len() as u64).sum(), self.0);
        parts.iter().for_each(|part| self.0.extend_from_slice(part.as_bytes()));
    }

    /// The text by which something is shown.
    fn shown(&mut self, field: u32, shown: &impl Display) {
        // Writing to memory does not fail.
        self.nested(field, |text| drop(write!(text.0, "{shown}")));
    }

    fn message(&mut self, field: u32, message: &impl Message) {
        encode_key(field, WireType::LengthDelimited, self.0);
        encode_varint(message.encoded_len() as u64, self.0);
        message.encode_raw(self.0);
    }

    /// A part whose length is known when it is written. It leaves a byte for the length, and moves if that is longer.
    fn nested(&mut self, field: u32, write: impl FnOnce(&mut Fields<'_>)) {
        encode_key(field, WireType::LengthDelimited, self.0);
        let start = self.0.len() + 1;
        self.0.push(0);
        write(&mut Fields(self.0));
        let length = (self.0.len() - start) as u64;
        let moved = start - 1 + encoded_len_varint(length);
        let end = self.0.len();
        self.0.resize(end + moved - start, 0);
        self.0.copy_within(start..end, moved);
        encode_varint(length, &mut &mut self.0[start - 1..moved]);
    }
}

#[cfg(test)]
mod tests;
