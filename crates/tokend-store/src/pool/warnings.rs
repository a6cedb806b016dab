//! Captures the warnings that a server sends while a statement runs.
//!
//! PostgreSQL acknowledges a COMMIT whose wait for a synchronous standby was cancelled, and a BEGIN or ROLLBACK without
//! effect, with a warning instead of an error. The driver only logs warnings. So this module listens to the log while a
//! future runs, and passes all events on to the subscriber that would receive them otherwise.

use std::{
    cell::RefCell,
    fmt,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::{self, DefaultGuard},
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

/// The target under which the driver logs a server's messages.
const NOTICE: &str = "sqlx::postgres::notice";

/// Runs `work`, and returns its result with the last warning that the server sent meanwhile.
pub(super) async fn watched<F: Future>(work: F) -> (F::Output, Option<String>) {
    Watched {
        work: Box::pin(work),
        warning: None,
    }
    .await
}

struct Watched<F> {
    work: Pin<Box<F>>,
    warning: Option<String>,
}

impl<F: Future> Future for Watched<F> {
    type Output = (F::Output, Option<String>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let listening = Listening::begin();
        let polled = self.work.as_mut().poll(cx);
        if let Some(warning) = listening.end() {
            self.warning = Some(warning);
        }
        polled.map(|output| (output, self.warning.take()))
    }
}

thread_local! {
    static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// The state of this thread's listener.
struct Heard {
    /// The subscriber that receives the events otherwise.
    outer: Dispatch,
    warning: Option<String>,
}

/// Makes this thread listen until it is dropped.
struct Listening {
    before: Option<Heard>,
    _scope: DefaultGuard,
}

impl Listening {
    fn begin() -> Self {
        // One for the process, because every new subscriber makes `tracing` evaluate all callsites again.
        static LISTENER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Listener));
        let outer = dispatcher::get_default(Dispatch::clone);
        let before = HEARD.replace(Some(Heard { outer, warning: None }));
        Self {
            before,
            _scope: dispatcher::set_default(&LISTENER),
        }
    }

    fn end(mut self) -> Option<String> {
        HEARD.replace(self.before.take())?.warning
    }
}

struct Listener;

impl Listener {
    fn outer<T>(&self, f: impl FnOnce(&Dispatch) -> T) -> T {
        let outer = HEARD.with_borrow(|heard| heard.as_ref().map_or_else(Dispatch::none, |heard| heard.outer.clone()));
        f(&outer)
    }
}

fn is_warning(metadata: &Metadata<'_>) -> bool {
    metadata.target() == NOTICE && *metadata.level() <= Level::WARN
}

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_warning(metadata) {
            Interest::always()
        } else {
            Interest::sometimes()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_warning(metadata) || self.outer(|outer| outer.enabled(metadata))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        if is_warning(event.metadata()) {
            let mut message = Message(String::new());
            event.record(&mut message);
            HEARD.with_borrow_mut(|heard| {
                if let Some(heard) = heard {
                    heard.warning = Some(message.0);
                }
            });
        }
        self.outer(|outer| {
            if outer.enabled(event.metadata()) {
                outer.event(event);
            }
        });
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.outer(|outer| outer.new_span(span))
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        self.outer(|outer| outer.record(span, values));
    }

    fn record_follows_from(&self, span: &span::Id, follows: &span::Id) {
        self.outer(|outer| outer.record_follows_from(span, follows));
    }

    fn enter(&self, span: &span::Id) {
        self.outer(|outer| outer.enter(span));
    }

    fn exit(&self, span: &span::Id) {
        self.outer(|outer| outer.exit(span));
    }

    fn clone_span(&self, span: &span::Id) -> span::Id {
        self.outer(|outer| outer.clone_span(span))
    }

    fn try_close(&self, span: span::Id) -> bool {
        self.outer(|outer| outer.try_close(span))
    }
}

/// The text of an event.
struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    fn run<F: Future>(work: F) -> (F::Output, Option<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime starts");
        runtime.block_on(watched(work))
    }

    #[test]
    fn only_warnings_of_the_server_are_captured() {
        let ((), captured) = run(async {
            tracing::warn!("of ours");
            tracing::info!(target: NOTICE, "no warning");
            tokio::task::yield_now().await;
            tracing::warn!(target: NOTICE, "canceling wait");
            tokio::task::yield_now().await;
        });
        assert_eq!(captured.as_deref(), Some("canceling wait"));
        let ((), captured) = run(async { tracing::warn!("of ours") });
        assert_eq!(captured, None);
    }

    /// Counts the events of one target.
    struct Counter(Arc<AtomicU32>);

    impl Subscriber for Counter {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == NOTICE
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn other_subscribers_still_receive_everything() {
        let count = Arc::new(AtomicU32::new(0));
        let ((), captured) = dispatcher::with_default(&Dispatch::new(Counter(Arc::clone(&count))), || {
            run(async {
                tracing::warn!(target: NOTICE, "a warning");
                tracing::error!(target: NOTICE, "an error");
                tracing::warn!("not what it listens to");
            })
        });
        assert_eq!(captured.as_deref(), Some("an error"));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
