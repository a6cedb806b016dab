//! The webhook's messages, as receivers rely on them, and the pauses between attempts.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use tokend_core::{
    credential::{CredentialId, Prefix},
    name::TokenName,
    token::Token,
    token::expiry_notice::ExpiryNotice,
    webhook::{Message, longest_pause_after, pause_after},
};

use crate::samples::{Script, at, caller_key, ring, token};

const DAY: i64 = 86_400_000_000;

#[test]
fn a_token_message_has_pinned_content() {
    let token = token();
    let end = at(1_800_000_000_000_000);
    let message = Message::of_notice(
        ExpiryNotice::ThirtyDays,
        &token,
        end,
        &Prefix::default(),
        at(1_800_000_000_000_000 - 30 * DAY + 1_500_000),
    );
    assert_eq!(
        (message.event.as_str(), message.subject.as_str()),
        ("token.expiring", token.name.to_string().as_str())
    );
    assert_eq!(message.id.as_str(), format!("msg_{}_30d", token.name.id));
    let id = token.name.id.to_string();
    let of = |id: Option<CredentialId>| id.expect("an id").to_string();
    // Pinned byte for byte, since receivers may have stored messages.
    let expected = format!(
        "{{\"type\":\"token.expiring\",\"timestamp\":\"2026-12-16T08:00:01.5Z\",\"data\":{{\
         \"token\":\"workspaces/acme/tokens/{id}\",\"workspace\":\"workspaces/acme\",\
         \"resource\":\"workspaces/acme/projects/web\",\"display_name\":\"deploy\",\"hint\":\"tkdw_0{:.3}...\",\
         \"labels\":{{\"team\":\"web\"}},\"creator\":\"callers/ci\",\
         \"create_time\":\"2023-11-14T22:13:20Z\",\"expire_time\":\"2027-01-15T08:00:00Z\",\
         \"rotated_to\":\"workspaces/acme/tokens/{}\",\"days_before\":30,\"days_left\":30}}}}",
        id,
        of(token.rotated_to),
    );
    assert_eq!(message.payload, expected);
}

#[test]
fn a_caller_key_message_has_pinned_content() {
    let (key, now) = (caller_key(), at(1_800_000_000_000_000 - 7 * DAY + 1));
    let message = |notice| Message::of_key_notice(notice, &key, &Prefix::default(), now);
    let warning = message(ExpiryNotice::SevenDays);
    let (name, id) = (key.name.to_string(), key.name.id.to_string());
    assert_eq!(
        (warning.event.as_str(), warning.subject.as_str()),
        ("caller_key.expiring", name.as_str())
    );
    assert_eq!(warning.id.as_str(), format!("msg_{id}_7d"));
    // Pinned byte for byte, since receivers may have stored messages.
    let data = format!(
        "{{\"caller_key\":\"{name}\",\"caller\":\"callers/ci\",\"hint\":\"tkdc_0{id:.3}...\",\
         \"create_time\":\"2023-11-14T22:13:20Z\",\"expire_time\":\"2027-01-15T08:00:00Z\""
    );
    let expected = format!(
        "{{\"type\":\"caller_key.expiring\",\"timestamp\":\"2027-01-08T08:00:00.000001Z\",\"data\":{data},\
         \"days_before\":7,\"days_left\":7}}}}"
    );
    assert_eq!(warning.payload, expected);
    let end = message(ExpiryNotice::End);
    let expected =
        format!("{{\"type\":\"caller_key.expired\",\"timestamp\":\"2027-01-08T08:00:00.000001Z\",\"data\":{data}}}}}");
    assert_eq!((end.id.as_str(), end.payload), (&*format!("msg_{id}_end"), expected));
}

#[test]
fn an_expiry_message_has_no_days_and_no_missing_successor() {
    let token = Token {
        rotated_to: None,
        ..token()
    };
    let end = at(1_800_000_000_000_000);
    let message = Message::of_notice(ExpiryNotice::End, &token, end, &Prefix::default(), end);
    assert_eq!(
        (message.event.as_str(), message.id.as_str()),
        ("token.expired", format!("msg_{}_end", token.name.id).as_str())
    );
    for absent in ["days", "rotated_to"] {
        assert!(!message.payload.contains(absent), "{}", message.payload);
    }
}

#[test]
fn a_message_id_does_not_depend_on_the_time() {
    let (token, end) = (token(), at(1_800_000_000_000_000));
    let name = TokenName {
        id: CredentialId::from_bytes([1; CredentialId::BYTES]),
        ..token.name.clone()
    };
    let other = Token { name, ..token.clone() };
    let message_id = |notice, token, end, now| Message::of_notice(notice, token, end, &Prefix::default(), now).id;
    let mut ids = BTreeSet::new();
    for notice in ExpiryNotice::ALL {
        for token in [&token, &other] {
            let id = message_id(notice, token, end, at(0));
            assert_eq!(id, message_id(notice, token, at(DAY), at(DAY)));
            assert_eq!(id.as_str().parse(), Ok(id.clone()), "the id is valid in a header");
            assert!(ids.insert(id), "{notice:?}");
        }
    }
}

#[test]
fn a_tampered_message_is_reported() {
    let (token, end) = (token(), at(1_800_000_000_000_000));
    let message = Message::of_notice(ExpiryNotice::End, &token, end, &Prefix::default(), end);
    let (ring, mac) = (ring(), ring().seal(&message));
    assert!(ring.is_intact(&message, &mac));
    let changed = [
        Message {
            id: "msg_other".parse().expect("an id"),
            ..message.clone()
        },
        Message {
            event: "token.expiring".to_owned(),
            ..message.clone()
        },
        Message {
            subject: String::new(),
            ..message.clone()
        },
        Message {
            payload: message.payload.replace("acme", "beta"),
            ..message.clone()
        },
    ];
    for message in changed {
        assert!(!ring.is_intact(&message, &mac), "{message:?}");
    }
}

const SECOND: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3 * 60 * 60);

#[test]
fn pauses_double_up_to_three_hours() {
    let longest: Vec<_> = (1..=5).map(longest_pause_after).collect();
    assert_eq!(longest, [5, 10, 20, 40, 80].map(Duration::from_secs));
    assert_eq!(
        [12, 13, 14, 33, 34, 65, u64::MAX].map(longest_pause_after),
        [SECOND * 10_240, LONGEST, LONGEST, LONGEST, LONGEST, LONGEST, LONGEST]
    );
    assert_eq!(longest_pause_after(0), SECOND * 5);
}

/// The pause after this attempt, drawn with these 64 bits.
fn pause(attempt: u64, wanted: Option<Duration>, drawn: u64) -> Duration {
    pause_after(attempt, wanted, &mut Script(&drawn.to_le_bytes())).expect("8 bytes are enough")
}

#[test]
fn a_pause_is_random_within_its_range() {
    for attempt in [1, 7, 40] {
        let longest = longest_pause_after(attempt);
        assert_eq!(pause(attempt, None, 0), Duration::ZERO);
        assert_eq!(pause(attempt, None, u64::MAX), longest);
        assert!(pause(attempt, None, 1 << 63).abs_diff(longest / 2) <= Duration::from_micros(1));
    }
    assert!(
        pause_after(1, None, &mut Script(&[])).is_err(),
        "a failing random source is an error"
    );
}

proptest! {
    #[test]
    fn a_pause_is_at_least_the_requested_retry_after(attempt in 0..50_u64, wanted in 0..20_000_u64, drawn: u64) {
        let pause = pause(attempt, Some(SECOND * u32::try_from(wanted).expect("small")), drawn);
        prop_assert!(pause >= LONGEST.min(Duration::from_secs(wanted)));
        prop_assert!(pause <= LONGEST);
    }
}
