//! Reads for the authentication of a caller, by its key or by its client certificate.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait};
use tokend_core::{
    caller::{Caller, CallerKey, CertificateSan},
    credential::CredentialId,
    feed::Revision,
    time::Timestamp,
};

use crate::{
    callers::tables::{caller_certificate_sans, caller_keys, callers},
    error::StoreError,
    row::{LEFT, RIGHT},
    shared::Shared,
    store::Store,
};

/// The table in which certificate names are looked up.
const SANS: &str = "caller_certificate_sans";

/// Everything that the authentication by a caller key depends on, read in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerKeySnapshot {
    /// The key. Its secret has not been checked: that needs the key ring.
    pub key: CallerKey,
    /// Its caller.
    pub caller: Caller,
    /// Database time.
    pub now: Timestamp,
    /// The rows above include every change up to this revision.
    pub revision: Revision,
}

/// The callers that own the names in a client certificate, read in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSnapshot {
    /// Every caller that owns one of the names. Never empty.
    pub callers: Vec<Caller>,
    /// Database time.
    pub now: Timestamp,
    /// The callers include every change up to this revision.
    pub revision: Revision,
}

impl Store {
    /// Returns the caller key with that id, and its caller. `None` if the key does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn caller_key_snapshot(&self, id: CredentialId) -> Result<Option<CallerKeySnapshot>, StoreError> {
        self.run(move |shared| async move { caller_key_snapshot(&shared, id).await })
            .await
    }

    /// Returns the callers that own these names in a client certificate. `None` if nobody owns one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn certificate_snapshot(
        &self,
        sans: &[CertificateSan],
    ) -> Result<Option<CertificateSnapshot>, StoreError> {
        let sans = sans.to_vec();
        self.run(move |shared| async move { certificate_snapshot(&shared, &sans).await })
            .await
    }
}

async fn caller_key_snapshot(shared: &Shared, id: CredentialId) -> Result<Option<CallerKeySnapshot>, StoreError> {
    let mut query = caller_keys::Entity::find_by_id(id.as_bytes().to_vec())
        .find_also_related(callers::Entity)
        .into_query();
    shared.select_revision(&mut query);
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else {
        return Ok(None);
    };
    let now = shared.read_now(&found)?;
    let revision = shared.read_revision(&found)?;
    let row_verifier = shared.row_verifier();
    let key = row_verifier.read::<CallerKey>(&found, LEFT)?.into_inner();
    let caller = row_verifier.read::<Caller>(&found, RIGHT)?.into_inner();
    Ok(Some(CallerKeySnapshot {
        key,
        caller,
        now,
        revision,
    }))
}

async fn certificate_snapshot(
    shared: &Shared,
    sans: &[CertificateSan],
) -> Result<Option<CertificateSnapshot>, StoreError> {
    let registered = caller_certificate_sans::Entity::find()
        .select_only()
        .column(caller_certificate_sans::Column::Caller)
        .filter(caller_certificate_sans::Column::San.is_in(sans.iter().map(CertificateSan::as_str)));
    let mut query = callers::Entity::find()
        .filter(callers::Column::Id.in_subquery(registered.into_query()))
        .into_query();
    shared.select_revision(&mut query);
    shared.select_now(&mut query);
    let found = shared.connection.query_all(&query).await?;
    let Some(first) = found.first() else { return Ok(None) };
    let now = shared.read_now(first)?;
    let revision = shared.read_revision(first)?;
    let row_verifier = shared.row_verifier();
    let mut callers = Vec::new();
    for columns in &found {
        let caller = row_verifier.read::<Caller>(columns, "")?.into_inner();
        // The table of names is not sealed, but the caller's row is.
        if !caller.certificate_sans.iter().any(|san| sans.contains(san)) {
            return Err(StoreError::tampered(SANS, caller.id.to_string()));
        }
        callers.push(caller);
    }
    Ok(Some(CertificateSnapshot { callers, now, revision }))
}
