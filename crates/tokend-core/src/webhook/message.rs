use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::Serialize;

use crate::{
    caller::CallerKey,
    credential::{Kind, Prefix, hint},
    name::TokenName,
    row_mac::{MacInput, Sealed},
    time::Timestamp,
    token::Token,
    token::expiry_notice::ExpiryNotice,
};

/// A message to the webhook receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id by which the receiver detects repeated messages.
    pub id: MessageId,
    /// The type of the event, such as `token.expired`. Also in the body.
    pub event: String,
    /// The name of the resource that the message is about.
    pub subject: String,
    /// The body, a JSON object without secrets.
    pub payload: String,
}

/// A message id, sent as `webhook-id`: 1 to 64 letters, digits, `_` and `-`. A full stop is not allowed, since it
/// separates the signed parts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(String);

/// The text is not a valid message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 letters, digits, _ and -")]
pub struct MalformedMessageId;

/// The outermost object of the body, with the fields that the specification recommends.
#[derive(Serialize)]
struct Payload<'a, D> {
    r#type: &'a str,
    timestamp: String,
    data: D,
}

/// The data of a message about a caller key.
#[derive(Serialize)]
struct CallerKeyData {
    caller_key: String,
    caller: String,
    hint: String,
    create_time: String,
    expire_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_before: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<u64>,
}

#[derive(Serialize)]
struct TokenData<'a> {
    token: String,
    workspace: String,
    resource: &'a str,
    display_name: &'a str,
    hint: String,
    labels: BTreeMap<&'a str, &'a str>,
    creator: String,
    create_time: String,
    expire_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_before: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<u64>,
}

impl Message {
    /// Creates the message about the expiry of a token at `end`: `token.expiring` before it, `token.expired` after it.
    /// Each token and notice has one message id, however often the message is created.
    #[must_use]
    pub fn of_notice(notice: ExpiryNotice, token: &Token, end: Timestamp, prefix: &Prefix, now: Timestamp) -> Self {
        let data = data(token, end, prefix);
        let (event, occasion, data) = match (notice, notice.days()) {
            (ExpiryNotice::End, _) => ("token.expired", "end".to_owned(), data),
            (_, days) => {
                let data = TokenData {
                    days_before: Some(days),
                    days_left: Some(days_left(end, now)),
                    ..data
                };
                ("token.expiring", format!("{days}d"), data)
            }
        };
        let id = MessageId(format!("msg_{}_{occasion}", token.name.id));
        Self::new(id, event, token.name.to_string(), data, now)
    }

    /// Creates the message about the expiry of a caller key: `caller_key.expiring` before it, `caller_key.expired`
    /// after it. Each key and notice has one message id.
    #[must_use]
    pub fn of_key_notice(notice: ExpiryNotice, key: &CallerKey, prefix: &Prefix, now: Timestamp) -> Self {
        let CallerKey {
            name,
            digest,
            create_time,
            expire_time,
            revoke_time: _,
        } = key;
        let (event, occasion, days) = match (notice, notice.days()) {
            (ExpiryNotice::End, _) => ("caller_key.expired", "end".to_owned(), None),
            (_, days) => ("caller_key.expiring", format!("{days}d"), Some(days)),
        };
        let data = CallerKeyData {
            caller_key: name.to_string(),
            caller: name.caller.name(),
            hint: hint(prefix, Kind::CallerKey, digest.kid(), name.id),
            create_time: create_time.to_string(),
            expire_time: expire_time.to_string(),
            days_before: days,
            days_left: days.map(|_| days_left(*expire_time, now)),
        };
        Self::new(
            MessageId(format!("msg_{}_{occasion}", name.id)),
            event,
            name.to_string(),
            data,
            now,
        )
    }

    fn new(id: MessageId, event: &str, subject: String, data: impl Serialize, now: Timestamp) -> Self {
        let payload = Payload {
            r#type: event,
            timestamp: now.to_string(),
            data,
        };
        // Serializing text and numbers can't fail.
        Self {
            id,
            event: event.to_owned(),
            subject,
            payload: serde_json::to_string(&payload).unwrap_or_default(),
        }
    }
}

/// Queued messages are sealed, so that nothing is signed that tokend did not write.
impl Sealed for Message {
    const TABLE: &'static str = "webhook_outbox";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self {
            id,
            event,
            subject,
            payload,
        } = self;
        for text in [id.as_str(), event, subject, payload] {
            input.text(text);
        }
    }
}

fn data<'a>(token: &'a Token, end: Timestamp, prefix: &Prefix) -> TokenData<'a> {
    let Token {
        name,
        digest,
        resource,
        display_name,
        description: _,
        scopes: _,
        allowed_addresses: _,
        labels,
        create_time,
        creator,
        own_expiry: _,
        requested_expiry: _,
        revocation: _,
        rotated_from: _,
        rotated_to,
    } = token;
    let of_the_workspace = |id| {
        TokenName {
            workspace: name.workspace.clone(),
            id,
        }
        .to_string()
    };
    TokenData {
        token: name.to_string(),
        workspace: name.workspace.name(),
        resource: resource.as_str(),
        display_name: display_name.as_str(),
        hint: hint(prefix, Kind::WorkspaceToken, digest.kid(), name.id),
        labels: labels.iter().collect(),
        creator: creator.name(),
        create_time: create_time.to_string(),
        expire_time: end.to_string(),
        rotated_to: rotated_to.map(of_the_workspace),
        days_before: None,
        days_left: None,
    }
}

/// Returns the number of days left, rounded up.
fn days_left(end: Timestamp, now: Timestamp) -> u64 {
    const MICROS_PER_DAY: u128 = 24 * 60 * 60 * 1_000_000;
    u64::try_from(end.saturating_since(now).as_micros().div_ceil(MICROS_PER_DAY)).unwrap_or(u64::MAX)
}

impl MessageId {
    /// The most characters.
    pub const MAX_LEN: usize = 64;

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MessageId {
    type Err = MalformedMessageId;

    fn from_str(text: &str) -> Result<Self, MalformedMessageId> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let is_well_formed = (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedMessageId)
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_can_be_sent_and_signed() {
        for good in ["a", "msg_00000000001000002_30d", &"x".repeat(64)] {
            assert_eq!(good.parse().map(|id: MessageId| id.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "a.b", "a b", "a\nb", "ä", &"x".repeat(65)] {
            assert_eq!(bad.parse::<MessageId>(), Err(MalformedMessageId), "{bad}");
        }
    }

    #[test]
    fn a_day_that_has_begun_is_left() {
        let end = Timestamp::UNIX_EPOCH
            .plus(std::time::Duration::from_secs(3 * 86_400))
            .expect("in range");
        for (micros, left) in [
            (0, 3),
            (1, 3),
            (86_400_000_000, 2),
            (3 * 86_400_000_000 - 1, 1),
            (3 * 86_400_000_000, 0),
        ] {
            assert_eq!(
                days_left(end, Timestamp::UNIX_EPOCH.saturating_add_micros(micros)),
                left,
                "{micros}"
            );
        }
    }
}
