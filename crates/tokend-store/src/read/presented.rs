use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryResult, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, SelectStatement},
};
use tokend_core::{
    caller::{Caller, CallerKey},
    certificate_san::CertificateSan,
    credential::CredentialId,
    revision::Revision,
    time::Timestamp,
    token::{Circumstances, Token},
};

use super::{CallerNow, CallerRef, Governed, LEFT, RIGHT, THIRD, known_caller};
use crate::{
    entity::{caller_certificate_sans, caller_keys, callers, feed, organizations, tokens, workspaces},
    error::StoreError,
    row::{self, Judge},
    store::{Shared, Store},
};

/// Where certificate names are looked up.
const SANS: &str = "caller_certificate_sans";

/// All that a verdict is made of, from one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedToken {
    /// The token. Whether the presenter knows its secret is for the key ring to tell.
    pub token: Token,
    /// What its life depends on besides itself.
    pub circumstances: Circumstances,
    /// Database time.
    pub now: Timestamp,
    /// Every change up to this one is in the rows above.
    pub revision: Revision,
}

/// All that an authentication is made of, from one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedCallerKey {
    /// The key. Whether the presenter knows its secret is for the key ring to tell.
    pub key: CallerKey,
    /// Its caller.
    pub caller: Caller,
    /// Database time.
    pub now: Timestamp,
}

/// Whom the names in a client certificate stand for, from one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedCertificate {
    /// Every caller that one of the names stands for. Never empty.
    pub callers: Vec<Caller>,
    /// Database time.
    pub now: Timestamp,
}

impl Store {
    /// The token of that id in any workspace, for a verdict: the one query about tokens that does not start from a workspace.
    /// `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn presented_token(&self, id: CredentialId) -> Result<Option<PresentedToken>, StoreError> {
        self.run(move |shared| async move { presented_token(&shared, id).await }).await
    }

    /// The same, and in the same snapshot what is there of the caller that asks for the verdict. `None` if there is no such token.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn presented_token_to(
        &self,
        id: CredentialId,
        by: &CallerRef,
    ) -> Result<Option<(PresentedToken, CallerNow)>, StoreError> {
        let by = by.clone();
        self.run(move |shared| async move { presented_token_to(&shared, id, &by).await }).await
    }

    /// The caller key of that id, with its caller. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn presented_caller_key(&self, id: CredentialId) -> Result<Option<PresentedCallerKey>, StoreError> {
        self.run(move |shared| async move { presented_caller_key(&shared, id).await }).await
    }

    /// The callers that these names in a client certificate stand for. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn presented_certificate(&self, sans: &[CertificateSan]) -> Result<Option<PresentedCertificate>, StoreError> {
        let sans = sans.to_vec();
        self.run(move |shared| async move { presented_certificate(&shared, &sans).await }).await
    }
}

async fn presented_token(shared: &Shared, id: CredentialId) -> Result<Option<PresentedToken>, StoreError> {
    let Some(found) = shared.connection.query_one(&token_query(shared, id)).await? else { return Ok(None) };
    read_token(shared, &shared.judge(), &found).map(Some)
}

async fn presented_token_to(
    shared: &Shared,
    id: CredentialId,
    by: &CallerRef,
) -> Result<Option<(PresentedToken, CallerNow)>, StoreError> {
    let mut query = token_query(shared, id);
    known_caller::join(&mut query, by);
    let Some(found) = shared.connection.query_one(&query).await? else { return Ok(None) };
    let judge = shared.judge();
    let token = read_token(shared, &judge, &found)?;
    let caller = known_caller::read(&judge, &found, by, token.now)?;
    Ok(Some((token, caller)))
}

fn token_query(shared: &Shared, id: CredentialId) -> SelectStatement {
    let mut query = tokens::Entity::find_by_id(id.as_bytes().to_vec())
        .find_also_related(workspaces::Entity)
        .and_also_related(organizations::Entity)
        .into_query();
    query.join(JoinType::InnerJoin, feed::Entity, Expr::col((feed::Entity, feed::Column::One)).eq(1));
    query.column((feed::Entity, feed::Column::Epoch)).column((feed::Entity, feed::Column::Revision));
    shared.select_now(&mut query);
    query
}

fn read_token(shared: &Shared, judge: &Judge, found: &QueryResult) -> Result<PresentedToken, StoreError> {
    let now = shared.read_now(found)?;
    let revision = row::revision(found.try_get("", "epoch")?, found.try_get("", "revision")?)
        .map_err(|problem| StoreError::corrupt("feed", "1".to_owned(), problem))?;
    let token = judge.read::<Token>(found, LEFT)?.into_inner();
    let (_, circumstances) = Governed::read(judge, found, [RIGHT, THIRD])?.into_parts();
    Ok(PresentedToken { token, circumstances, now, revision })
}

async fn presented_caller_key(shared: &Shared, id: CredentialId) -> Result<Option<PresentedCallerKey>, StoreError> {
    let mut query = caller_keys::Entity::find_by_id(id.as_bytes().to_vec()).find_also_related(callers::Entity).into_query();
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else { return Ok(None) };
    let now = shared.read_now(&found)?;
    let judge = shared.judge();
    let key = judge.read::<CallerKey>(&found, LEFT)?.into_inner();
    let caller = judge.read::<Caller>(&found, RIGHT)?.into_inner();
    Ok(Some(PresentedCallerKey { key, caller, now }))
}

async fn presented_certificate(shared: &Shared, sans: &[CertificateSan]) -> Result<Option<PresentedCertificate>, StoreError> {
    let registered = caller_certificate_sans::Entity::find()
        .select_only()
        .column(caller_certificate_sans::Column::Caller)
        .filter(caller_certificate_sans::Column::San.is_in(sans.iter().map(CertificateSan::as_str)));
    let mut query = callers::Entity::find().filter(callers::Column::Id.in_subquery(registered.into_query())).into_query();
    shared.select_now(&mut query);
    let found = shared.connection.query_all(&query).await?;
    let Some(first) = found.first() else { return Ok(None) };
    let now = shared.read_now(first)?;
    let judge = shared.judge();
    let mut callers = Vec::new();
    for columns in &found {
        let caller = judge.read::<Caller>(columns, "")?.into_inner();
        // The table that led here is not sealed; the caller's row is.
        if !caller.certificate_sans.iter().any(|san| sans.contains(san)) {
            return Err(StoreError::tampered(SANS, caller.id.to_string()));
        }
        callers.push(caller);
    }
    Ok(Some(PresentedCertificate { callers, now }))
}
