//! The streams of clients that keep a cache of their own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokend_core::{
    feed::{FeedEntry, Revision},
    lease::Subject,
    name::{CallerId, OrganizationId, WorkspaceId},
    rule::{self, Rule},
};
use tokend_store::{Store, StoreError};
use tokio::sync::{OnceCell, mpsc};

/// The most messages that wait for one stream. A stream that is slower is cut, and its client begins another one (S6).
const MAX_QUEUED: usize = 256;

/// The open streams.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    streams: Mutex<Streams>,
}

/// The open streams, while nothing is applied.
#[derive(Debug, Default)]
pub(super) struct Streams {
    last: u64,
    open: HashMap<u64, Stream>,
}

#[derive(Debug)]
struct Stream {
    caller: CallerId,
    /// Dropping it ends the stream.
    queue: mpsc::Sender<Arc<News>>,
}

/// What a stream has to send before its next pong.
#[derive(Debug)]
pub(crate) enum News {
    /// Something changed.
    Outdated(Outdated),
    /// The client has to begin anew.
    Resync,
}

/// What a change made outdated.
#[derive(Debug)]
pub(crate) struct Outdated {
    /// The revision of the change.
    pub(crate) revision: Revision,
    /// What it was about.
    pub(crate) subjects: Vec<Subject>,
    /// The workspaces of the organizations among them. The first stream that needs them reads them for all.
    workspaces: OnceCell<Vec<WorkspaceId>>,
}

/// A stream's end of its queue. Dropping it takes the stream off the list.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) news: mpsc::Receiver<Arc<News>>,
    id: u64,
    watchers: Arc<super::Shared>,
}

impl News {
    /// Returns the news of an entry of the feed.
    pub(crate) fn outdated(entry: &FeedEntry) -> Self {
        Self::Outdated(Outdated {
            revision: entry.revision,
            subjects: entry.subjects.clone(),
            workspaces: OnceCell::new(),
        })
    }
}

impl Outdated {
    /// Returns the workspaces of the organizations that the change was about.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn workspaces(&self, store: &Store) -> Result<&[WorkspaceId], StoreError> {
        let read = || async {
            let mut workspaces = Vec::new();
            for organization in self.organizations() {
                workspaces.extend(store.workspaces_of(organization).await?);
            }
            Ok(workspaces)
        };
        self.workspaces.get_or_try_init(read).await.map(Vec::as_slice)
    }

    /// Returns the organizations that the change was about.
    pub(crate) fn organizations(&self) -> impl Iterator<Item = &OrganizationId> {
        self.subjects.iter().filter_map(|subject| match subject {
            Subject::Organization(id) => Some(id),
            _ => None,
        })
    }
}

impl Watchers {
    /// Keeps streams from beginning, and changes from being applied, until the guard is dropped.
    pub(super) fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of open streams.
    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }
}

impl Streams {
    /// Opens a stream for a caller. It gets everything that is applied from now on.
    pub(super) fn open(&mut self, caller: CallerId, watchers: Arc<super::Shared>) -> Watching {
        let cuts_slow = rule::is_kept(Rule::SlowStreamIsCut);
        let (queue, news) = mpsc::channel(if cuts_slow { MAX_QUEUED } else { 1 });
        self.last += 1;
        self.open.insert(self.last, Stream { caller, queue });
        Watching {
            news,
            id: self.last,
            watchers,
        }
    }

    /// Tells every stream what a change made outdated. Cuts the streams of callers that it was about, and those that are
    /// too slow.
    pub(super) fn forward(&mut self, entry: &FeedEntry) {
        if entry.subjects.is_empty() || self.open.is_empty() {
            return;
        }
        let callers: Vec<_> = entry
            .subjects
            .iter()
            .filter_map(|subject| match subject {
                Subject::Caller(id) => Some(id),
                _ => None,
            })
            .collect();
        let news = Arc::new(News::outdated(entry));
        self.open.retain(|_, stream| {
            let is_told = stream.queue.try_send(Arc::clone(&news)).is_ok();
            // The caller may have lost the key with which it began the stream. It has to authenticate anew.
            let is_cut = callers.contains(&&stream.caller) && rule::is_kept(Rule::CutCallerBeforeRenew);
            (is_told || !rule::is_kept(Rule::SlowStreamIsCut)) && !is_cut
        });
    }

    /// Tells every stream to begin anew.
    pub(super) fn resync(&mut self) {
        let news = Arc::new(News::Resync);
        self.open
            .retain(|_, stream| stream.queue.try_send(Arc::clone(&news)).is_ok());
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watchers.memory.watchers.lock().open.remove(&self.id);
    }
}
