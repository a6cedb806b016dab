//! The row of a token.

use sea_orm::{ActiveValue::Set, QueryResult};
use tokend_core::{
    address::{AllowedAddresses, Networks, parse_network},
    credential::CredentialId,
    labels::Labels,
    name::TokenName,
    resource::Resource,
    row_mac::{RowMac, Sealed},
    scope::GrantedScopes,
    text::{Description, DisplayName, Reason},
    token::{Expiry, Revocation, Token},
};

use crate::{
    error::StoreError,
    row::{
        Row, column, credential_id, credential_id_in, digest,
        list::{self, Choice},
        optional_time, shown_id, time,
    },
    tokens::tables::tokens::{ActiveModel, Model},
};

impl Row for Token {
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
        let Model {
            id,
            workspace,
            kid,
            digest: hash,
            resource,
            display_name,
            description,
            catalog_version,
            scopes,
            effective_scopes,
            allowed_cidrs,
            labels,
            create_time,
            creator,
            expire_time,
            requested_expire_time,
            revoke_time,
            revoker,
            revoke_reason,
            rotated_from,
            rotated_to,
            mac: _,
        } = model;
        Ok(Self {
            name: TokenName {
                workspace: column("workspace", workspace.parse())?,
                id: credential_id(&id)?,
            },
            digest: digest(&kid, &hash)?,
            resource: column("resource", Resource::new(resource))?,
            display_name: column("display_name", DisplayName::new(display_name))?,
            description: column("description", Description::new(description))?,
            scopes: granted_scopes(catalog_version, &scopes, &effective_scopes)?,
            allowed_addresses: allowed_addresses(&allowed_cidrs)?,
            labels: column("labels", list::read_map(&labels))
                .and_then(|labels| column("labels", Labels::new(labels)))?,
            create_time: time("create_time", create_time)?,
            creator: column("creator", creator.parse())?,
            own_expiry: expiry("expire_time", expire_time)?,
            requested_expiry: expiry("requested_expire_time", requested_expire_time)?,
            revocation: revocation(revoke_time, revoker, revoke_reason)?,
            rotated_from: other_token("rotated_from", rotated_from)?,
            rotated_to: other_token("rotated_to", rotated_to)?,
        })
    }
}

/// The row to insert.
pub(crate) fn to_model(token: &Token, mac: &RowMac) -> ActiveModel {
    let Token {
        name: TokenName { workspace, id },
        digest,
        resource,
        display_name,
        description,
        scopes,
        allowed_addresses,
        labels,
        create_time,
        creator,
        own_expiry,
        requested_expiry,
        revocation,
        rotated_from,
        rotated_to,
    } = token;
    let only = match allowed_addresses {
        AllowedAddresses::Any => None,
        AllowedAddresses::Only(networks) => Some(networks.as_slice()),
    };
    ActiveModel {
        id: Set(id.as_bytes().to_vec()),
        workspace: Set(workspace.to_string()),
        kid: Set(digest.kid().to_string()),
        digest: Set(digest.as_bytes().to_vec()),
        resource: Set(resource.to_string()),
        display_name: Set(display_name.to_string()),
        description: Set(description.to_string()),
        catalog_version: Set(scopes.catalog_version().into()),
        scopes: Set(list::join(scopes.granted())),
        effective_scopes: Set(list::join(scopes.effective())),
        allowed_cidrs: Set(list::join_choice(only)),
        labels: Set(list::write_map(labels.iter())),
        create_time: Set(create_time.unix_micros()),
        creator: Set(creator.to_string()),
        expire_time: Set(own_expiry.time().map(|time| time.unix_micros())),
        requested_expire_time: Set(requested_expiry.time().map(|time| time.unix_micros())),
        revoke_time: Set(revocation.as_ref().map(|revocation| revocation.at.unix_micros())),
        revoker: Set(revocation.as_ref().map(|revocation| revocation.by.to_string())),
        revoke_reason: Set(revocation.as_ref().map(|revocation| revocation.reason.to_string())),
        rotated_from: Set(rotated_from.map(|id| id.as_bytes().to_vec())),
        rotated_to: Set(rotated_to.map(|id| id.as_bytes().to_vec())),
        mac: Set(mac.to_bytes().to_vec()),
    }
}

fn granted_scopes(catalog_version: i64, granted: &str, effective: &str) -> Result<GrantedScopes, String> {
    let catalog_version = column("catalog_version", u32::try_from(catalog_version))?;
    let granted = column("scopes", list::split(granted, str::parse))?;
    let effective = column("effective_scopes", list::split(effective, str::parse))?;
    GrantedScopes::from_stored(catalog_version, granted, effective)
        .ok_or_else(|| "column effective_scopes lacks a granted scope".to_owned())
}

fn allowed_addresses(text: &str) -> Result<AllowedAddresses, String> {
    match column("allowed_cidrs", list::split_choice(text, parse_network))? {
        Choice::All => Ok(AllowedAddresses::Any),
        Choice::Only(networks) => Networks::new(networks)
            .map(AllowedAddresses::Only)
            .ok_or_else(|| format!("column allowed_cidrs must hold 1 to {} networks", Networks::MAX)),
    }
}

fn expiry(name: &str, micros: Option<i64>) -> Result<Expiry, String> {
    Ok(optional_time(name, micros)?.map_or(Expiry::Never, Expiry::At))
}

fn other_token(name: &str, id: Option<Vec<u8>>) -> Result<Option<CredentialId>, String> {
    id.map(|id| credential_id_in(name, &id)).transpose()
}

fn revocation(at: Option<i64>, by: Option<String>, reason: Option<String>) -> Result<Option<Revocation>, String> {
    match (at, by, reason) {
        (None, None, None) => Ok(None),
        (Some(at), Some(by), Some(reason)) => Ok(Some(Revocation {
            at: time("revoke_time", at)?,
            by: column("revoker", by.parse())?,
            reason: column("revoke_reason", Reason::new(reason))?,
        })),
        _ => Err(format!(
            "columns revoke_time, revoker and revoke_reason of {} must all be null or none of them",
            Token::TABLE
        )),
    }
}

/// Reads a token's name from the columns `workspace` and `id`.
pub(crate) fn token_name(found: &QueryResult) -> Result<TokenName, StoreError> {
    let (workspace, id): (String, Vec<u8>) = (found.try_get("", "workspace")?, found.try_get("", "id")?);
    let unreadable = |problem| StoreError::corrupt("tokens", shown_id(&id), problem);
    let workspace = column("workspace", workspace.parse()).map_err(unreadable)?;
    Ok(TokenName {
        workspace,
        id: credential_id(&id).map_err(unreadable)?,
    })
}
