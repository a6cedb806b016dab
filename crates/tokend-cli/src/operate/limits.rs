//! The `[limits]` table of the settings file. Meanings and defaults are documented where the limits are used:
//! [`tokend_server::limits`], [`tokend_server::transport`], [`tokend_store::StoreSettings`]. `deploy/tokend.toml` lists
//! them for operators.

use std::{
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    time::Duration,
};

use serde::Deserialize;
use tokend_server::{limits::Limits, transport::TransportSettings};

/// The limits. Times are in milliseconds. Zero is rejected: it could mean no limit or no service.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    // Connections.
    workers: Option<NonZeroUsize>,
    max_connections: Option<NonZeroUsize>,
    max_unauthenticated: Option<NonZeroUsize>,
    max_unauthenticated_per_source: Option<NonZeroUsize>,
    preface_timeout_ms: Option<NonZeroU64>,
    connection_age_ms: Option<NonZeroU64>,
    connection_age_jitter_percent: Option<u8>,
    connection_age_grace_ms: Option<NonZeroU64>,
    drain_ms: Option<NonZeroU64>,
    quiet_ms: Option<NonZeroU64>,
    keepalive_interval_ms: Option<NonZeroU64>,
    keepalive_timeout_ms: Option<NonZeroU64>,
    max_concurrent_streams: Option<NonZeroU32>,
    max_header_list_bytes: Option<NonZeroU32>,
    stream_window_bytes: Option<NonZeroU32>,
    connection_window_bytes: Option<NonZeroU32>,
    send_buffer_bytes: Option<NonZeroUsize>,
    max_local_error_reset_streams: Option<NonZeroUsize>,
    max_pending_accept_reset_streams: Option<NonZeroUsize>,
    // Calls.
    verify_deadline_ms: Option<NonZeroU64>,
    admin_deadline_ms: Option<NonZeroU64>,
    revocation_deadline_ms: Option<NonZeroU64>,
    body_deadline_ms: Option<NonZeroU64>,
    max_in_flight_per_connection: Option<NonZeroUsize>,
    max_in_flight: Option<NonZeroUsize>,
    max_revocations_in_flight: Option<NonZeroUsize>,
    max_streams: Option<NonZeroUsize>,
    max_health_watches: Option<NonZeroUsize>,
    max_health_watches_per_source: Option<NonZeroUsize>,
    failed_authentications: Option<NonZeroU32>,
    failed_authentications_forgiven_per_minute: Option<NonZeroU32>,
    // Memory.
    max_cache_bytes: Option<NonZeroUsize>,
    // The database.
    database_connections: Option<NonZeroU32>,
    reserved_database_connections: Option<NonZeroU32>,
    list_database_connections: Option<NonZeroU32>,
    max_lists: Option<NonZeroU32>,
    max_waiting: Option<NonZeroU32>,
    pool_wait_ms: Option<NonZeroU64>,
    connect_timeout_ms: Option<NonZeroU64>,
    write_wait_ms: Option<NonZeroU64>,
    lock_timeout_ms: Option<NonZeroU64>,
    statement_timeout_ms: Option<NonZeroU64>,
}

impl Table {
    /// Overrides the defaults with the limits that are set. Ranges are checked where the limits are used.
    pub(super) fn apply(
        self,
        transport: &mut TransportSettings,
        limits: &mut Limits,
        store: &mut tokend_store::StoreSettings,
    ) {
        let Self {
            workers,
            max_connections,
            max_unauthenticated,
            max_unauthenticated_per_source,
            preface_timeout_ms,
            connection_age_ms,
            connection_age_jitter_percent,
            connection_age_grace_ms,
            drain_ms,
            quiet_ms,
            keepalive_interval_ms,
            keepalive_timeout_ms,
            max_concurrent_streams,
            max_header_list_bytes,
            stream_window_bytes,
            connection_window_bytes,
            send_buffer_bytes,
            max_local_error_reset_streams,
            max_pending_accept_reset_streams,
            verify_deadline_ms,
            admin_deadline_ms,
            revocation_deadline_ms,
            body_deadline_ms,
            max_in_flight_per_connection,
            max_in_flight,
            max_revocations_in_flight,
            max_streams,
            max_health_watches,
            max_health_watches_per_source,
            failed_authentications,
            failed_authentications_forgiven_per_minute,
            max_cache_bytes,
            database_connections,
            reserved_database_connections,
            list_database_connections,
            max_lists,
            max_waiting,
            pool_wait_ms,
            connect_timeout_ms,
            write_wait_ms,
            lock_timeout_ms,
            statement_timeout_ms,
        } = self;
        set(&mut transport.workers, workers);
        set(&mut transport.max_connections, max_connections);
        set(&mut transport.max_unauthenticated, max_unauthenticated);
        set(
            &mut transport.max_unauthenticated_per_source,
            max_unauthenticated_per_source,
        );
        set_ms(&mut transport.preface_timeout, preface_timeout_ms);
        set_ms(&mut transport.connection_age, connection_age_ms);
        set(
            &mut transport.connection_age_jitter_percent,
            connection_age_jitter_percent,
        );
        set_ms(&mut transport.connection_age_grace, connection_age_grace_ms);
        set_ms(&mut transport.drain, drain_ms);
        set_ms(&mut transport.quiet, quiet_ms);
        set_ms(&mut transport.keepalive_interval, keepalive_interval_ms);
        set_ms(&mut transport.keepalive_timeout, keepalive_timeout_ms);
        set(&mut transport.max_concurrent_streams, max_concurrent_streams);
        set(&mut transport.max_header_list_bytes, max_header_list_bytes);
        set(&mut transport.stream_window_bytes, stream_window_bytes);
        set(&mut transport.connection_window_bytes, connection_window_bytes);
        set(&mut transport.send_buffer_bytes, send_buffer_bytes);
        set(
            &mut transport.max_local_error_reset_streams,
            max_local_error_reset_streams,
        );
        set(
            &mut transport.max_pending_accept_reset_streams,
            max_pending_accept_reset_streams,
        );
        set_ms(&mut limits.verify_deadline, verify_deadline_ms);
        set_ms(&mut limits.admin_deadline, admin_deadline_ms);
        set_ms(&mut limits.revocation_deadline, revocation_deadline_ms);
        set_ms(&mut limits.body_deadline, body_deadline_ms);
        set(&mut limits.max_in_flight_per_connection, max_in_flight_per_connection);
        set(&mut limits.max_in_flight, max_in_flight);
        set(&mut limits.max_revocations_in_flight, max_revocations_in_flight);
        set(&mut limits.max_streams, max_streams);
        set(&mut limits.max_health_watches, max_health_watches);
        set(&mut limits.max_health_watches_per_source, max_health_watches_per_source);
        set(&mut limits.failed_authentications, failed_authentications);
        set(
            &mut limits.failed_authentications_forgiven_per_minute,
            failed_authentications_forgiven_per_minute,
        );
        set(&mut limits.max_cache_bytes, max_cache_bytes);
        set(&mut store.max_connections, database_connections);
        set(&mut store.reserved_connections, reserved_database_connections);
        set(&mut store.list_connections, list_database_connections);
        set(&mut store.max_lists, max_lists);
        set(&mut store.max_waiting, max_waiting);
        set_ms(&mut store.pool_wait, pool_wait_ms);
        set_ms(&mut store.connect_timeout, connect_timeout_ms);
        set_ms(&mut store.write_wait, write_wait_ms);
        set_ms(&mut store.lock_timeout, lock_timeout_ms);
        set_ms(&mut store.statement_timeout, statement_timeout_ms);
    }
}

fn set<T>(limit: &mut T, wanted: Option<impl Into<T>>) {
    if let Some(wanted) = wanted {
        *limit = wanted.into();
    }
}

fn set_ms(limit: &mut Duration, wanted: Option<NonZeroU64>) {
    set(limit, wanted.map(|ms| Duration::from_millis(ms.get())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::config::parse;

    const EXAMPLE: &str = include_str!("../../../../deploy/tokend.toml");

    fn applied(text: &str) -> (TransportSettings, Limits, tokend_store::StoreSettings) {
        let mut all = (
            TransportSettings::default(),
            Limits::default(),
            tokend_store::StoreSettings::new("sqlite://x"),
        );
        let file = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        file.limits.apply(&mut all.0, &mut all.1, &mut all.2);
        all
    }

    /// Returns the lines that set something, commented out or not.
    fn settings_of(text: &str) -> Vec<&str> {
        let lines = text.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
        lines
            .filter(|line| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
            .collect()
    }

    #[test]
    fn the_example_file_sets_nothing_and_shows_the_defaults() {
        let defaults = format!("{:#?}{:?}", applied("").0, applied("").1);
        let store = applied("").2;
        for text in [EXAMPLE.to_owned(), settings_of(EXAMPLE).join("\n")] {
            // The default is the number of cores, which depends on the machine.
            let text = text
                .lines()
                .filter(|line| !line.starts_with("workers"))
                .collect::<Vec<_>>()
                .join("\n");
            let found = applied(&text);
            assert_eq!(format!("{:#?}{:?}", found.0, found.1), defaults);
            assert!(found.2 == store, "the database's");
        }
    }

    #[test]
    fn the_example_file_shows_every_limit() {
        // The error about an unknown key lists the known ones.
        let error = parse("[limits]\nno_such_limit = 1").expect_err("unknown");
        let known: Vec<_> = error.split('`').skip(3).step_by(2).collect();
        assert!(known.len() > 30, "{known:?}");
        let (_, shown) = EXAMPLE.split_once("[limits]").expect("the table");
        for limit in known {
            assert!(shown.contains(&format!("\n# {limit} = ")), "{limit}");
        }
    }

    #[test]
    fn limits_that_are_set_are_applied() {
        let (transport, limits, store) = applied(
            "[limits]\nmax_connections = 7\nverify_deadline_ms = 1500\nmax_in_flight = 3\n\
             reserved_database_connections = 5\nstatement_timeout_ms = 250",
        );
        assert_eq!(transport.max_connections, 7);
        assert_eq!(
            (limits.verify_deadline, limits.max_in_flight),
            (Duration::from_millis(1_500), 3)
        );
        assert_eq!(
            (store.reserved_connections, store.statement_timeout),
            (5, Duration::from_millis(250))
        );
    }

    #[test]
    fn zero_is_rejected_with_a_line_number() {
        let error = parse("[limits]\nmax_streams = 0").expect_err("zero");
        assert!(error.starts_with("line 2: "), "{error}");
    }
}
