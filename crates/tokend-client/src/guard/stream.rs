//! The task that keeps the memory up to date: it opens a Watch stream, pings, applies what the server sends, reports
//! uses, and opens another stream when one is cut.
//!
//! A cut stream keeps its memory until its lease has ended; then the memory is dropped (S6). Until then, the next
//! stream resumes the one that was cut.

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tonic::{Code, Status, Streaming};

use super::{
    Shared,
    memory::Memory,
    session::{Cut, Received, Session},
    stats::{StreamState, add},
    uses::Use,
};
use crate::{
    random,
    v1::{TokenUse, WatchRequest, WatchResponse},
};

/// How long a stream may take to open, and how long the server may be silent. Each ping has a pong.
const SILENCE: Duration = Duration::from_secs(10);
/// The pauses between attempts to open a stream.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The pause if the service has no Watch or refuses it.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// How often uses are reported. They are promised within 30 seconds.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// The most tokens in a report. A token has at most five uses, and a message has room for 1,000.
const TOKENS_IN_REPORT: usize = 200;
/// How long the last reports may take when the guard ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// The most messages that wait to be sent.
const QUEUE: usize = 16;

/// How a stream ended.
enum End {
    /// The guard is no longer used.
    Stop,
    /// The connection failed, or the server ended the stream. It can be resumed if there was a pong.
    Cut { cut: Option<Cut>, had_pong: bool },
    /// The server broke the protocol or the epoch changed. Nothing may be kept.
    Broken,
    /// The service has no Watch, or refuses it.
    Refused(Option<Cut>),
}

/// Keeps the memory up to date until `stop` changes or is dropped.
pub(super) async fn keep_up(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let (mut cut, mut pause) = (None, FIRST_PAUSE);
    loop {
        let wait = match one_stream(&shared, cut.take(), &mut stop).await {
            End::Stop => break,
            End::Cut {
                cut: of_stream,
                had_pong,
            } => {
                cut = of_stream;
                shared.counters.set_stream(StreamState::Connecting);
                if had_pong {
                    pause = FIRST_PAUSE;
                }
                pause
            }
            End::Broken => {
                shared.drop_memory();
                add(&shared.counters.resyncs, 1);
                shared.counters.set_stream(StreamState::Connecting);
                pause
            }
            End::Refused(of_stream) => {
                cut = of_stream;
                shared.counters.set_stream(StreamState::Refused);
                REFUSED_PAUSE
            }
        };
        pause = (pause * 2).min(LONGEST_PAUSE);
        let wait = wait.mul_f64(0.5 + random::fraction() / 2.0);
        if !wait_to_reconnect(&shared, &mut cut, wait, &mut stop).await {
            break;
        }
    }
    shared.drop_memory();
    shared.counters.set_stream(StreamState::Off);
}

/// Waits, and drops the memory of a cut stream when its lease has ended. Returns false if the guard is no longer used.
async fn wait_to_reconnect(
    shared: &Shared,
    cut: &mut Option<Cut>,
    wait: Duration,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    let until = shared.clock.boot_time().saturating_add(wait);
    loop {
        let now = shared.clock.boot_time();
        if cut.as_ref().is_some_and(|cut| cut.lease_left(now).is_zero()) {
            *cut = None;
            shared.drop_memory();
        }
        let left = until.saturating_since(now);
        if left.is_zero() {
            return true;
        }
        let nap = match cut {
            Some(cut) => left.min(cut.lease_left(now)),
            None => left,
        };
        tokio::select! {
            () = sleep(nap) => {}
            _ = stop.changed() => return false,
        }
    }
}

/// Opens a stream and follows it to its end.
async fn one_stream(shared: &Shared, cut: Option<Cut>, stop: &mut watch::Receiver<bool>) -> End {
    let mut session = Session::begin(cut, shared.max_bytes);
    let (outgoing, mut queued) = mpsc::channel(QUEUE);
    let first = WatchRequest {
        resume_revision: session.resumes(),
        ping: session.ping(shared.clock.boot_time()),
        uses: Vec::new(),
    };
    // The queue is empty, so there is room.
    let _ = outgoing.try_send(first);
    let mut client = shared.client.clone();
    let opening = client.watch(stream::poll_fn(move |context| queued.poll_recv(context)));
    let opened = tokio::select! {
        opened = timeout(SILENCE, opening) => opened,
        _ = stop.changed() => return End::Stop,
    };
    match opened {
        Ok(Ok(response)) => {
            add(&shared.counters.streams, 1);
            Stream {
                shared,
                session,
                outgoing,
                had_pong: false,
            }
            .follow(response.into_inner(), stop)
            .await
        }
        Ok(Err(status)) if is_refusal(&status) => End::Refused(session.cut()),
        Ok(Err(_)) | Err(_) => End::Cut {
            cut: session.cut(),
            had_pong: false,
        },
    }
}

/// Returns whether another attempt would soon be rejected in the same way.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated
    )
}

/// An open stream.
struct Stream<'a> {
    shared: &'a Shared,
    session: Session,
    outgoing: mpsc::Sender<WatchRequest>,
    had_pong: bool,
}

impl Stream<'_> {
    async fn follow(mut self, mut incoming: Streaming<WatchResponse>, stop: &mut watch::Receiver<bool>) -> End {
        let now = || self.shared.clock.boot_time();
        let (mut next_ping, mut next_report) = (now(), now().saturating_add(REPORT_INTERVAL));
        let mut silent_until = now().saturating_add(SILENCE);
        next_ping = next_ping.saturating_add(self.session.interval());
        loop {
            let now = self.shared.clock.boot_time();
            let until_ping = next_ping.saturating_since(now);
            let until_report = next_report.saturating_since(now);
            tokio::select! {
                _ = stop.changed() => return self.say_farewell(incoming).await,
                message = incoming.message() => match message {
                    Ok(Some(response)) => {
                        silent_until = now.max(self.shared.clock.boot_time()).saturating_add(SILENCE);
                        match self.session.receive(response, &self.shared.memory) {
                            Ok(received) => {
                                self.note(received);
                                // The pong may have said that leases are shorter than assumed.
                                let soon = self.shared.clock.boot_time().saturating_add(self.session.interval());
                                next_ping = next_ping.min(soon);
                            }
                            Err(_) => return End::Broken,
                        }
                    }
                    Ok(None) => return self.end(),
                    Err(status) if is_refusal(&status) => return End::Refused(self.session.cut()),
                    Err(_) => return self.end(),
                },
                () = sleep(until_ping) => {
                    let now = self.shared.clock.boot_time();
                    if silent_until <= now {
                        return self.end();
                    }
                    next_ping = now.saturating_add(self.session.interval());
                    self.ping();
                }
                () = sleep(until_report) => {
                    next_report = self.shared.clock.boot_time().saturating_add(REPORT_INTERVAL);
                    self.report();
                }
            }
        }
    }

    fn note(&mut self, received: Received) {
        if received.resync {
            add(&self.shared.counters.resyncs, 1);
        }
        if received.pong {
            self.had_pong = true;
            self.shared.counters.set_stream(StreamState::Open);
        }
    }

    fn ping(&mut self) {
        // The lease counts from before the message is queued.
        let ping = self.session.ping(self.shared.clock.boot_time());
        let request = WatchRequest {
            ping,
            ..WatchRequest::default()
        };
        if ping.is_some() && self.outgoing.try_send(request).is_err() {
            self.session.unsend();
        }
    }

    /// Queues reports while there is room for them and for a ping.
    fn report(&self) {
        while self.outgoing.capacity() > 1 && !self.shared.uses.is_empty() {
            let uses = self.shared.uses.take(TOKENS_IN_REPORT);
            add(&self.shared.counters.reported_uses, uses.len() as u64);
            let request = WatchRequest {
                uses: uses.into_iter().map(message).collect(),
                ..WatchRequest::default()
            };
            // There is room, and nobody else sends.
            let _ = self.outgoing.try_send(request);
        }
    }

    /// Sends what waits, ends the client's side of the stream, and waits for the server to end its side.
    async fn say_farewell(self, mut incoming: Streaming<WatchResponse>) -> End {
        let farewell = async {
            while !self.shared.uses.is_empty() {
                self.report();
                tokio::select! {
                    _ = self.outgoing.reserve_many(QUEUE) => {}
                    message = incoming.message() => if !matches!(message, Ok(Some(_))) { return },
                }
            }
            drop(self.outgoing);
            while let Ok(Some(_)) = incoming.message().await {}
        };
        let _ = timeout(FAREWELL, farewell).await;
        End::Stop
    }

    fn end(self) -> End {
        End::Cut {
            cut: self.session.cut(),
            had_pong: self.had_pong,
        }
    }
}

impl Shared {
    /// Forgets everything. What is verified until the next stream begins is cached for as long as each answer says.
    pub(super) fn drop_memory(&self) {
        self.memory.store(Arc::new(Memory::without_stream(self.max_bytes)));
    }
}

fn message(used: Use) -> TokenUse {
    let Use {
        token,
        time,
        address,
        scopes,
    } = used;
    let (seconds, nanos) = time.unix_seconds();
    TokenUse {
        token,
        time: Some(prost_types::Timestamp {
            seconds,
            nanos: nanos.cast_signed(),
        }),
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        scopes,
    }
}
