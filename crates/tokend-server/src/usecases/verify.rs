//! Verify and BatchVerify: may this token do this, here, now?

use std::{borrow::Borrow, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use smallvec::SmallVec;
use tokend_core::{
    caller::Caller,
    credential::{CredentialId, Recognized},
    feed::Revision,
    rule::{self, Rule},
    time::Timestamp,
    token::{Expiry, Token, TokenContext, usage::TokenUse},
    verdict::{Denial, Question, Verdict, decide},
};
use tokend_proto::{
    request::token_verify::Verify,
    view::{KnownToken, Verification},
};

use super::Context;
use crate::{
    auth::CallContext,
    error::ServiceError,
    observability::request_span,
    verifier::{Freshness, RememberedToken, Trusted, VerifiedToken},
};

/// The number of questions of one batch that are looked up at once: few enough to leave connections to others.
const CONCURRENT_LOOK_UPS: usize = 4;

/// Answers one question.
pub(crate) async fn verify(
    context: &Context,
    call: &CallContext,
    question: Verify,
) -> Result<Verification, ServiceError> {
    let decided = decide_one(context, call, question).await?;
    if let Some(known) = &decided.verification.known {
        request_span::record_workspace(&known.token.name.workspace);
    }
    Ok(record(context, call, decided))
}

/// Answers several questions, each on its own. If one fails, the call fails.
pub(crate) async fn verify_each(
    context: &Context,
    call: &CallContext,
    questions: Vec<Verify>,
) -> Result<Vec<Verification>, ServiceError> {
    let each = questions
        .into_iter()
        .map(|question| decide_one(context, call, question));
    let decided: Vec<_> = stream::iter(each).buffered(CONCURRENT_LOOK_UPS).try_collect().await?;
    Ok(decided
        .into_iter()
        .map(|decided| record(context, call, decided))
        .collect())
}

/// A verdict, and the use of the token if the verdict is ALLOW.
struct Decided {
    verification: Verification,
    used: Option<(CredentialId, TokenUse)>,
}

/// Records a verdict's side effects, which are the counter of denials and the token's usage.
fn record(context: &Context, call: &CallContext, Decided { verification, used }: Decided) -> Verification {
    context.denied.note(verification.verdict, &call.caller);
    if let Some((token, used)) = used {
        context.usage.note_token(token, &used);
    }
    verification
}

/// Answers questions from memory alone, if each verdict is ALLOW, for a caller whom `memory` knows. `answer` is called
/// for each in turn. Whatever else the answers are, [`verify`] and [`verify_each`] find out.
pub(crate) fn allow_from_memory(
    context: &Context,
    memory: &Trusted<'_>,
    caller: &Caller,
    questions: &[Verify],
    mut answer: impl FnMut(&KnownToken<&Token>),
) -> Option<()> {
    let now = memory.now;
    let uses = questions.iter().map(|question| {
        let token = allow_one(context, memory, caller, question, &mut answer)?;
        Some((token, used(question, now)))
    });
    // Only a call that is answered here counts here.
    let uses: SmallVec<[_; 1]> = uses.collect::<Option<_>>()?;
    for (token, used) in &uses {
        memory.count_look_up();
        context.usage.note_token(*token, used);
    }
    Some(())
}

fn allow_one(
    context: &Context,
    memory: &Trusted<'_>,
    caller: &Caller,
    question: &Verify,
    answer: impl FnOnce(&KnownToken<&Token>),
) -> Option<CredentialId> {
    if question.fully_consistent || question.min_revision.is_some() {
        return None;
    }
    let now = memory.now;
    memory.with_token(question.token.expose(), |RememberedToken { token, token_context }| {
        let Judged { verdict, expiry } = Judged::of(context, &token, token_context, now, question);
        let may_answer =
            verdict == Verdict::Allow && caller.workspaces.includes(&token.name.workspace) && memory.may_answer();
        if !may_answer {
            return None;
        }
        let token = token.into_inner();
        answer(&KnownToken {
            token,
            expiry,
            now,
            revision: memory.revision(),
            cacheable_for: memory.cacheable_for(),
        });
        Some(token.name.id)
    })
}

/// Returns the use of a token that a verdict of ALLOW stands for.
fn used(question: &Verify, now: Timestamp) -> TokenUse {
    TokenUse {
        at: now,
        address: question.client_address,
        asked: question.required_scopes,
    }
}

async fn decide_one(context: &Context, call: &CallContext, question: Verify) -> Result<Decided, ServiceError> {
    let min_revision = question
        .min_revision
        .filter(|_| rule::is_kept(Rule::MinRevisionReadsThrough));
    let presented = context.verifier.check(question.token.expose())?;
    let mut freshness = Freshness {
        fully_consistent: question.fully_consistent,
        min_revision,
    };
    loop {
        let verified = context
            .verifier
            .token_for(&presented, &call.authenticated(), freshness)
            .await?;
        // A token of another workspace is answered exactly as one that does not exist.
        let verified = verified
            .verified()
            .filter(|verified| call.caller.workspaces.includes(&verified.token.name.workspace));
        let Some(verified) = verified else {
            return Ok(unrecognized());
        };
        // The check comes late, because its error reveals that the token exists.
        check_revision(verified.revision, min_revision)?;
        let VerifiedToken {
            token,
            token_context,
            now,
            ..
        } = &verified;
        let judged = Judged::of(context, token, token_context, *now, &question);
        if let (Verdict::Deny(Denial::Expired), Some(end)) = (judged.verdict, judged.expiry.time()) {
            context.verifier.note_expired(end).await?;
        }
        if context.verifier.may_answer(&verified) {
            return Ok(judged.answer(context, verified, &question));
        }
        // The lease has ended while the answer was made.
        freshness.fully_consistent = true;
    }
}

/// A verdict on a token, and when the token ends.
struct Judged {
    verdict: Verdict,
    expiry: Expiry,
}

impl Judged {
    fn of(
        context: &Context,
        token: &Recognized<impl Borrow<Token>>,
        token_context: &TokenContext,
        now: Timestamp,
        question: &Verify,
    ) -> Self {
        let question = Question {
            resource: &question.resource,
            required_scopes: question.required_scopes,
            client_address: question.client_address,
            now,
        };
        let expiry = (**token).borrow().expiry(token_context);
        Self {
            verdict: decide(token, token_context, &context.catalog, &question),
            expiry,
        }
    }

    fn answer(self, context: &Context, verified: VerifiedToken, question: &Verify) -> Decided {
        let Self { verdict, expiry } = self;
        let cacheable_for = match verdict {
            Verdict::Allow => context.verifier.cacheable_for(&verified),
            Verdict::Deny(_) => Duration::ZERO,
        };
        let VerifiedToken {
            token, now, revision, ..
        } = verified;
        Decided {
            used: (verdict == Verdict::Allow).then(|| (token.name.id, used(question, now))),
            verification: Verification {
                verdict,
                known: Some(KnownToken {
                    token: token.into_inner(),
                    expiry,
                    now,
                    revision,
                    cacheable_for,
                }),
            },
        }
    }
}

/// Returns the answer for every token that does not exist for the caller. It has no revision, so that all such answers
/// are the same.
const fn unrecognized() -> Decided {
    Decided {
        verification: Verification {
            verdict: Verdict::Deny(Denial::Unrecognized),
            known: None,
        },
        used: None,
    }
}

/// Refuses to answer from a state that is older than one that the caller has seen. The database has the newest state,
/// so this happens only after an older one was restored without a new epoch.
fn check_revision(revision: Revision, wanted: Option<Revision>) -> Result<(), ServiceError> {
    match wanted {
        Some(wanted) if wanted.epoch == revision.epoch && wanted.number > revision.number => {
            Err(ServiceError::RevisionNotReached)
        }
        _ => Ok(()),
    }
}
