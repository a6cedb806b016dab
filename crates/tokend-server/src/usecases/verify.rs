//! May this token do this, here, now? Every answer reads the database.

use futures_util::{StreamExt, TryStreamExt, stream};
use tokend_core::{
    credential::{CredentialId, NotAuthentic, Unrecognized},
    revision::Revision,
    usage::TokenUse,
    verdict::{Denial, Question, Verdict, decide},
};
use tokend_proto::{
    request::token_verify::Verify,
    view::{KnownToken, Verification},
};
use tokend_store::PresentedToken;

use super::Context;
use crate::{access::Authenticated, refusal::Refusal};

/// Questions of one batch that are looked up at once: as many as leave connections to others.
const AT_ONCE: usize = 4;

/// Decides about one token.
pub(crate) async fn verify(context: &Context, caller: &Authenticated, question: Verify) -> Result<Verification, Refusal> {
    Ok(noted(context, caller, decided(context, caller, question).await?))
}

/// Decides about several tokens, each on its own.
pub(crate) async fn verify_each(
    context: &Context,
    caller: &Authenticated,
    questions: Vec<Verify>,
) -> Result<Vec<Verification>, Refusal> {
    let each = questions.into_iter().map(|question| decided(context, caller, question));
    let decided: Vec<_> = stream::iter(each).buffered(AT_ONCE).try_collect().await?;
    // If one failed, none is answered.
    Ok(decided.into_iter().map(|decided| noted(context, caller, decided)).collect())
}

/// A verdict, and if it is yes, what the use of the token is.
struct Decided {
    verification: Verification,
    used: Option<(CredentialId, TokenUse)>,
}

/// What is told of a verdict to whom it concerns besides.
fn noted(context: &Context, caller: &Authenticated, Decided { verification, used }: Decided) -> Verification {
    context.denied.note(verification.verdict, &caller.caller);
    if let Some((token, used)) = used {
        context.usage.note_token(token, &used);
    }
    verification
}

async fn decided(context: &Context, caller: &Authenticated, question: Verify) -> Result<Decided, Refusal> {
    let Verify { token, resource, required_scopes, client_address, min_revision, fully_consistent: _ } = question;
    let keys = context.store.keys();
    // What we did not mint costs neither the database nor us more than a hash.
    let presented = match keys.authenticate(token.expose()) {
        Ok(presented) => presented,
        Err(NotAuthentic::Unrecognized) => return Ok(unrecognized()),
        Err(NotAuthentic::KeyLacked(kid)) => return Err(Refusal::KeyNotAtHand(kid)),
    };
    // One snapshot of the token and of whoever asks: a verdict is for callers that are still served.
    let found = context.store.presented_token_to(presented.id(), &caller.reference()).await?;
    let Some((PresentedToken { token, circumstances, now, revision }, asking)) = found else {
        return Ok(unrecognized());
    };
    if let Err(ended) = caller.check(&asking) {
        return Err(ended.refusal(&context.store).await);
    }
    let token = match keys.recognize(&presented, token) {
        Ok(token) if caller.caller.workspaces.includes(&token.name.workspace) => token,
        Ok(_) | Err(Unrecognized) => return Ok(unrecognized()),
    };
    // Only now: a refusal would tell that there is such a token.
    reaches(revision, min_revision)?;
    let verdict =
        decide(&token, &circumstances, &context.catalog, &Question { resource: &resource, required_scopes, client_address, now });
    let expiry = token.expiry(&circumstances);
    if let (Verdict::Deny(Denial::Expired), Some(end)) = (verdict, expiry.time()) {
        // A clock set back later must not revive what was told to be over.
        context.store.raise_time_floor(end).await?;
    }
    let used = TokenUse { at: now, address: client_address, asked: required_scopes };
    Ok(Decided {
        used: (verdict == Verdict::Allow).then_some((presented.id(), used)),
        verification: Verification { verdict, known: Some(KnownToken { token: token.into_inner(), expiry, now, revision }) },
    })
}

/// The one answer for whatever the caller may not know of. It tells no revision either: the answers must not differ.
const fn unrecognized() -> Decided {
    Decided { verification: Verification { verdict: Verdict::Deny(Denial::Unrecognized), known: None }, used: None }
}

/// Refuses to answer from a state older than the caller has seen. The database is always the newest state there is, so that this
/// happens only when an old one was put back without a new epoch.
fn reaches(revision: Revision, wanted: Option<Revision>) -> Result<(), Refusal> {
    match wanted {
        Some(wanted) if wanted.epoch == revision.epoch && wanted.number > revision.number => Err(Refusal::RevisionNotReached),
        _ => Ok(()),
    }
}
