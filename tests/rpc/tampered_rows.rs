//! Write access to the database is not enough to extend a token or a role: after an edit of any column that the MAC
//! covers, every call that needs the row refuses it, the log names the table, and a metric counts it.

use std::collections::BTreeSet;

use tokend_client::v1::{
    CreateTokenRequest, Decision, GetTokenRequest, IdentifyTokenRequest, ListTokensRequest, RevokeTokenRequest,
    VerifyRequest,
};
use tokend_tests::{Installation, Server, http, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};

on_both_databases!(an_edited_token_is_refused);

/// The outcome of a call that needs the row.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The call accepted the row.
    Accepted,
    /// The call failed.
    Refused(Code),
    /// The row was treated as absent: left out of a list, or a token denied as unrecognized.
    Absent,
}

pub(crate) fn outcome<T>(result: Result<Response<T>, Status>) -> Outcome {
    result.map_or_else(|status| Outcome::Refused(status.code()), |_| Outcome::Accepted)
}

/// Returns whether a list has the row. A tampered row must not hide other rows.
pub(crate) fn list_outcome<T>(result: Result<Response<T>, Status>, is_in: impl FnOnce(T) -> bool) -> Outcome {
    match result.map(|list| is_in(list.into_inner())) {
        Ok(true) => Outcome::Accepted,
        Ok(false) => Outcome::Absent,
        Err(status) => Outcome::Refused(status.code()),
    }
}

/// An edit of one column.
pub(crate) struct Edit {
    column: &'static str,
    set: String,
    /// Whether the row can no longer be found by its name.
    moves: bool,
}

pub(crate) fn edit(column: &'static str, value: &str) -> Edit {
    Edit {
        column,
        set: format!("{column} = {value}"),
        moves: false,
    }
}

pub(crate) fn moving(column: &'static str, value: &str) -> Edit {
    Edit {
        moves: true,
        ..edit(column, value)
    }
}

/// Returns the question so that the database is asked: what a server has in memory, nobody edits.
pub(crate) fn read_through(question: VerifyRequest) -> VerifyRequest {
    VerifyRequest {
        fully_consistent: true,
        ..question
    }
}

pub(crate) fn edit_columns(column: &'static str, set: &str) -> Edit {
    Edit {
        column,
        set: set.to_owned(),
        moves: false,
    }
}

/// Returns a literal for `count` bytes in the SQL of the database.
pub(crate) fn bytes(installation: &Installation, byte: u8, count: usize) -> String {
    let digits = format!("{byte:02x}").repeat(count);
    if installation.postgres().is_some() {
        format!("'\\x{digits}'::bytea")
    } else {
        format!("x'{digits}'")
    }
}

/// The table, the condition for the edited row, and the columns that its MAC does not cover.
pub(crate) struct Target<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a str,
    pub(crate) uncovered: &'static [&'static str],
}

/// Makes each edit in turn, asserts that every read and every change refuses the row, and undoes the edit.
pub(crate) async fn each_edit_is_refused(
    installation: &Installation,
    server: &Server,
    target: Target<'_>,
    edits: &[Edit],
    reads: impl AsyncFn() -> Vec<(&'static str, Outcome)>,
    changes: impl AsyncFn() -> Vec<(&'static str, Outcome)>,
) {
    let Target { table, row, uncovered } = target;
    let columns = installation.columns(table).await;
    let tested: BTreeSet<_> = edits
        .iter()
        .map(|edit| edit.column)
        .chain(uncovered.iter().copied())
        .collect();
    assert_eq!(
        tested,
        columns.iter().map(String::as_str).collect(),
        "every column is edited or listed as uncovered"
    );

    let metric = format!("tokend_tampered_rows_total{{table=\"{table}\"}} ");
    let counted = || {
        let metrics = http::get(server.ops_address(), "/metrics").1;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&metric).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {metric}in {metrics}"))
            .parse::<u64>()
            .expect("a number")
    };
    let assert_accepted = async |when: &str| {
        for (path, seen) in reads().await {
            assert_eq!(seen, Outcome::Accepted, "{path} {when}");
        }
    };
    assert_eq!(counted(), 0);
    installation
        .sql(&format!("CREATE TABLE original AS SELECT * FROM {table} WHERE {row}"))
        .await;
    let restore: Vec<_> = columns
        .iter()
        .map(|column| format!("{column} = (SELECT {column} FROM original)"))
        .collect();
    let restore = restore.join(", ");
    for Edit { column, set, moves } in edits {
        assert_accepted(&format!("before {column} was edited")).await;
        // The edited row is found again by a column that the edit leaves alone.
        let mark = if *column == "create_time" { "mac" } else { "create_time" };
        let edited_row = format!("{mark} = (SELECT {mark} FROM original)");
        let before = counted();
        assert_eq!(
            installation.sql(&format!("UPDATE {table} SET {set} WHERE {row}")).await,
            1,
            "{set}"
        );
        for (path, seen) in reads().await.into_iter().chain(changes().await) {
            let is_refused = match &seen {
                Outcome::Refused(Code::Internal) => true,
                // A list leaves the row out.
                Outcome::Absent => *moves || path.starts_with("List"),
                Outcome::Refused(Code::NotFound | Code::Unauthenticated) => *moves,
                Outcome::Refused(_) | Outcome::Accepted => false,
            };
            assert!(is_refused, "{path} with {set}: {seen:?}");
        }
        assert!(counted() > before, "{set} is counted");
        assert_eq!(
            installation
                .sql(&format!("UPDATE {table} SET {restore} WHERE {edited_row}"))
                .await,
            1,
            "{set} is undone"
        );
    }
    assert_accepted("at the end").await;
    let log = server.process().stderr();
    assert!(log.contains("tampered") || log.contains("outside tokend"), "{log}");
    assert!(log.contains(&format!("table=\"{table}\"")), "{log}");
}

async fn an_edited_token_is_refused(installation: Installation) {
    let server = installation.start().await;
    let (acme, _) = (server.workspace("acme").await, server.workspace("globex").await);
    let other = server.token(token_in(&acme)).await.public.name;
    let token = server
        .token(CreateTokenRequest {
            allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
            ..token_in(&acme)
        })
        .await;
    let name = token.public.name.clone();
    // Only this token has an address list.
    let row = "allowed_cidrs = '192.0.2.0/24'";
    let edits = [
        moving("id", &bytes(&installation, 9, 12)),
        moving("workspace", "'globex'"),
        edit("kid", "'Z'"),
        edit("digest", &bytes(&installation, 7, 32)),
        edit("resource", "'workspaces/acme/projects/x'"),
        edit("display_name", "'deploy'"),
        edit("labels", "'{\"team\": \"root\"}'"),
        edit("catalog_version", "catalog_version + 1"),
        edit("scopes", "'webhook'"),
        edit("effective_scopes", "effective_scopes || ' repository:admin'"),
        edit("allowed_cidrs", "'*'"),
        edit("create_time", "create_time + 1"),
        edit("creator", "'someone'"),
        edit("expire_time", "NULL"),
        edit("expire_time", "expire_time + 1"),
        edit("requested_expire_time", "NULL"),
        edit("rotated_from", "id"),
        edit("rotated_to", "id"),
        edit_columns(
            "revoke_time",
            "revoke_time = create_time, revoker = 'admin', revoke_reason = ''",
        ),
        edit_columns(
            "revoker",
            "revoke_time = create_time, revoker = 'someone', revoke_reason = ''",
        ),
        edit("mac", &bytes(&installation, 1, 34)),
        edit("mac", &bytes(&installation, 1, 2)),
    ];
    let admin = server.admin();
    let reads = async || {
        let question = VerifyRequest {
            client_address: "192.0.2.7".to_owned(),
            ..read_through(question(&token.secret, &acme, &[]))
        };
        let verdict = match admin.token_verify().verify(question).await {
            Ok(verdict) if verdict.get_ref().decision() == Decision::Allow => Outcome::Accepted,
            Ok(_) => Outcome::Absent,
            Err(status) => Outcome::Refused(status.code()),
        };
        let list = ListTokensRequest {
            parent: acme.clone(),
            ..Default::default()
        };
        let list = list_outcome(admin.token_admin().list_tokens(list).await, |list| {
            let names: Vec<_> = list.tokens.into_iter().map(|token| token.name).collect();
            assert!(names.contains(&other), "the other row is listed: {names:?}");
            names.contains(&name)
        });
        vec![
            ("Verify", verdict),
            (
                "GetToken",
                outcome(
                    admin
                        .token_admin()
                        .get_token(GetTokenRequest { name: name.clone() })
                        .await,
                ),
            ),
            (
                "IdentifyToken",
                outcome(
                    admin
                        .token_admin()
                        .identify_token(IdentifyTokenRequest {
                            secret: token.secret.clone(),
                        })
                        .await,
                ),
            ),
            ("ListTokens", list),
        ]
    };
    let changes = async || {
        let request = RevokeTokenRequest {
            name: name.clone(),
            ..Default::default()
        };
        vec![("RevokeToken", outcome(admin.token_admin().revoke_token(request).await))]
    };
    let target = Target {
        table: "tokens",
        row,
        uncovered: &["description", "revoke_reason"],
    };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;
}
