//! The rows of usage. They are not sealed. A row that can't be read is logged and treated as missing, so the next use
//! repairs it.

use std::{collections::BTreeMap, net::IpAddr};

use sea_orm::{ActiveValue::Set, FromQueryResult, QueryResult};
use tokend_core::{credential::CredentialId, time::Timestamp, token::usage::Usage};

use crate::{
    error::StoreError,
    row::{
        column, credential_id_in,
        list::{self, split_any},
        shown_id, time,
    },
    usage::tables::{
        caller_key_usage,
        token_usage::{ActiveModel, Model},
    },
};

const TABLE: &str = "token_usage";
const KEY_TABLE: &str = "caller_key_usage";

/// Reads usage from rows, by token.
pub(crate) fn usage_by_token(rows: &[QueryResult]) -> Result<BTreeMap<CredentialId, Usage>, StoreError> {
    let mut usage = BTreeMap::new();
    for columns in rows {
        let model = Model::from_query_result(columns, "")?;
        let row = shown_id(&model.token);
        match read(model) {
            Ok((token, known)) => {
                usage.insert(token, known);
            }
            // Creating the error logs it. The token and the other rows are returned all the same.
            Err(problem) => drop(StoreError::corrupt(TABLE, row, problem)),
        }
    }
    Ok(usage)
}

/// Reads the time of the last use from rows, by caller key.
pub(crate) fn last_use_by_key(rows: &[QueryResult]) -> Result<BTreeMap<CredentialId, Timestamp>, StoreError> {
    let mut last_uses = BTreeMap::new();
    for columns in rows {
        let caller_key_usage::Model { key, last_used_time } = FromQueryResult::from_query_result(columns, "")?;
        let last_use = credential_id_in("key", &key).and_then(|id| Ok((id, time("last_used_time", last_used_time)?)));
        match last_use {
            Ok((id, last_use)) => {
                last_uses.insert(id, last_use);
            }
            Err(problem) => drop(StoreError::corrupt(KEY_TABLE, shown_id(&key), problem)),
        }
    }
    Ok(last_uses)
}

/// Returns the row to store.
pub(crate) fn usage_to_model(token: CredentialId, usage: &Usage) -> ActiveModel {
    let Usage {
        last_used_time,
        addresses,
        asked_scopes,
    } = usage;
    ActiveModel {
        token: Set(token.as_bytes().to_vec()),
        last_used_time: Set(last_used_time.unix_micros()),
        addresses: Set(list::join(
            addresses
                .iter()
                .map(|(at, address)| format!("{address}@{}", at.unix_micros())),
        )),
        asked_scopes: Set(list::join(asked_scopes)),
    }
}

fn read(model: Model) -> Result<(CredentialId, Usage), String> {
    let Model {
        token,
        last_used_time,
        addresses,
        asked_scopes,
    } = model;
    let usage = Usage {
        last_used_time: time("last_used_time", last_used_time)?,
        addresses: column("addresses", split_any(&addresses, seen_address))?
            .into_iter()
            .collect(),
        asked_scopes: column("asked_scopes", split_any(&asked_scopes, str::parse))?
            .into_iter()
            .collect(),
    };
    Ok((credential_id_in("token", &token)?, usage))
}

fn seen_address(text: &str) -> Result<(Timestamp, IpAddr), String> {
    let malformed = || format!("must hold addresses and times, one is {text:?}");
    let (address, micros) = text.rsplit_once('@').ok_or_else(malformed)?;
    let (address, micros) = (
        address.parse().map_err(|_| malformed())?,
        micros.parse().map_err(|_| malformed())?,
    );
    Ok((Timestamp::from_unix_micros(micros).map_err(|_| malformed())?, address))
}
