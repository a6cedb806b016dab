//! The rows of callers and their keys.

use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{
    caller::{Caller, CallerKey, CertificateSan, MalformedCertificateSan, Role, WorkspaceAccess},
    name::CallerKeyName,
    row_mac::RowMac,
};

use crate::{
    callers::tables::{caller_keys, callers},
    error::StoreError,
    row::{
        Row, column, credential_id, digest,
        list::{self, Choice},
        optional_time, shown_id, time,
    },
};

impl Row for Caller {
    type Id = String;
    type Model = callers::Model;

    fn key(model: &callers::Model) -> String {
        model.id.clone()
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get(prefix, "id").ok()
    }

    fn mac(model: &callers::Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: callers::Model) -> Result<Self, String> {
        let callers::Model {
            id,
            role,
            workspaces,
            certificate_sans,
            create_time,
            mac: _,
        } = model;
        Ok(Self {
            id: column("id", id.parse())?,
            role: Role::from_word(&role).ok_or("column role is none of the roles")?,
            workspaces: match column("workspaces", list::split_choice(&workspaces, str::parse))? {
                Choice::All => WorkspaceAccess::All,
                Choice::Only(workspaces) => WorkspaceAccess::Only(workspaces.into_iter().collect()),
            },
            certificate_sans: column("certificate_sans", sans(&certificate_sans))?,
            create_time: time("create_time", create_time)?,
        })
    }
}

fn sans(text: &str) -> Result<Vec<CertificateSan>, String> {
    let sans = list::read_texts(text)?;
    sans.iter()
        .map(|san| san.parse())
        .collect::<Result<_, MalformedCertificateSan>>()
        .map_err(|error| error.to_string())
}

/// The row to insert.
pub(crate) fn to_model(caller: &Caller, mac: &RowMac) -> callers::ActiveModel {
    let Caller {
        id,
        role,
        workspaces,
        certificate_sans,
        create_time,
    } = caller;
    let only = match workspaces {
        WorkspaceAccess::All => None,
        WorkspaceAccess::Only(workspaces) => Some(workspaces),
    };
    callers::ActiveModel {
        id: Set(id.to_string()),
        role: Set(role.as_str().to_owned()),
        workspaces: Set(list::join_choice(only)),
        certificate_sans: Set(list::write_texts(certificate_sans.iter().map(CertificateSan::as_str))),
        create_time: Set(create_time.unix_micros()),
        mac: Set(mac.to_bytes().to_vec()),
    }
}

impl Row for CallerKey {
    type Id = Vec<u8>;
    type Model = caller_keys::Model;

    fn key(model: &caller_keys::Model) -> String {
        shown_id(&model.id)
    }

    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String> {
        columns.try_get::<Vec<u8>>(prefix, "id").ok().map(|id| shown_id(&id))
    }

    fn mac(model: &caller_keys::Model) -> &[u8] {
        &model.mac
    }

    fn from_model(model: caller_keys::Model) -> Result<Self, String> {
        let caller_keys::Model {
            id,
            caller,
            kid,
            digest: hash,
            create_time,
            expire_time,
            revoke_time,
            mac: _,
        } = model;
        Ok(Self {
            name: CallerKeyName {
                caller: column("caller", caller.parse())?,
                id: credential_id(&id)?,
            },
            digest: digest(&kid, &hash)?,
            create_time: time("create_time", create_time)?,
            expire_time: time("expire_time", expire_time)?,
            revoke_time: optional_time("revoke_time", revoke_time)?,
        })
    }
}

/// The row to insert.
pub(crate) fn key_to_model(key: &CallerKey, mac: &RowMac) -> caller_keys::ActiveModel {
    let CallerKey {
        name: CallerKeyName { caller, id },
        digest,
        create_time,
        expire_time,
        revoke_time,
    } = key;
    caller_keys::ActiveModel {
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

/// Reads a caller key's name from the columns `caller` and `id`.
pub(crate) fn caller_key_name(found: &QueryResult) -> Result<CallerKeyName, StoreError> {
    let (caller, id): (String, Vec<u8>) = (found.try_get("", "caller")?, found.try_get("", "id")?);
    let unreadable = |problem| StoreError::corrupt("caller_keys", shown_id(&id), problem);
    let caller = column("caller", caller.parse()).map_err(unreadable)?;
    Ok(CallerKeyName {
        caller,
        id: credential_id(&id).map_err(unreadable)?,
    })
}
