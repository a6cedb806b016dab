//! RevokeLeakedTokens: secrets that were found where they do not belong are looked up, and their tokens revoked.
//!
//! ```text
//! string --search--> credentials --verifier--> token: revoked, one workspace after the other, in small batches
//!                                              caller key: logged, counted and recorded
//!                                              anything else: counted
//! ```
//!
//! A credential that can't be looked up, or a token that can't be revoked, keeps no other token from being revoked. The
//! call fails afterwards, and is safe to repeat.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use tokend_core::{
    change::Change,
    credential::{CredentialId, Kind, Secret},
    feed::Revision,
    leak::{LeakFinding, LeakReport},
    name::{CallerKeyName, TokenName, WorkspaceId},
    token::TokenState,
};
use tokend_proto::request::leaks::{Leak, RevokeLeakedTokens};
use tokend_store::{Store, StoreError};

use super::{BATCH, Context, revoke::revoke_locked};
use crate::{
    auth::{Acting, CallContext, Wait},
    error::ServiceError,
    verifier::{Lane, Verifier},
};

/// The number of credentials that are looked up at once: few enough to leave connections of the reserved lane to
/// others.
const CONCURRENT_LOOK_UPS: usize = 2;

/// By workspace, then by token, which is the order in which they are locked.
type LeakedTokens = BTreeMap<WorkspaceId, BTreeMap<CredentialId, Vec<LeakReport>>>;
type LeakedKeys = BTreeMap<CallerKeyName, Vec<LeakReport>>;

/// Revokes the tokens in the strings, and returns the credentials of this installation in each string.
pub(crate) async fn revoke_leaked(
    context: &Context,
    call: CallContext,
    request: RevokeLeakedTokens,
) -> Result<(Vec<Vec<LeakFinding>>, Revision), ServiceError> {
    let RevokeLeakedTokens { leaks, no_wait } = request;
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
    let findings = find_each(&context.verifier, secrets, &mut failure).await;
    let (tokens, keys) = group(&findings, reports);

    let wait = Wait::unless(no_wait, context);
    let (mut latest, mut workspaces) = (None, tokens.len());
    for (workspace, leaked) in tokens {
        workspaces -= 1;
        let leaked: Vec<_> = leaked.into_iter().collect();
        let mut batches = leaked.chunks(BATCH);
        while let Some(some) = batches.next() {
            call.check_deadline()?;
            let wait = wait.only_if(workspaces == 0 && batches.len() == 0);
            match revoke(&store, &call, wait, workspace.clone(), some.to_vec()).await {
                Ok(revision) => latest = Some(revision),
                // The rest of this workspace would fail for the same reason; other workspaces need not.
                Err(error) => {
                    failure.add(error);
                    break;
                }
            }
        }
    }
    let keys: Vec<_> = keys.into_iter().collect();
    for some in keys.chunks(BATCH) {
        call.check_deadline()?;
        record_keys(&store, &call, some.to_vec())
            .await
            .unwrap_or_else(|error| failure.add(error));
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
        None => call.advance_only(&store, wait).await?,
    };
    Ok((results, revision))
}

/// The error to answer with: the first one that is expected to pass, otherwise the first one. So clients repeat the
/// call until nothing else can be done.
#[derive(Default)]
struct Failure(Option<ServiceError>);

impl Failure {
    fn add(&mut self, error: ServiceError) {
        if self.0.as_ref().is_none_or(|known| !may_pass(known) && may_pass(&error)) {
            self.0 = Some(error);
        }
    }

    fn into_result(self) -> Result<(), ServiceError> {
        self.0.map_or(Ok(()), Err)
    }
}

const fn may_pass(error: &ServiceError) -> bool {
    matches!(
        error,
        ServiceError::KeyNotAtHand(_)
            | ServiceError::Storage(
                StoreError::Unavailable { .. } | StoreError::Overloaded | StoreError::WrongKeys { .. }
            )
    )
}

/// Looks up each credential. Returns `None` for one that can't be looked up.
async fn find_each(verifier: &Verifier, secrets: Vec<Secret>, failure: &mut Failure) -> Vec<Option<LeakFinding>> {
    let mut findings = Vec::with_capacity(secrets.len());
    let mut looked_up =
        stream::iter(secrets.into_iter().map(|secret| find(verifier, secret))).buffered(CONCURRENT_LOOK_UPS);
    while let Some(found) = looked_up.next().await {
        let is_outage = matches!(
            found,
            Err(ServiceError::Storage(
                StoreError::Unavailable { .. } | StoreError::Overloaded
            ))
        );
        findings.push(found.map_err(|error| failure.add(error)).ok());
        // The other look-ups would wait for the same database and fail.
        if is_outage {
            break;
        }
    }
    findings
}

async fn find(verifier: &Verifier, secret: Secret) -> Result<LeakFinding, ServiceError> {
    let presented = verifier.check(secret.expose())?;
    // Nobody else can make the tag of a string that this installation issued.
    Ok(match presented.kind() {
        None => LeakFinding::Foreign,
        Some(Kind::WorkspaceToken) => {
            let verified = verifier.token(&presented, Lane::Reserved).await?.verified();
            LeakFinding::Token(verified.map(|verified| verified.token.name.clone()))
        }
        Some(Kind::CallerKey) => {
            let verified = verifier.caller_key(&presented, Lane::Reserved).await?.verified();
            LeakFinding::CallerKey(verified.map(|verified| verified.key.name.clone()))
        }
    })
}

/// Returns each token and each key once, with all reports about it.
fn group(findings: &[Option<LeakFinding>], reports: Vec<LeakReport>) -> (LeakedTokens, LeakedKeys) {
    let (mut tokens, mut keys) = (LeakedTokens::new(), LeakedKeys::new());
    for (finding, report) in findings.iter().zip(reports) {
        match finding {
            Some(LeakFinding::Token(Some(TokenName { workspace, id }))) => {
                tokens
                    .entry(workspace.clone())
                    .or_default()
                    .entry(*id)
                    .or_default()
                    .push(report);
            }
            Some(LeakFinding::CallerKey(Some(name))) => keys.entry(name.clone()).or_default().push(report),
            None | Some(LeakFinding::Foreign | LeakFinding::Token(None) | LeakFinding::CallerKey(None)) => {}
        }
    }
    (tokens, keys)
}

/// Revokes tokens of one workspace in one write. Those that are revoked already stay as they are. Returns a new
/// revision in any case.
async fn revoke(
    store: &Store,
    call: &CallContext,
    wait: Wait,
    workspace: WorkspaceId,
    leaked: Vec<(CredentialId, Vec<LeakReport>)>,
) -> Result<Revision, ServiceError> {
    let revoke = async move |tx: &Acting<'_>| {
        let locked = tx
            .lock_workspace(&workspace)
            .await?
            .ok_or_else(|| ServiceError::WorkspaceNotFound(workspace.clone()))?;
        let now = tx.now().await?;
        for (id, reports) in leaked {
            let name = TokenName {
                workspace: workspace.clone(),
                id,
            };
            let (Some(read), Some(first)) = (tx.token(&name).await?, reports.first()) else {
                continue;
            };
            if read.state(locked.token_context(), now) != TokenState::Revoked {
                revoke_locked(tx, &read, now, first.reason(), reports).await?;
            }
        }
        Ok::<_, ServiceError>(())
    };
    let ((), revision) = call.clone().write_advancing(store, wait, revoke).await?;
    Ok(revision)
}

/// Records that keys of callers were leaked. They are not revoked, because that would stop a service: an ADMIN decides.
async fn record_keys(
    store: &Store,
    call: &CallContext,
    leaked: Vec<(CallerKeyName, Vec<LeakReport>)>,
) -> Result<(), ServiceError> {
    for (name, reports) in &leaked {
        let (reporter, detail) = (&call.caller.id, LeakReport::detail(reports));
        tracing::error!(
            request_id = %call.request_id,
            key = %name,
            %reporter,
            detail,
            "a caller key was reported as leaked; revoke it"
        );
    }
    let record = async move |tx: &Acting<'_>| {
        for (name, reports) in leaked {
            tx.record(Change::CallerKeyLeaked { name, reports });
        }
        Ok::<_, ServiceError>(())
    };
    call.clone().write(store, record).await
}
