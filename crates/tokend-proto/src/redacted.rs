//! `Debug` for messages that contain secrets, without the secrets.

use std::fmt;

use crate::v1::{
    CreateCallerKeyResponse, CreateTokenResponse, IdentifyTokenRequest, RotateTokenResponse, VerifyRequest,
    revoke_leaked_tokens_request::Leak,
};

const REDACTED: &str = "(redacted)";

impl fmt::Debug for VerifyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token: _,
            resource,
            required_scopes,
            client_address,
            min_revision,
            fully_consistent,
        } = self;
        f.debug_struct("VerifyRequest")
            .field("token", &REDACTED)
            .field("resource", resource)
            .field("required_scopes", required_scopes)
            .field("client_address", client_address)
            .field("min_revision", min_revision)
            .field("fully_consistent", fully_consistent)
            .finish()
    }
}

impl fmt::Debug for IdentifyTokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret: _ } = self;
        f.debug_struct("IdentifyTokenRequest")
            .field("secret", &REDACTED)
            .finish()
    }
}

impl fmt::Debug for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address where a secret was found may contain it too.
        let Self {
            secret: _,
            url: _,
            source: _,
        } = self;
        f.debug_struct("Leak")
            .field("secret", &REDACTED)
            .field("url", &REDACTED)
            .field("source", &REDACTED)
            .finish()
    }
}

impl fmt::Debug for CreateTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, secret: _ } = self;
        f.debug_struct("CreateTokenResponse")
            .field("token", token)
            .field("secret", &REDACTED)
            .finish()
    }
}

impl fmt::Debug for RotateTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token,
            secret: _,
            predecessor,
            revision,
        } = self;
        f.debug_struct("RotateTokenResponse")
            .field("token", token)
            .field("secret", &REDACTED)
            .field("predecessor", predecessor)
            .field("revision", revision)
            .finish()
    }
}

impl fmt::Debug for CreateCallerKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, secret: _ } = self;
        f.debug_struct("CreateCallerKeyResponse")
            .field("key", key)
            .field("secret", &REDACTED)
            .finish()
    }
}
