//! Tracks whether a connection is still in use, for the decision to drop it.
//!
//! hyper spawns one task per request, which lives until the response has been handed over: counting those tasks counts
//! the requests in flight. Bytes are watched too, because the end of a response may still be on its way when its task
//! is done.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::sleep;

/// The activity of one connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    in_flight: AtomicUsize,
    moved: AtomicBool,
}

impl Activity {
    /// Records that a byte was read or written.
    pub(super) fn moved(&self) {
        self.0.moved.store(true, Ordering::Relaxed);
    }

    /// Completes when no byte has moved for `period` and no request is in flight.
    pub(super) async fn quiet(&self, period: Duration) {
        loop {
            self.0.moved.store(false, Ordering::Relaxed);
            sleep(period).await;
            let moved = self.0.moved.load(Ordering::Relaxed);
            if !moved && self.0.in_flight.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

/// Spawns hyper's request tasks on the worker's runtime, and counts them.
impl<F> Executor<F> for Activity
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, request: F) {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        let counted = InFlight {
            request,
            _counted: Counted(self.clone()),
        };
        tokio::spawn(counted);
    }
}

pin_project_lite::pin_project! {
    /// A request's task, counted until it ends, panics or is dropped.
    struct InFlight<F> {
        #[pin]
        request: F,
        _counted: Counted,
    }
}

impl<F: Future> Future for InFlight<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().request.poll(cx)
    }
}

struct Counted(Activity);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_is_not_quiet() {
        let activity = Activity::default();
        let (finish, finished) = oneshot::channel::<()>();
        activity.execute(async { finished.await.is_ok() });
        assert!(timeout(PERIOD * 60, activity.quiet(PERIOD)).await.is_err());
        finish.send(()).expect("the request runs");
        assert!(timeout(PERIOD * 2, activity.quiet(PERIOD)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn moving_bytes_are_not_quiet() {
        let activity = Activity::default();
        let talk = async {
            loop {
                activity.moved();
                sleep(PERIOD / 2).await;
            }
        };
        tokio::select! {
            () = talk => {}
            quiet = timeout(PERIOD * 60, activity.quiet(PERIOD)) => assert!(quiet.is_err()),
        }
        assert!(timeout(PERIOD * 3, activity.quiet(PERIOD)).await.is_ok());
    }
}
