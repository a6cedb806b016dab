//! Watch: keeps the cache of a client up to date, and gives it leases.

use std::{sync::Arc, time::Duration};

use tokend_core::{
    caller::Caller,
    feed::Revision,
    lease::Subject,
    name::TokenName,
    rule::{self, Rule},
    token::usage::TokenUse,
};
use tokend_proto::{
    request::watch::{Ping, ReportedUse, WatchMessage},
    view::{Outdated, Pong, WatchUpdate},
};
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    auth::{Authenticated, CallContext},
    error::ServiceError,
    verifier::watchers::{News, Watching},
};

/// One stream of one client.
pub(crate) struct Watch {
    context: Arc<Context>,
    caller: Authenticated,
    watching: Watching,
    /// Everything after this revision comes through the queue.
    begin: Revision,
    /// Whether the client's first message has not come yet.
    is_fresh: bool,
    stop: CancellationToken,
}

/// What a watch waits for.
pub(crate) enum Happened {
    /// Something was applied.
    News(Arc<News>),
    /// The stream was cut.
    Cut,
    /// The server shuts down.
    Stopped,
}

/// The most revisions that are replayed. Whoever missed more begins anew.
const MAX_REPLAYED: u64 = 10_000;

impl Watch {
    /// Begins to watch. The watch ends with `stop`.
    pub(crate) fn begin(context: &Arc<Context>, call: &CallContext, stop: CancellationToken) -> Self {
        let (watching, begin) = context.verifier.watch(call.caller.id.clone());
        Self {
            context: Arc::clone(context),
            caller: call.authenticated(),
            watching,
            begin,
            is_fresh: true,
            stop,
        }
    }

    /// Waits until something happens that the client has not asked for. Loses nothing if it is cancelled.
    pub(crate) async fn happened(&mut self) -> Happened {
        match self.stop.run_until_cancelled(self.watching.news.recv()).await {
            None => Happened::Stopped,
            Some(None) => Happened::Cut,
            Some(Some(news)) => {
                if !rule::is_kept(Rule::PongAfterInvalidations) {
                    tokio::time::sleep(rule::WINDOW).await;
                }
                Happened::News(news)
            }
        }
    }

    /// Returns what to tell the client, or `None` if the stream ends because the server shuts down.
    ///
    /// # Errors
    /// [`ServiceError::InvalidCredential`] if the caller is no longer served; [`ServiceError::Overloaded`] if the client
    /// reads too slowly; [`ServiceError::Storage`].
    pub(crate) async fn tell(&mut self, happened: Happened) -> Result<Option<WatchUpdate>, ServiceError> {
        let mut update = WatchUpdate::default();
        match happened {
            Happened::News(news) => self.add(&news, &mut update).await?,
            Happened::Cut => return Err(self.cut().await),
            Happened::Stopped => return Ok(None),
        }
        self.add_queued(&mut update).await?;
        Ok(Some(update))
    }

    /// Answers a message of the client.
    ///
    /// # Errors
    /// As of [`tell`](Self::tell).
    pub(crate) async fn message(&mut self, message: WatchMessage) -> Result<WatchUpdate, ServiceError> {
        let WatchMessage { resume, ping, uses } = message;
        let mut update = WatchUpdate::default();
        if let (true, Some(resume)) = (std::mem::take(&mut self.is_fresh), resume) {
            self.resume(resume, &mut update).await?;
        }
        self.record(uses).await?;
        if let Some(ping) = ping {
            update.pong = Some(self.pong(ping, &mut update).await?);
        }
        Ok(update)
    }

    /// Replays what the client has missed since `resume`, or tells it to begin anew (S3).
    async fn resume(&self, resume: Revision, update: &mut WatchUpdate) -> Result<(), ServiceError> {
        if !rule::is_kept(Rule::ResumeReplays) {
            return Ok(());
        }
        let missed = self.begin.number.saturating_sub(resume.number);
        if resume.epoch != self.begin.epoch || missed > MAX_REPLAYED {
            update.resync_required = true;
            return Ok(());
        }
        let store = self.context.store.feed();
        let mut after = resume.number;
        while after < self.begin.number {
            let page = store.poll_feed(after).await?;
            let Some(last) = page.entries.last().map(|entry| entry.revision.number) else {
                update.resync_required = true;
                return Ok(());
            };
            let is_gapless = page.is_gapless_after(after) || !rule::is_kept(Rule::OldResumeResyncs);
            if page.head.epoch != self.begin.epoch || !is_gapless {
                update.resync_required = true;
                return Ok(());
            }
            for entry in &page.entries {
                let news = News::outdated(entry);
                self.add(&news, update).await?;
            }
            after = last;
        }
        let is_own = |(outdated, _): &(Outdated, Revision)| matches!(outdated, Outdated::Caller(_));
        if update.outdated.iter().any(is_own) {
            *update = WatchUpdate {
                resync_required: true,
                ..WatchUpdate::default()
            };
        }
        Ok(())
    }

    /// Renews the client's lease, after everything up to the revision of the pong (S1). It is an answer to the caller,
    /// who must still be served (S2).
    async fn pong(&mut self, ping: Ping, update: &mut WatchUpdate) -> Result<Pong, ServiceError> {
        // Each alone keeps the rule: this, that the client is told, and that its stream is cut before the lease is renewed.
        if rule::is_kept(Rule::CutCallerBeforeRenew) {
            self.context.verifier.check_served(&self.caller).await?;
        }
        let (lease, revision) = self.context.verifier.lease_for_watcher();
        // What is applied up to the revision was queued before it was read.
        if rule::is_kept(Rule::PongAfterInvalidations) {
            self.add_queued(update).await?;
        }
        Ok(Pong {
            number: ping.number,
            // A client that has to begin anew has nothing yet that a lease could be for.
            lease: if update.resync_required { Duration::ZERO } else { lease },
            revision,
        })
    }

    /// Adds everything that is queued.
    async fn add_queued(&mut self, update: &mut WatchUpdate) -> Result<(), ServiceError> {
        loop {
            match self.watching.news.try_recv() {
                Ok(news) => self.add(&news, update).await?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(self.cut().await),
            }
        }
    }

    /// Adds what the caller may know of a change.
    async fn add(&self, news: &News, update: &mut WatchUpdate) -> Result<(), ServiceError> {
        let change = match news {
            News::Outdated(change) => change,
            News::Resync => {
                // Whatever was outdated before is dropped with the rest.
                update.outdated.clear();
                update.resync_required = true;
                return Ok(());
            }
        };
        let caller = &self.caller.caller;
        for subject in &change.subjects {
            let outdated = match subject {
                Subject::Token(name) if sees(caller, subject) => Outdated::Token(name.clone()),
                Subject::Workspace(id) if sees(caller, subject) => Outdated::Workspace(id.clone()),
                Subject::Caller(id) if *id == caller.id && rule::is_kept(Rule::CutCallerBeforeRenew) => {
                    Outdated::Caller(id.clone())
                }
                Subject::Token(_) | Subject::Workspace(_) | Subject::Caller(_) => continue,
                // Told as its workspaces, below.
                Subject::Organization(_) => continue,
                // Clients cache no callers.
                Subject::Certificates => continue,
            };
            update.outdated.push((outdated, change.revision));
        }
        if change.organizations().next().is_some() {
            let store = self.context.store.lists();
            for workspace in change.workspaces(&store).await? {
                if caller.workspaces.includes(workspace) {
                    let outdated = Outdated::Workspace(workspace.clone());
                    update.outdated.push((outdated, change.revision));
                }
            }
        }
        Ok(())
    }

    /// Records uses of tokens that the caller may see. A use in the future is one of now.
    async fn record(&self, uses: Vec<ReportedUse>) -> Result<(), ServiceError> {
        let now = self.context.verifier.time();
        for ReportedUse { workspace, token, used } in uses {
            // The client names the workspace. Whether the token is in it, the client does not decide.
            if self.caller.caller.workspaces.includes(&workspace)
                && self
                    .context
                    .verifier
                    .has_token(&TokenName { workspace, id: token })
                    .await?
            {
                let used = TokenUse {
                    at: used.at.min(now),
                    ..used
                };
                self.context.usage.note_token(token, &used);
            }
        }
        Ok(())
    }

    /// Returns why the stream was cut.
    async fn cut(&self) -> ServiceError {
        match self.context.verifier.check_served(&self.caller).await {
            Ok(()) => ServiceError::Overloaded,
            Err(error) => error,
        }
    }
}

fn sees(caller: &Caller, subject: &Subject) -> bool {
    match subject {
        Subject::Token(name) => caller.workspaces.includes(&name.workspace),
        Subject::Workspace(id) => caller.workspaces.includes(id),
        Subject::Organization(_) | Subject::Caller(_) | Subject::Certificates => false,
    }
}
