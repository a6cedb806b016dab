//! Secrets that were found where they do not belong.
//!
//! ```text
//! string --search--> well-spelled credentials --key ring--> minted here? --row--> known secret? --> token: ended, workspace by workspace, a bounded number in a write
//!                                                         +--> caller key: logged, counted, put on record
//! ```
//!
//! What can't be judged or ended keeps nothing else from being ended. Only then the call fails, and is safe to repeat.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use tokend_core::{
    audit::{Chain, Event, EventType, RowAfter},
    credential::{CredentialId, Kind, NotAuthentic, Secret, Unrecognized},
    leak::{LeakFinding, LeakReport},
    name::{CallerKeyName, TokenName, WorkspaceId},
    revision::Revision,
    token::TokenState,
};
use tokend_proto::request::leaks::{Leak, RevokeLeakedTokens};
use tokend_store::{PresentedCallerKey, PresentedToken, Store, StoreError};

use super::{Context, tokens::end_token};
use crate::{
    access::{Act, Acting},
    refusal::Refusal,
};

/// Credentials that are looked up at once: as many as leave connections of the reserved lane to others.
const AT_ONCE: usize = 2;

/// Most tokens that one write ends in any call about many, and most records that one makes: what other writes, all of them on SQLite, wait for at most.
pub(super) const IN_A_WRITE: usize = 20;

/// By workspace, then by token: the order in which they are locked.
type LeakedTokens = BTreeMap<WorkspaceId, BTreeMap<CredentialId, Vec<LeakReport>>>;
type LeakedKeys = BTreeMap<CallerKeyName, Vec<LeakReport>>;

/// Revokes the tokens in the strings, and returns what each string holds of ours.
pub(crate) async fn revoke_leaked(
    context: &Context,
    act: Act,
    request: RevokeLeakedTokens,
) -> Result<(Vec<Vec<LeakFinding>>, Revision), Refusal> {
    // Every verdict reads the database: there is no cache to wait for.
    let RevokeLeakedTokens { leaks, no_wait: _ } = request;
    let store = context.store.reserved();
    let mut results = vec![Vec::new(); leaks.len()];
    let (mut secrets, mut reports, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (place, Leak { secrets: found, report }) in leaks.into_iter().enumerate() {
        for secret in found {
            secrets.push(secret);
            reports.push(report.clone());
            places.push(place);
        }
    }
    let mut failure = Failure::default();
    let findings = find_each(&store, secrets, &mut failure).await;
    let (tokens, keys) = sorted(&findings, reports);

    let mut latest = None;
    for (workspace, leaked) in tokens {
        let leaked: Vec<_> = leaked.into_iter().collect();
        for some in leaked.chunks(IN_A_WRITE) {
            match end(&store, &act, workspace.clone(), some.to_vec()).await {
                Ok(revision) => latest = Some(revision),
                // The rest of this workspace would fail likewise; the others need not.
                Err(refusal) => {
                    failure.note(refusal);
                    break;
                }
            }
        }
    }
    let keys: Vec<_> = keys.into_iter().collect();
    for some in keys.chunks(IN_A_WRITE) {
        record_keys(&store, &act, some.to_vec()).await.unwrap_or_else(|refusal| failure.note(refusal));
    }
    failure.into_result()?;
    for (place, finding) in places.into_iter().zip(findings.into_iter().flatten()) {
        if finding != LeakFinding::Foreign {
            context.leaked.note(&finding);
            results[place].push(finding);
        }
    }
    for _ in results.iter().filter(|result| result.is_empty()) {
        context.leaked.note(&LeakFinding::Foreign);
    }
    let revision = match latest {
        Some(revision) => revision,
        None => act.advance_only(&store).await?,
    };
    Ok((results, revision))
}

/// The first failure; one that may pass rather than one that lasts, so that the call is repeated until nothing else is left.
#[derive(Default)]
struct Failure(Option<Refusal>);

impl Failure {
    fn note(&mut self, refusal: Refusal) {
        if self.0.as_ref().is_none_or(|known| !may_pass(known) && may_pass(&refusal)) {
            self.0 = Some(refusal);
        }
    }

    fn into_result(self) -> Result<(), Refusal> {
        self.0.map_or(Ok(()), Err)
    }
}

const fn may_pass(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::KeyNotAtHand(_)
            | Refusal::Storage(StoreError::Unavailable { .. } | StoreError::Overloaded | StoreError::WrongKeys { .. })
    )
}

/// What each credential is; nothing where that can't be told.
async fn find_each(store: &Store, secrets: Vec<Secret>, failure: &mut Failure) -> Vec<Option<LeakFinding>> {
    let mut findings = Vec::with_capacity(secrets.len());
    let mut looked_up = stream::iter(secrets.into_iter().map(|secret| find(store, secret))).buffered(AT_ONCE);
    while let Some(found) = looked_up.next().await {
        let is_outage = matches!(found, Err(Refusal::Storage(StoreError::Unavailable { .. } | StoreError::Overloaded)));
        findings.push(found.map_err(|refusal| failure.note(refusal)).ok());
        // The others would wait in vain for the same database.
        if is_outage {
            break;
        }
    }
    findings
}

async fn find(store: &Store, secret: Secret) -> Result<LeakFinding, Refusal> {
    let keys = store.keys();
    let presented = match keys.authenticate(secret.expose()) {
        Ok(presented) => presented,
        Err(NotAuthentic::Unrecognized) => return Ok(LeakFinding::Foreign),
        Err(NotAuthentic::KeyLacked(kid)) => return Err(Refusal::KeyNotAtHand(kid)),
    };
    // From here on it is ours: its tag can't be made by anybody else.
    match presented.kind() {
        Kind::WorkspaceToken => {
            let Some(PresentedToken { token, .. }) = store.presented_token(presented.id()).await? else {
                return Ok(LeakFinding::Token(None));
            };
            let known = keys.recognize(&presented, token).map_err(|Unrecognized| ());
            Ok(LeakFinding::Token(known.ok().map(|token| token.into_inner().name)))
        }
        Kind::CallerKey => {
            let Some(PresentedCallerKey { key, .. }) = store.presented_caller_key(presented.id()).await? else {
                return Ok(LeakFinding::CallerKey(None));
            };
            let known = keys.recognize(&presented, key).map_err(|Unrecognized| ());
            Ok(LeakFinding::CallerKey(known.ok().map(|key| key.into_inner().name)))
        }
    }
}

/// Each token and key once, with everything that was reported of it.
fn sorted(findings: &[Option<LeakFinding>], reports: Vec<LeakReport>) -> (LeakedTokens, LeakedKeys) {
    let (mut tokens, mut keys) = (LeakedTokens::new(), LeakedKeys::new());
    for (finding, report) in findings.iter().zip(reports) {
        match finding {
            Some(LeakFinding::Token(Some(TokenName { workspace, id }))) => {
                tokens.entry(workspace.clone()).or_default().entry(*id).or_default().push(report);
            }
            Some(LeakFinding::CallerKey(Some(name))) => keys.entry(name.clone()).or_default().push(report),
            None | Some(LeakFinding::Foreign | LeakFinding::Token(None) | LeakFinding::CallerKey(None)) => {}
        }
    }
    (tokens, keys)
}

/// Ends tokens of one workspace in one write. Those that were ended before stay as they are; that they are dead is told at a revision
/// of its own.
async fn end(
    store: &Store,
    act: &Act,
    workspace: WorkspaceId,
    leaked: Vec<(CredentialId, Vec<LeakReport>)>,
) -> Result<Revision, Refusal> {
    let end = async move |tx: &Acting<'_>| {
        let locked = tx.lock_workspace(&workspace).await?.ok_or_else(|| Refusal::WorkspaceNotFound(workspace.clone()))?;
        let now = tx.now().await?;
        for (id, reports) in leaked {
            let name = TokenName { workspace: workspace.clone(), id };
            let (Some(read), Some(first)) = (tx.token(&name).await?, reports.first()) else { continue };
            if read.state(locked.circumstances(), now) != TokenState::Revoked {
                end_token(tx, &read, now, first.reason(), LeakReport::detail(&reports)).await?;
            }
        }
        Ok::<_, Refusal>(())
    };
    let ((), revision) = act.clone().write_advancing(store, move |tx| Box::pin(async move { end(tx).await })).await?;
    Ok(revision)
}

/// Puts it on record that keys of callers were found. They are not ended: that would stop a service, which is for an ADMIN to decide.
async fn record_keys(store: &Store, act: &Act, leaked: Vec<(CallerKeyName, Vec<LeakReport>)>) -> Result<(), Refusal> {
    for (name, reports) in &leaked {
        let (reporter, detail) = (&act.caller.id, LeakReport::detail(reports));
        tracing::error!(key = %name, %reporter, detail, "a caller key was reported as leaked; revoke it");
    }
    let record = async move |tx: &Acting<'_>| {
        for (name, reports) in leaked {
            let event = tx.event(Chain::Installation, EventType::CallerKeyLeaked, name.to_string(), RowAfter::None);
            tx.audit(Event { detail: LeakReport::detail(&reports), ..event }).await?;
        }
        Ok::<_, Refusal>(())
    };
    act.clone().write(store, move |tx| Box::pin(async move { record(tx).await })).await
}
