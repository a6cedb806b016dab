use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{caller::CallerKey, name::CallerKeyName, row_mac::RowMac};

use super::{Row, column, credential_id, digest, optional_time, shown_id, time};
use crate::entity::caller_keys::{ActiveModel, Model};

impl Row for CallerKey {
    type Id = Vec<u8>;
    type Model = Model;

    fn key(model: &Model) -> String {
        shown_id(&model.id)
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get::<Vec<u8>>(prefix, "id").ok().map(|id| shown_id(&id))
    }

    fn mac(model: &Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: Model) -> Result<Self, String> {
        let Model { id, caller, kid, digest: hash, create_time, expire_time, revoke_time, mac: _ } = model;
        Ok(Self {
            name: CallerKeyName { caller: column("caller", caller.parse())?, id: credential_id(&id)? },
            digest: digest(&kid, &hash)?,
            create_time: time("create_time", create_time)?,
            expire_time: time("expire_time", expire_time)?,
            revoke_time: optional_time("revoke_time", revoke_time)?,
        })
    }
}

/// The row to insert.
pub(crate) fn to_model(key: &CallerKey, mac: &RowMac) -> ActiveModel {
    let CallerKey { name: CallerKeyName { caller, id }, digest, create_time, expire_time, revoke_time } = key;
    ActiveModel {
        id: Set(id.as_bytes().to_vec()),
        caller: Set(caller.to_string()),
        kid: Set(digest.kid().to_string()),
        digest: Set(digest.as_bytes().to_vec()),
        create_time: Set(create_time.unix_micros()),
        expire_time: Set(expire_time.unix_micros()),
        revoke_time: Set(revoke_time.map(|time| time.unix_micros())),
        mac: Set(mac.to_bytes().to_vec()),
    }
}
