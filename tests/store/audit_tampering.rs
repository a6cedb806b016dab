//! Whatever is done to stored records, heads and checkpoints behind tokend's back, a verification finds it.
//!
//! A history of a few chains is stored once. Then it is tampered with at random, verified, and put back as it was, again and again.
//! The environment chooses: `TOKEND_AUDIT_TAMPERINGS` how often, `TOKEND_AUDIT_SEED` which ones. What came of the full number is
//! told in `docs/audit-tampering.md`.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write as _},
};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokend_core::{
    audit::{Chain, Checkpoint, Event, EventType, Origin, Outcome, RowAfter},
    text::Reason,
    token::Revocation,
};
use tokend_store::{AuditReport, Insert, Store, StoreError, WriteTx};

use crate::support::{Fixture, only_on, workspace, workspace_id};

only_on!(sqlite_alone, Sqlite: the_search_can_fail);

mod sqlite {
    /// The full number takes minutes.
    #[test]
    fn tampering_is_found() {
        let limit = std::time::Duration::from_secs(60 * 60);
        crate::support::run_within(limit, tokend_tests::Storage::Sqlite, super::tampering_is_found);
    }
}

/// How often, unless the environment says otherwise.
const TAMPERINGS: u64 = 200;
const SEED: u64 = 5;

const WORKSPACES: [&str; 3] = ["acme", "globex", "initech"];
const TABLES: [&str; 3] = ["audit_events", "audit_chains", "audit_checkpoints"];

async fn tampering_is_found(fixture: Fixture) {
    let number = |variable: &str, default| env::var(variable).map_or(default, |text| text.parse().expect("a number"));
    let (tamperings, seed) = (number("TOKEND_AUDIT_TAMPERINGS", TAMPERINGS), number("TOKEND_AUDIT_SEED", SEED));
    let mut bench = Bench::of(&fixture).await;
    assert_eq!(bench.findings().await, [""; 0], "nothing was tampered with yet");
    let (mut random, mut counts) = (Random(seed), BTreeMap::<&str, u64>::new());
    for number in 1..=tamperings {
        let (kind, what) = bench.tamper(&mut random).await;
        let findings = bench.findings().await;
        assert!(!findings.is_empty(), "not found: number {number} of seed {seed}: {kind}: {what}");
        bench.put_back().await;
        *counts.entry(kind).or_default() += 1;
    }
    assert_eq!(bench.findings().await, [""; 0], "everything is as it was");
    let told = format!("{tamperings} tamperings of seed {seed}, all found: {counts:?}\n");
    io::stderr().write_all(told.as_bytes()).expect("stderr can be written to");
}

/// Nothing is found where nothing was done, nor in columns that say nothing.
async fn the_search_can_fail(fixture: Fixture) {
    let mut bench = Bench::of(&fixture).await;
    bench.execute("UPDATE workspaces SET token_count = token_count + 1").await;
    bench.execute("UPDATE audit_events SET detail = detail, hash = hash").await;
    assert_eq!(bench.findings().await, [""; 0]);
    bench.execute("UPDATE audit_events SET detail = detail || ' ' WHERE chain = 'acme' AND sequence = 3").await;
    assert_eq!(bench.findings().await, ["chain acme: record 3 was changed: its hash does not match"]);
}

/// A stored history, and what is needed to tamper with it.
struct Bench {
    store: Store,
    behind: SqliteConnection,
    kept: Vec<Checkpoint>,
}

impl Bench {
    async fn of(fixture: &Fixture) -> Self {
        let store = fixture.initialized().await;
        let options = SqliteConnectOptions::new().filename(fixture.file()).synchronous(sqlx::sqlite::SqliteSynchronous::Off);
        let mut bench = Self { store, behind: SqliteConnection::connect_with(&options).await.expect("it opens"), kept: Vec::new() };
        bench.live(fixture).await;
        for table in TABLES {
            bench.execute(&format!("CREATE TABLE original_{table} AS SELECT * FROM {table}")).await;
        }
        bench
    }

    /// Makes the history: workspaces, tokens of which some are revoked, refused calls, checkpoints, and copies of older heads.
    async fn live(&mut self, fixture: &Fixture) {
        let now = self.store.now().await.expect("time");
        for id in WORKSPACES {
            let workspace = workspace(id, now);
            let make = async move |tx: &WriteTx| {
                assert_eq!(tx.insert_workspace(&workspace).await?, Insert::Done);
                let name = workspace.id.name();
                tx.audit(event(Chain::Installation, EventType::WorkspaceCreated, name.clone(), RowAfter::None)).await?;
                let row = tx.row_is(&workspace).await?;
                tx.audit(event(Chain::Workspace(workspace.id), EventType::WorkspaceCreated, name, row)).await
            };
            self.store.write::<_, StoreError, _>(move |tx| Box::pin(async move { make(tx).await })).await.expect("it is stored");
        }
        self.execute("CREATE TABLE older_heads AS SELECT * FROM audit_chains").await;
        for round in 0..4 {
            for id in WORKSPACES {
                let token = fixture.token(&workspace_id(id), self.store.now().await.expect("time"));
                let make = async move |tx: &WriteTx| {
                    assert_eq!(tx.insert_token(&token).await?, Insert::Done);
                    let (chain, name) = (Chain::Workspace(token.name.workspace.clone()), token.name.to_string());
                    let row = tx.row_is(&token).await?;
                    tx.audit(event(chain.clone(), EventType::TokenCreated, name.clone(), row)).await?;
                    if round % 2 == 0 {
                        return Ok(());
                    }
                    let read = tx.token(&token.name).await?.expect("it is there");
                    let reason = Reason::new("leaked".to_owned()).expect("short");
                    let revocation = Revocation { at: tx.now().await?, by: "root".parse().expect("an id"), reason };
                    let revoked = tx.revoke_token(&read, revocation).await?.expect("it was not");
                    let row = tx.row_is(&*revoked).await?;
                    tx.audit(event(chain, EventType::TokenRevoked, name, row)).await
                };
                self.store
                    .write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { make(tx).await }))
                    .await
                    .expect("it is stored");
                let make = async |tx: &WriteTx| {
                    let refused = event(Chain::Installation, EventType::CallRefused, String::new(), RowAfter::None);
                    tx.audit(Event { outcome: Outcome::Refused, ..refused }).await
                };
                self.store
                    .write::<_, StoreError, _>(move |tx| Box::pin(async move { make(tx).await }))
                    .await
                    .expect("it is stored");
            }
            if round == 1 {
                self.checkpoint().await;
            }
            self.execute("INSERT INTO older_heads SELECT * FROM audit_chains").await;
        }
        // The last checkpoints left the database.
        self.kept = self.checkpoint().await;
    }

    async fn checkpoint(&self) -> Vec<Checkpoint> {
        let (heads, _) = self.store.audit_heads(None).await.expect("they are read");
        let (now, ring) = (self.store.now().await.expect("time"), self.store.keys());
        let made: Vec<_> = heads.into_iter().map(|head| Checkpoint::of(&head.expect("it is intact"), now, &ring)).collect();
        self.store.keep_checkpoints(made.clone()).await.expect("they are kept");
        made
    }

    async fn findings(&self) -> Vec<String> {
        let AuditReport { findings, .. } = self.store.verify_audit(self.kept.clone()).await.expect("it can be read");
        findings.iter().map(ToString::to_string).collect()
    }

    async fn execute(&mut self, statement: &str) -> u64 {
        self.try_to_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    async fn try_to_execute(&mut self, statement: &str) -> Result<u64, sqlx::Error> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        Ok(statement.execute(&mut self.behind).await?.rows_affected())
    }

    async fn put_back(&mut self) {
        for table in TABLES {
            self.execute(&format!("DELETE FROM {table}")).await;
            self.execute(&format!("INSERT INTO {table} SELECT * FROM original_{table}")).await;
        }
    }

    /// Does something, and tells of which kind and what it was. What changes nothing, or what the database refuses, does not count.
    async fn tamper(&mut self, random: &mut Random) -> (&'static str, String) {
        loop {
            let (kind, statements) = self.plan(random).await;
            let mut changed = 0;
            for statement in &statements {
                // A number that is taken, for instance.
                match self.try_to_execute(statement).await {
                    Ok(rows) => changed += rows,
                    Err(_) => changed = 0,
                }
            }
            if changed > 0 && self.differs().await {
                return (kind, statements.join("; "));
            }
            self.put_back().await;
        }
    }

    async fn differs(&mut self) -> bool {
        for table in TABLES {
            let query = format!(
                "SELECT (SELECT count(*) FROM (SELECT * FROM {table} EXCEPT SELECT * FROM original_{table})) \
                      + (SELECT count(*) FROM (SELECT * FROM original_{table} EXCEPT SELECT * FROM {table}))"
            );
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut self.behind).await.expect("it is told");
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
            .fetch_one(&mut self.behind)
            .await
            .expect("a head");
        let (one, two) = (random.between(1, last), random.between(1, last));
        let record = |sequence: i64| format!("chain = '{chain}' AND sequence = {sequence}");
        match random.between(0, 9) {
            0 | 1 => ("edit of a record", vec![format!("UPDATE audit_events SET {} WHERE {}", edit(random), record(one))]),
            2 => {
                let last = (one + random.between(0, 2)).min(last);
                let sql = format!("DELETE FROM audit_events WHERE chain = '{chain}' AND sequence BETWEEN {one} AND {last}");
                ("deletion of records", vec![sql])
            }
            3 => {
                let set = |from: i64, to: i64| format!("UPDATE audit_events SET sequence = {to} WHERE {}", record(from));
                ("swap of records", vec![set(one, -1), set(two, one), set(-1, two)])
            }
            4 => {
                let columns =
                    "time, type, caller, actor, address, resource, outcome, reason, detail, row_digest, kid, previous_hash, hash";
                let theirs = format!("SELECT {columns} FROM audit_events WHERE chain = '{other}' AND sequence = {two}");
                let set = format!("UPDATE audit_events SET ({columns}) = ({theirs}) WHERE {}", record(one));
                let exists = format!(" AND EXISTS (SELECT 1 FROM audit_events WHERE chain = '{other}' AND sequence = {two})");
                ("record in place of another", vec![set + &exists])
            }
            5 => ("truncation", truncation(random, chain, one - 1)),
            6 => {
                let copy =
                    "time, type, caller, actor, address, resource, outcome, reason, detail, row_digest, kid, previous_hash, hash";
                let sql = format!(
                    "INSERT INTO audit_events SELECT '{other}', {}, {copy} FROM audit_events WHERE {}",
                    last + 1,
                    record(one)
                );
                ("insertion of a record", vec![sql])
            }
            7 => ("edit of a head", vec![format!("UPDATE audit_chains SET {} WHERE chain = '{chain}'", head_edit(random))]),
            8 => {
                let edit =
                    random.of(&["sequence = sequence + 1000", "time = time + 1", "hash = zeroblob(32)", "mac = hash", "kid = 'Z'"]);
                ("edit of a checkpoint", vec![format!("UPDATE audit_checkpoints SET {edit} WHERE chain = '{chain}'")])
            }
            _ => {
                let tables = random.of(&[&["audit_events"][..], &["audit_chains"], &["audit_events", "audit_chains"], &TABLES]);
                let delete = |table: &&str| format!("DELETE FROM {table} WHERE chain = '{chain}'");
                ("deletion of a chain", tables.iter().map(delete).collect())
            }
        }
    }
}

/// Cuts the end off after a record, and does what can be done to hide that.
fn truncation(random: &mut Random, chain: &str, after: i64) -> Vec<String> {
    let cut = format!("DELETE FROM audit_events WHERE chain = '{chain}' AND sequence > {after}");
    let told = format!("DELETE FROM audit_checkpoints WHERE chain = '{chain}' AND sequence > {after}");
    let number = format!("UPDATE audit_chains SET sequence = {after} WHERE chain = '{chain}'");
    let hash =
        format!("SELECT coalesce((SELECT hash FROM audit_events WHERE chain = '{chain}' AND sequence = {after}), zeroblob(32))");
    let whole = format!("UPDATE audit_chains SET sequence = {after}, hash = ({hash}) WHERE chain = '{chain}'");
    match random.between(0, 3) {
        0 => vec![cut],
        1 => vec![cut, told, number],
        2 => vec![cut, told, whole],
        // The head as it really was, MAC and all, and the end that it names.
        _ => {
            let older = format!("FROM older_heads WHERE chain = '{chain}' AND sequence <= {after} ORDER BY sequence DESC LIMIT 1");
            let head = "sequence, hash, base_sequence, base_hash, begin_time, chains, kid, mac";
            vec![
                format!(
                    "UPDATE audit_chains SET ({head}) = (SELECT {head} {older}) WHERE chain = '{chain}' AND EXISTS (SELECT 1 {older})"
                ),
                format!(
                    "DELETE FROM audit_events WHERE chain = '{chain}' AND sequence > (SELECT sequence FROM audit_chains WHERE chain = '{chain}')"
                ),
                format!(
                    "DELETE FROM audit_checkpoints WHERE chain = '{chain}' AND sequence > (SELECT sequence FROM audit_chains WHERE chain = '{chain}')"
                ),
            ]
        }
    }
}

/// Another value for a column of a record.
fn edit(random: &mut Random) -> String {
    let text = ["type", "caller", "actor", "address", "resource", "outcome", "reason", "detail"];
    let bytes = ["row_digest", "previous_hash", "hash"];
    match random.between(0, 6) {
        0..=2 => {
            let (column, other) = (random.of(&text), random.of(&text));
            let value = random.of(&["' '", "''", "'x'", "'DONE'", "'REFUSED'", "'token.revoked'", "'callers/root'"]);
            random.of(&[format!("{column} = {column} || 'x'"), format!("{column} = {value}"), format!("{column} = {other}")])
        }
        3 | 4 => {
            let (column, other) = (random.of(&bytes), random.of(&bytes));
            let value = random.bits();
            let whole = format!("{column} = x'{}'", format!("{value:016x}").repeat(4));
            random.of(&[whole, format!("{column} = {other}"), format!("{column} = x'00'"), format!("{column} = x''")])
        }
        5 => format!("time = time + {}", random.of(&[1, -1, 86_400_000_000_i64, -86_400_000_000])),
        _ => random
            .of(&["kid = 'Z'", "kid = ''", "sequence = sequence + 1000", "sequence = -sequence", "chain = 'nowhere'"])
            .to_owned(),
    }
}

/// Another value for a column of a head.
fn head_edit(random: &mut Random) -> String {
    let edits = [
        "sequence = sequence - 1",
        "sequence = sequence + 1",
        "hash = zeroblob(32)",
        "hash = x''",
        "base_sequence = base_sequence + 1",
        "base_sequence = sequence, base_hash = hash",
        "base_hash = hash",
        "begin_time = begin_time + 1",
        "chains = chains + 1",
        "chains = 1 - chains",
        "kid = 'Z'",
        "mac = hash",
        "chain = 'nowhere'",
    ];
    random.of(&edits).to_owned()
}

fn event(chain: Chain, kind: EventType, resource: String, row: RowAfter) -> Event {
    Event {
        chain,
        kind,
        origin: Origin { caller: Some("root".parse().expect("an id")), actor: None, address: Some([192, 0, 2, 1].into()) },
        resource,
        outcome: Outcome::Done,
        reason: String::new(),
        detail: "of a test".to_owned(),
        row,
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same seed, the same tamperings.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn between(&mut self, first: i64, last: i64) -> i64 {
        first + (self.bits() % (last - first + 1) as u64) as i64
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[(self.bits() % choices.len() as u64) as usize].clone()
    }
}
