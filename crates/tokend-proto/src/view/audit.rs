use tokend_core::{
    audit::{Outcome, Place, Record},
    time::Timestamp,
};

use crate::{field::time_message, v1};

/// Converts an event of the audit log.
#[must_use]
pub fn audit_event_message(record: Record) -> v1::AuditEvent {
    let Record {
        place: Place { chain: _, sequence },
        time_micros,
        kind,
        caller,
        actor,
        address,
        resource,
        outcome,
        reason,
        detail,
        row: _,
        kid: _,
        previous_hash,
        hash,
    } = record;
    let outcome = match Outcome::from_word(&outcome) {
        Some(Outcome::Done) => v1::audit_event::Outcome::Done,
        Some(Outcome::Refused) => v1::audit_event::Outcome::Refused,
        None => v1::audit_event::Outcome::Unspecified,
    };
    v1::AuditEvent {
        sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
        time: Timestamp::from_unix_micros(time_micros).ok().map(time_message),
        r#type: kind,
        caller,
        actor,
        address,
        resource,
        outcome: outcome.into(),
        reason,
        detail,
        hash: hash.as_bytes().to_vec(),
        previous_hash: previous_hash.as_bytes().to_vec(),
    }
}
