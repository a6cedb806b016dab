//! The calls that the figures are made of.

use std::time::Duration;

use tokend_client::{Client, v1};
use tokend_core::time::{BootTime, Clock};
use tokio::task::JoinSet;

use crate::BoxError;

/// The workspace of all tokens.
pub(super) const WORKSPACE: &str = "workspaces/acme";
pub(super) const SCOPE: &str = "repository:write";

/// Connections that create tokens at the same time.
const CREATORS: usize = 8;
const CREATE_ATTEMPTS: usize = 5;

/// A token and its secret.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) name: String,
    pub(super) secret: String,
}

/// When a call was sent and when it was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) sent: BootTime,
    pub(super) answered: BootTime,
}

impl Times {
    pub(super) fn took(&self) -> Duration {
        self.answered.saturating_since(self.sent)
    }
}

/// Creates tokens that never expire.
pub(super) async fn create_tokens(client: &Client, count: usize) -> Result<Vec<Token>, BoxError> {
    let mut creators = JoinSet::new();
    for creator in 0..CREATORS {
        let client = client.clone();
        creators.spawn(async move {
            let mut tokens = Vec::new();
            for _ in (creator..count).step_by(CREATORS) {
                tokens.push(create_token_in_time(&client).await?);
            }
            Ok::<_, BoxError>(tokens)
        });
    }
    let mut tokens = Vec::with_capacity(count);
    while let Some(created) = creators.join_next().await {
        tokens.extend(created??);
    }
    Ok(tokens)
}

/// Creates a token, and tries again if the machine is too busy for the deadline. Then there may be one token more.
async fn create_token_in_time(client: &Client) -> Result<Token, BoxError> {
    let mut attempts = 1;
    loop {
        match create_token(client).await {
            Err(_) if attempts < CREATE_ATTEMPTS => attempts += 1,
            created => return created,
        }
    }
}

/// Creates a token that never expires.
pub(super) async fn create_token(client: &Client) -> Result<Token, BoxError> {
    let request = v1::CreateTokenRequest {
        parent: WORKSPACE.to_owned(),
        display_name: "ci".to_owned(),
        scopes: vec![SCOPE.to_owned()],
        expiry: Some(v1::create_token_request::Expiry::NoExpiry(true)),
        ..Default::default()
    };
    let created = client.token_admin().create_token(request).await?.into_inner();
    let token = created.token.ok_or("the answer has no token")?;
    Ok(Token {
        name: token.name,
        secret: created.secret,
    })
}

/// Revokes a token.
pub(super) async fn revoke(client: &Client, clock: &Clock, token: &Token, no_wait: bool) -> Result<Times, BoxError> {
    let request = v1::RevokeTokenRequest {
        name: token.name.clone(),
        no_wait,
        ..Default::default()
    };
    let sent = clock.boot_time();
    client.token_admin().revoke_token(request).await?;
    let answered = clock.boot_time();
    Ok(Times { sent, answered })
}

/// Returns the question whether the token permits what all tokens were created for.
pub(super) fn question(token: &Token) -> v1::VerifyRequest {
    v1::VerifyRequest {
        token: token.secret.clone(),
        resource: WORKSPACE.to_owned(),
        required_scopes: vec![SCOPE.to_owned()],
        ..Default::default()
    }
}
