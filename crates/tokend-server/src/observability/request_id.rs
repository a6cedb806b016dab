//! The id of a request: the same in its log lines and in the answer to its client.

use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use uuid::Uuid;

/// Identifies one request. Every request carries its id as an extension.
///
/// Ids count up from a random one that the process draws once. So an id is two numbers, costs no random bytes, and is
/// formatted only where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(Uuid);

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The bits of a UUID's second half that count. The two highest are its variant (RFC 9562, section 4.1).
const COUNTED: u64 = u64::MAX >> 2;

impl RequestId {
    /// Returns an id that no other request has.
    pub(crate) fn next() -> Self {
        static FIRST: LazyLock<(u64, u64)> = LazyLock::new(|| Uuid::now_v7().as_u64_pair());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (high, low) = *FIRST;
        let counted = low.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)) & COUNTED;
        Self(Uuid::from_u64_pair(high, low & !COUNTED | counted))
    }

    /// Returns the id of the request that is being served, or a new id outside of requests.
    pub(crate) fn current() -> Self {
        CURRENT.try_with(|id| *id).unwrap_or_else(|_| Self::next())
    }

    /// Makes this the current id while `future` runs.
    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Makes this the current id while `work` runs.
    pub(crate) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Variant;

    use super::*;

    #[test]
    fn ids_are_uuids_and_no_two_are_the_same() {
        let ids: Vec<_> = (0..1_000).map(|_| RequestId::next()).collect();
        for RequestId(id) in &ids {
            assert_eq!((id.get_version_num(), id.get_variant()), (7, Variant::RFC4122), "{id}");
        }
        assert_eq!(
            ids.iter().map(ToString::to_string).collect::<HashSet<_>>().len(),
            ids.len()
        );
    }

    #[tokio::test]
    async fn the_current_id_is_that_of_the_request() {
        let id = RequestId::next();
        assert_eq!(id.scope(async { RequestId::current() }).await, id);
        assert_eq!(id.sync_scope(RequestId::current), id);
        assert_ne!(RequestId::current(), id);
    }
}
