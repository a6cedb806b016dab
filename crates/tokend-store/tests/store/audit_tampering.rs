//! A verification of the audit log finds every tampering with stored records, heads and checkpoints.
//!
//! The test stores a history of a few chains once. Then it repeatedly tampers with it at random, verifies it and
//! restores it. `TOKEND_AUDIT_TAMPERINGS` sets the number of tamperings, `TOKEND_AUDIT_SEED` the seed. The results of
//! the full run are in `docs/audit-tampering.md`.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write as _},
};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokend_core::{
    audit::{Chain, Checkpoint, Event, EventType, Outcome, RowAfter},
    text::Reason,
    token::Revocation,
};
use tokend_store::{AuditReport, Insert, Store, StoreError, WriteTx};
use tokend_test_support::on_sqlite;

use crate::{
    random_tampering::{Random, TABLES, edit, event, head_edit, truncation},
    support::{Fixture, workspace, workspace_id},
};

on_sqlite!(sqlite_alone: unchanged_data_has_no_findings);

mod sqlite {
    /// The full run takes minutes.
    #[test]
    fn tampering_is_found() {
        let limit = std::time::Duration::from_secs(60 * 60);
        crate::support::run_within(limit, tokend_test_support::Storage::Sqlite, super::tampering_is_found);
    }
}

/// The number of tamperings, unless the environment sets it.
const TAMPERINGS: u64 = 200;

const SEED: u64 = 5;

const WORKSPACES: [&str; 3] = ["acme", "globex", "initech"];

async fn tampering_is_found(fixture: Fixture) {
    let number = |variable: &str, default| env::var(variable).map_or(default, |text| text.parse().expect("a number"));
    let (tamperings, seed) = (
        number("TOKEND_AUDIT_TAMPERINGS", TAMPERINGS),
        number("TOKEND_AUDIT_SEED", SEED),
    );
    let mut bench = Bench::of(&fixture).await;
    assert_eq!(bench.findings().await, [""; 0], "the history is intact");
    let (mut random, mut counts) = (Random(seed), BTreeMap::<&str, u64>::new());
    for number in 1..=tamperings {
        let (kind, what) = bench.tamper(&mut random).await;
        let findings = bench.findings().await;
        assert!(
            !findings.is_empty(),
            "not found: number {number} of seed {seed}: {kind}: {what}"
        );
        bench.restore().await;
        *counts.entry(kind).or_default() += 1;
    }
    assert_eq!(bench.findings().await, [""; 0], "the history is intact again");
    let summary = format!("{tamperings} tamperings of seed {seed}, all found: {counts:?}\n");
    io::stderr()
        .write_all(summary.as_bytes())
        .expect("stderr can be written to");
}

/// A verification finds nothing in intact data, and ignores columns that it does not cover.
async fn unchanged_data_has_no_findings(fixture: Fixture) {
    let mut bench = Bench::of(&fixture).await;
    bench
        .execute("UPDATE workspaces SET token_count = token_count + 1")
        .await;
    bench
        .execute("UPDATE audit_events SET detail = detail, hash = hash")
        .await;
    assert_eq!(bench.findings().await, [""; 0]);
    bench
        .execute("UPDATE audit_events SET detail = detail || ' ' WHERE chain = 'acme' AND sequence = 3")
        .await;
    assert_eq!(
        bench.findings().await,
        ["chain acme: record 3 was changed: its hash does not match"]
    );
}

/// A stored history, and a direct connection to tamper with it.
struct Bench {
    store: Store,
    direct: SqliteConnection,
    kept: Vec<Checkpoint>,
}

impl Bench {
    async fn of(fixture: &Fixture) -> Self {
        let store = fixture.initialized().await;
        let options = SqliteConnectOptions::new()
            .filename(fixture.file())
            .synchronous(sqlx::sqlite::SqliteSynchronous::Off);
        let mut bench = Self {
            store,
            direct: SqliteConnection::connect_with(&options)
                .await
                .expect("the connection opens"),
            kept: Vec::new(),
        };
        bench.create_history(fixture).await;
        for table in TABLES {
            bench
                .execute(&format!("CREATE TABLE original_{table} AS SELECT * FROM {table}"))
                .await;
        }
        bench
    }

    /// Creates the history: workspaces, tokens of which some are revoked, refused calls, checkpoints, and copies of
    /// older heads.
    async fn create_history(&mut self, fixture: &Fixture) {
        let now = self.store.now().await.expect("time");
        for id in WORKSPACES {
            let workspace = workspace(id, now);
            let create = async move |tx: &WriteTx| {
                assert_eq!(tx.insert_workspace(&workspace).await?, Insert::Done);
                Ok(())
            };
            self.store
                .write::<_, StoreError, _>(create)
                .await
                .expect("the write is committed");
        }
        self.execute("CREATE TABLE older_heads AS SELECT * FROM audit_chains")
            .await;
        for round in 0..4 {
            for id in WORKSPACES {
                let token = fixture.token(&workspace_id(id), self.store.now().await.expect("time"));
                let create = async move |tx: &WriteTx| {
                    assert_eq!(tx.insert_token(&token).await?, Insert::Done);
                    if round % 2 == 0 {
                        return Ok(());
                    }
                    let read = tx.token(&token.name).await?.expect("the token exists");
                    let reason = Reason::new("leaked".to_owned()).expect("short");
                    let revocation = Revocation {
                        at: tx.now().await?,
                        by: "root".parse().expect("an id"),
                        reason,
                    };
                    let revoked = tx.revoke_token(&read, revocation).await?;
                    assert!(revoked.is_some(), "the token was not revoked before");
                    Ok(())
                };
                self.store
                    .write_advancing::<_, StoreError, _>(create)
                    .await
                    .expect("the write is committed");
                let create = async |tx: &WriteTx| {
                    let refused = event(
                        Chain::Installation,
                        EventType::CallRefused,
                        String::new(),
                        RowAfter::None,
                    );
                    tx.append_event(Event {
                        outcome: Outcome::Refused,
                        ..refused
                    });
                    Ok(())
                };
                self.store
                    .write::<_, StoreError, _>(create)
                    .await
                    .expect("the write is committed");
            }
            if round == 1 {
                self.checkpoint().await;
            }
            self.execute("INSERT INTO older_heads SELECT * FROM audit_chains").await;
        }
        // The last checkpoints are kept outside the database.
        self.kept = self.checkpoint().await;
    }

    async fn checkpoint(&self) -> Vec<Checkpoint> {
        let (heads, _) = self.store.audit_heads(None).await.expect("`audit_heads` succeeds");
        let (now, ring) = (self.store.now().await.expect("time"), self.store.keys());
        let checkpoints: Vec<_> = heads
            .into_iter()
            .map(|head| Checkpoint::of(&head.expect("the head is intact"), now, &ring))
            .collect();
        self.store
            .store_checkpoints(checkpoints.clone())
            .await
            .expect("`store_checkpoints` succeeds");
        checkpoints
    }

    async fn findings(&self) -> Vec<String> {
        let AuditReport { findings, .. } = self
            .store
            .verify_audit(self.kept.clone())
            .await
            .expect("`verify_audit` succeeds");
        findings.iter().map(ToString::to_string).collect()
    }

    async fn execute(&mut self, statement: &str) -> u64 {
        self.try_to_execute(statement)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    async fn try_to_execute(&mut self, statement: &str) -> Result<u64, sqlx::Error> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        Ok(statement.execute(&mut self.direct).await?.rows_affected())
    }

    async fn restore(&mut self) {
        for table in TABLES {
            self.execute(&format!("DELETE FROM {table}")).await;
            self.execute(&format!("INSERT INTO {table} SELECT * FROM original_{table}"))
                .await;
        }
    }

    /// Tampers with the history and returns the kind and the statements. Retries if the statements change nothing or
    /// the database rejects them.
    async fn tamper(&mut self, random: &mut Random) -> (&'static str, String) {
        loop {
            let (kind, statements) = self.plan(random).await;
            let mut changed = 0;
            for statement in &statements {
                // For example, a sequence number that exists.
                match self.try_to_execute(statement).await {
                    Ok(rows) => changed += rows,
                    Err(_) => changed = 0,
                }
            }
            if changed > 0 && self.differs().await {
                return (kind, statements.join("; "));
            }
            self.restore().await;
        }
    }

    async fn differs(&mut self) -> bool {
        for table in TABLES {
            let query = format!(
                "SELECT (SELECT count(*) FROM (SELECT * FROM {table} EXCEPT SELECT * FROM original_{table})) \
                      + (SELECT count(*) FROM (SELECT * FROM original_{table} EXCEPT SELECT * FROM {table}))"
            );
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(query))
                .fetch_one(&mut self.direct)
                .await
                .expect("the query succeeds");
            if rows > 0 {
                return true;
            }
        }
        false
    }

    async fn plan(&mut self, random: &mut Random) -> (&'static str, Vec<String>) {
        let chain = random.of(&["-", "acme", "globex", "initech"]);
        let other = random.of(&["-", "acme", "globex", "initech"]);
        let last: i64 = sqlx::query_scalar("SELECT sequence FROM audit_chains WHERE chain = ?")
            .bind(chain)
            .fetch_one(&mut self.direct)
            .await
            .expect("a head");
        let (one, two) = (random.between(1, last), random.between(1, last));
        let record = |sequence: i64| format!("chain = '{chain}' AND sequence = {sequence}");
        match random.between(0, 9) {
            0 | 1 => (
                "edit of a record",
                vec![format!(
                    "UPDATE audit_events SET {} WHERE {}",
                    edit(random),
                    record(one)
                )],
            ),
            2 => {
                let last = (one + random.between(0, 2)).min(last);
                let sql =
                    format!("DELETE FROM audit_events WHERE chain = '{chain}' AND sequence BETWEEN {one} AND {last}");
                ("deletion of records", vec![sql])
            }
            3 => {
                let set =
                    |from: i64, to: i64| format!("UPDATE audit_events SET sequence = {to} WHERE {}", record(from));
                ("swap of records", vec![set(one, -1), set(two, one), set(-1, two)])
            }
            4 => {
                let columns = "time, type, caller, actor, address, resource, outcome, reason, detail, \
                            row_digest, kid, previous_hash, hash";
                let theirs = format!("SELECT {columns} FROM audit_events WHERE chain = '{other}' AND sequence = {two}");
                let set = format!("UPDATE audit_events SET ({columns}) = ({theirs}) WHERE {}", record(one));
                let exists =
                    format!(" AND EXISTS (SELECT 1 FROM audit_events WHERE chain = '{other}' AND sequence = {two})");
                ("record in place of another", vec![set + &exists])
            }
            5 => ("truncation", truncation(random, chain, one - 1)),
            6 => {
                let copy = "time, type, caller, actor, address, resource, outcome, reason, detail, \
                            row_digest, kid, previous_hash, hash";
                let sql = format!(
                    "INSERT INTO audit_events SELECT '{other}', {}, {copy} FROM audit_events WHERE {}",
                    last + 1,
                    record(one)
                );
                ("insertion of a record", vec![sql])
            }
            7 => (
                "edit of a head",
                vec![format!(
                    "UPDATE audit_chains SET {} WHERE chain = '{chain}'",
                    head_edit(random)
                )],
            ),
            8 => {
                let edit = random.of(&[
                    "sequence = sequence + 1000",
                    "time = time + 1",
                    "hash = zeroblob(32)",
                    "mac = hash",
                    "kid = 'Z'",
                ]);
                (
                    "edit of a checkpoint",
                    vec![format!("UPDATE audit_checkpoints SET {edit} WHERE chain = '{chain}'")],
                )
            }
            _ => {
                let tables = random.of(&[
                    &["audit_events"][..],
                    &["audit_chains"],
                    &["audit_events", "audit_chains"],
                    &TABLES,
                ]);
                let delete = |table: &&str| format!("DELETE FROM {table} WHERE chain = '{chain}'");
                ("deletion of a chain", tables.iter().map(delete).collect())
            }
        }
    }
}
