//! The rows of the audit log. They have keyed hashes instead of row MACs, and a record that was tampered with must
//! still be readable for reports, so they don't use the row verifier.

use sea_orm::ActiveValue::Set;
use tokend_core::{
    audit::{Chain, ChainHash, Checkpoint, Head, Place, Record},
    keyring::{KeyRing, WrongKeys},
};

use crate::{
    audit::tables::{audit_chains, audit_checkpoints, audit_events},
    error::StoreError,
    row::{column, flag, time},
};

const CHAINS: &str = "audit_chains";
const EVENTS: &str = "audit_events";
const CHECKPOINTS: &str = "audit_checkpoints";
/// The problem of a malformed chain key.
const NO_CHAIN: &str = "column chain is neither - nor a workspace's id";

/// Reads a head and verifies its MAC.
pub(crate) fn head(ring: &KeyRing, model: audit_chains::Model) -> Result<Head, StoreError> {
    let key = model.chain.clone();
    let (head, is_intact) = unverified_head(ring, model)?;
    if is_intact {
        return Ok(head);
    }
    if ring.is_missing(head.kid) {
        return Err(StoreError::wrong_keys(WrongKeys::Missing(head.kid)));
    }
    Err(StoreError::tampered(CHAINS, key))
}

/// Reads a head, and returns whether its MAC is correct.
pub(crate) fn unverified_head(ring: &KeyRing, model: audit_chains::Model) -> Result<(Head, bool), StoreError> {
    let (key, mac) = (model.chain.clone(), model.mac.clone());
    let head = head_from_model(model).map_err(|problem| StoreError::corrupt(CHAINS, key, problem))?;
    let is_intact = head.mac(ring).is_some_and(|ours| hash_of("mac", &mac) == Ok(ours));
    Ok((head, is_intact))
}

fn head_from_model(model: audit_chains::Model) -> Result<Head, String> {
    let audit_chains::Model {
        chain,
        sequence,
        hash,
        base_sequence,
        base_hash,
        begin_time,
        chains,
        is_feed_sealed,
        kid,
        mac: _,
    } = model;
    Ok(Head {
        chain: Chain::from_key(&chain).ok_or(NO_CHAIN)?,
        sequence: column("sequence", u64::try_from(sequence))?,
        hash: hash_of("hash", &hash)?,
        base_sequence: column("base_sequence", u64::try_from(base_sequence))?,
        base_hash: hash_of("base_hash", &base_hash)?,
        begin_time: time("begin_time", begin_time)?,
        chains: column("chains", u64::try_from(chains))?,
        is_feed_sealed: flag("is_feed_sealed", is_feed_sealed)?,
        kid: column("kid", kid.parse())?,
    })
}

/// Returns the row of a head. Fails only if the ring lacks the key that signs it.
pub(crate) fn head_to_model(head: &Head, ring: &KeyRing) -> Result<audit_chains::ActiveModel, StoreError> {
    let mac = head
        .mac(ring)
        .ok_or_else(|| StoreError::tampered(CHAINS, head.chain.to_string()))?;
    let Head {
        chain,
        sequence,
        hash,
        base_sequence,
        base_hash,
        begin_time,
        chains,
        is_feed_sealed,
        kid,
    } = head;
    Ok(audit_chains::ActiveModel {
        chain: Set(chain.as_str().to_owned()),
        sequence: Set(sequence.cast_signed()),
        hash: Set(hash.as_bytes().to_vec()),
        base_sequence: Set(base_sequence.cast_signed()),
        base_hash: Set(base_hash.as_bytes().to_vec()),
        begin_time: Set(begin_time.unix_micros()),
        chains: Set(chains.cast_signed()),
        is_feed_sealed: Set((*is_feed_sealed).into()),
        kid: Set(kid.to_string()),
        mac: Set(mac.as_bytes().to_vec()),
    })
}

/// Reads a record without verifying its hash.
pub(crate) fn record(model: audit_events::Model) -> Result<Record, StoreError> {
    let key = format!("{}/{}", model.chain, model.sequence);
    record_from_model(model).map_err(|problem| StoreError::corrupt(EVENTS, key, problem))
}

/// Reads a record and verifies its hash.
pub(crate) fn intact_record(ring: &KeyRing, model: audit_events::Model) -> Result<Record, StoreError> {
    let record = record(model)?;
    if record.is_intact(ring) {
        return Ok(record);
    }
    if ring.is_missing(record.kid) {
        return Err(StoreError::wrong_keys(WrongKeys::Missing(record.kid)));
    }
    let Place { chain, sequence } = &record.place;
    Err(StoreError::tampered(EVENTS, format!("{chain}/{sequence}")))
}

fn record_from_model(model: audit_events::Model) -> Result<Record, String> {
    let audit_events::Model {
        chain,
        sequence,
        time,
        kind,
        caller,
        actor,
        address,
        resource,
        outcome,
        reason,
        detail,
        row_digest,
        kid,
        previous_hash,
        hash,
    } = model;
    Ok(Record {
        place: Place {
            chain,
            sequence: column("sequence", u64::try_from(sequence))?,
        },
        time_micros: time,
        kind,
        caller,
        actor,
        address,
        resource,
        outcome,
        reason,
        detail,
        row: row_digest,
        kid: column("kid", kid.parse())?,
        previous_hash: hash_of("previous_hash", &previous_hash)?,
        hash: hash_of("hash", &hash)?,
    })
}

/// Returns the row to insert.
pub(crate) fn record_to_model(record: Record) -> audit_events::ActiveModel {
    let Record {
        place: Place { chain, sequence },
        time_micros,
        kind,
        caller,
        actor,
        address,
        resource,
        outcome,
        reason,
        detail,
        row,
        kid,
        previous_hash,
        hash,
    } = record;
    audit_events::ActiveModel {
        chain: Set(chain),
        sequence: Set(sequence.cast_signed()),
        time: Set(time_micros),
        kind: Set(kind),
        caller: Set(caller),
        actor: Set(actor),
        address: Set(address),
        resource: Set(resource),
        outcome: Set(outcome),
        reason: Set(reason),
        detail: Set(detail),
        row_digest: Set(row),
        kid: Set(kid.to_string()),
        previous_hash: Set(previous_hash.as_bytes().to_vec()),
        hash: Set(hash.as_bytes().to_vec()),
    }
}

/// Reads a checkpoint without verifying its MAC.
pub(crate) fn checkpoint(model: audit_checkpoints::Model) -> Result<Checkpoint, StoreError> {
    let key = format!("{}/{}", model.chain, model.sequence);
    checkpoint_from_model(model).map_err(|problem| StoreError::corrupt(CHECKPOINTS, key, problem))
}

fn checkpoint_from_model(model: audit_checkpoints::Model) -> Result<Checkpoint, String> {
    let audit_checkpoints::Model {
        chain,
        sequence,
        time: at,
        hash,
        kid,
        mac,
    } = model;
    Ok(Checkpoint {
        chain: Chain::from_key(&chain).ok_or(NO_CHAIN)?,
        sequence: column("sequence", u64::try_from(sequence))?,
        hash: hash_of("hash", &hash)?,
        time: time("time", at)?,
        kid: column("kid", kid.parse())?,
        mac: hash_of("mac", &mac)?,
    })
}

/// Returns the row to insert.
pub(crate) fn checkpoint_to_model(checkpoint: &Checkpoint) -> audit_checkpoints::ActiveModel {
    let Checkpoint {
        chain,
        sequence,
        hash,
        time,
        kid,
        mac,
    } = checkpoint;
    audit_checkpoints::ActiveModel {
        chain: Set(chain.as_str().to_owned()),
        sequence: Set(sequence.cast_signed()),
        time: Set(time.unix_micros()),
        hash: Set(hash.as_bytes().to_vec()),
        kid: Set(kid.to_string()),
        mac: Set(mac.as_bytes().to_vec()),
    }
}

fn hash_of(name: &str, bytes: &[u8]) -> Result<ChainHash, String> {
    let bytes = bytes
        .try_into()
        .map_err(|_| format!("must have {} bytes, it has {}", ChainHash::BYTES, bytes.len()));
    column(name, bytes).map(ChainHash::from_bytes)
}
