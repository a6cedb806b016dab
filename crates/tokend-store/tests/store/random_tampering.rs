//! The kinds of tampering with stored records, chosen at random.

use tokend_core::audit::{Chain, Event, EventType, Origin, Outcome, RowAfter};

pub(crate) const TABLES: [&str; 3] = ["audit_events", "audit_chains", "audit_checkpoints"];

/// Deletes the end of a chain after a record, and tries to hide that.
pub(crate) fn truncation(random: &mut Random, chain: &str, after: i64) -> Vec<String> {
    let cut = format!("DELETE FROM audit_events WHERE chain = '{chain}' AND sequence > {after}");
    let checkpoints = format!("DELETE FROM audit_checkpoints WHERE chain = '{chain}' AND sequence > {after}");
    let number = format!("UPDATE audit_chains SET sequence = {after} WHERE chain = '{chain}'");
    let hash = format!(
        "SELECT coalesce((SELECT hash FROM audit_events WHERE chain = '{chain}' AND sequence = {after}), zeroblob(32))"
    );
    let whole = format!("UPDATE audit_chains SET sequence = {after}, hash = ({hash}) WHERE chain = '{chain}'");
    match random.between(0, 3) {
        0 => vec![cut],
        1 => vec![cut, checkpoints, number],
        2 => vec![cut, checkpoints, whole],
        // The genuine older head with its MAC, and the records up to it.
        _ => {
            let older = format!(
                "FROM older_heads WHERE chain = '{chain}' AND sequence <= {after} ORDER BY sequence DESC LIMIT 1"
            );
            let head = "sequence, hash, base_sequence, base_hash, begin_time, chains, kid, mac";
            vec![
                format!(
                    "UPDATE audit_chains SET ({head}) = (SELECT {head} {older}) \
                     WHERE chain = '{chain}' AND EXISTS (SELECT 1 {older})"
                ),
                format!(
                    "DELETE FROM audit_events WHERE chain = '{chain}' \
                     AND sequence > (SELECT sequence FROM audit_chains WHERE chain = '{chain}')"
                ),
                format!(
                    "DELETE FROM audit_checkpoints WHERE chain = '{chain}' \
                     AND sequence > (SELECT sequence FROM audit_chains WHERE chain = '{chain}')"
                ),
            ]
        }
    }
}

/// Returns an edit of a column of a record.
pub(crate) fn edit(random: &mut Random) -> String {
    let text = [
        "type", "caller", "actor", "address", "resource", "outcome", "reason", "detail",
    ];
    let bytes = ["row_digest", "previous_hash", "hash"];
    match random.between(0, 6) {
        0..=2 => {
            let (column, other) = (random.of(&text), random.of(&text));
            let value = random.of(&[
                "' '",
                "''",
                "'x'",
                "'DONE'",
                "'REFUSED'",
                "'token.revoked'",
                "'callers/root'",
            ]);
            random.of(&[
                format!("{column} = {column} || 'x'"),
                format!("{column} = {value}"),
                format!("{column} = {other}"),
            ])
        }
        3 | 4 => {
            let (column, other) = (random.of(&bytes), random.of(&bytes));
            let value = random.bits();
            let whole = format!("{column} = x'{}'", format!("{value:016x}").repeat(4));
            random.of(&[
                whole,
                format!("{column} = {other}"),
                format!("{column} = x'00'"),
                format!("{column} = x''"),
            ])
        }
        5 => format!(
            "time = time + {}",
            random.of(&[1, -1, 86_400_000_000_i64, -86_400_000_000])
        ),
        _ => random
            .of(&[
                "kid = 'Z'",
                "kid = ''",
                "sequence = sequence + 1000",
                "sequence = -sequence",
                "chain = 'nowhere'",
            ])
            .to_owned(),
    }
}

/// Returns an edit of a column of a head.
pub(crate) fn head_edit(random: &mut Random) -> String {
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

pub(crate) fn event(chain: Chain, kind: EventType, resource: String, row: RowAfter) -> Event {
    Event {
        chain,
        kind,
        origin: Origin {
            caller: Some("root".parse().expect("an id")),
            actor: None,
            address: Some([192, 0, 2, 1].into()),
        },
        resource,
        outcome: Outcome::Done,
        reason: String::new(),
        detail: "of a test".to_owned(),
        row,
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014). The same seed yields the same tamperings.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn between(&mut self, first: i64, last: i64) -> i64 {
        first + (self.bits() % (last - first + 1) as u64) as i64
    }

    pub(crate) fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[(self.bits() % choices.len() as u64) as usize].clone()
    }
}
