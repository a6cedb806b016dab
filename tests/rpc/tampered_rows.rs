//! Who can write to the database can't widen, revive or promote anything: whichever covered column is edited, every call that needs
//! the row refuses it, the log names it, and a metric counts it.

use std::collections::BTreeSet;

use tokend_client::v1::{
    CreateCallerKeyRequest, CreateTokenRequest, CreateWorkspaceRequest, Decision, DeleteCallerRequest, DeleteWorkspaceRequest,
    GetCallerRequest, GetOrganizationRequest, GetTokenRequest, GetWorkspaceRequest, IdentifyTokenRequest, ListCallerKeysRequest,
    ListCallersRequest, ListOrganizationsRequest, ListTokensRequest, ListWorkspacesRequest, ResumeWorkspaceRequest,
    RevokeCallerKeyRequest, RevokeTokenRequest, Role, SuspendWorkspaceRequest,
};
use tokend_tests::{Installation, Server, http, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};

on_both_databases!(
    an_edited_token_is_refused,
    an_edited_workspace_is_refused,
    an_edited_organization_is_refused,
    an_edited_caller_is_refused,
    an_edited_caller_key_is_refused,
);

/// What came of a call that needs the row.
#[derive(Debug, PartialEq)]
enum Seen {
    /// It was taken for what it says.
    Believed,
    /// The call failed.
    Refused(Code),
    /// It was told as if there were none: left out of a list, or a token denied as unknown.
    Absent,
}

fn called<T>(result: Result<Response<T>, Status>) -> Seen {
    result.map_or_else(|status| Seen::Refused(status.code()), |_| Seen::Believed)
}

/// Left out of a list, which hides no other row.
fn listed<T>(result: Result<Response<T>, Status>, is_in: impl FnOnce(T) -> bool) -> Seen {
    match result.map(|list| is_in(list.into_inner())) {
        Ok(true) => Seen::Believed,
        Ok(false) => Seen::Absent,
        Err(status) => Seen::Refused(status.code()),
    }
}

/// One column, and what is put into it.
struct Edit {
    column: &'static str,
    set: String,
    /// Whether the row is no longer found where it was.
    moves: bool,
}

fn edit(column: &'static str, value: &str) -> Edit {
    Edit { column, set: format!("{column} = {value}"), moves: false }
}

fn moving(column: &'static str, value: &str) -> Edit {
    Edit { moves: true, ..edit(column, value) }
}

fn several(column: &'static str, set: &str) -> Edit {
    Edit { column, set: set.to_owned(), moves: false }
}

/// Bytes in the database's SQL.
fn bytes(installation: &Installation, byte: u8, count: usize) -> String {
    let digits = format!("{byte:02x}").repeat(count);
    if installation.postgres().is_some() { format!("'\\x{digits}'::bytea") } else { format!("x'{digits}'") }
}

/// The table, which of its rows is edited, and what no MAC covers.
struct Target<'a> {
    table: &'static str,
    row: &'a str,
    uncovered: &'static [&'static str],
}

/// Makes each edit in turn, sees every read and every change refuse the row, and takes the edit back.
async fn each_edit_is_refused(
    installation: &Installation,
    server: &Server,
    target: Target<'_>,
    edits: &[Edit],
    reads: impl AsyncFn() -> Vec<(&'static str, Seen)>,
    changes: impl AsyncFn() -> Vec<(&'static str, Seen)>,
) {
    let Target { table, row, uncovered } = target;
    let columns = installation.columns(table).await;
    let thought_of: BTreeSet<_> = edits.iter().map(|edit| edit.column).chain(uncovered.iter().copied()).collect();
    assert_eq!(thought_of, columns.iter().map(String::as_str).collect(), "every column is edited, or known to be uncovered");

    let metric = format!("tokend_tampered_rows_total{{table=\"{table}\"}} ");
    let counted = || {
        let metrics = http::get(server.ops_address(), "/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&metric).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {metric}in {metrics}")).parse::<u64>().expect("a number")
    };
    let believed = async |when: &str| {
        for (path, seen) in reads().await {
            assert_eq!(seen, Seen::Believed, "{path} {when}");
        }
    };
    assert_eq!(counted(), 0);
    installation.sql(&format!("CREATE TABLE original AS SELECT * FROM {table} WHERE {row}")).await;
    let restore: Vec<_> = columns.iter().map(|column| format!("{column} = (SELECT {column} FROM original)")).collect();
    let restore = restore.join(", ");
    for Edit { column, set, moves } in edits {
        believed(&format!("before {column} was edited")).await;
        // The row keeps one column by which it is found again.
        let mark = if *column == "create_time" { "mac" } else { "create_time" };
        let edited_row = format!("{mark} = (SELECT {mark} FROM original)");
        let before = counted();
        assert_eq!(installation.sql(&format!("UPDATE {table} SET {set} WHERE {row}")).await, 1, "{set}");
        for (path, seen) in reads().await.into_iter().chain(changes().await) {
            let is_refused = match &seen {
                Seen::Refused(Code::Internal) => true,
                // A list goes on without it.
                Seen::Absent => *moves || path.starts_with("List"),
                Seen::Refused(Code::NotFound | Code::Unauthenticated) => *moves,
                Seen::Refused(_) | Seen::Believed => false,
            };
            assert!(is_refused, "{path} with {set}: {seen:?}");
        }
        assert!(counted() > before, "{set} is counted");
        assert_eq!(installation.sql(&format!("UPDATE {table} SET {restore} WHERE {edited_row}")).await, 1, "{set} is taken back");
    }
    believed("at the end").await;
    let log = server.process().stderr();
    assert!(log.contains("tampered") || log.contains("behind tokend's back"), "{log}");
    assert!(log.contains(&format!("table=\"{table}\"")), "{log}");
}

async fn an_edited_token_is_refused(installation: Installation) {
    let server = installation.start().await;
    let (acme, _) = (server.workspace("acme").await, server.workspace("globex").await);
    let other = server.token(token_in(&acme)).await.public.name;
    let token = server.token(CreateTokenRequest { allowed_cidrs: vec!["192.0.2.0/24".to_owned()], ..token_in(&acme) }).await;
    let name = token.public.name.clone();
    // Nobody could tell the two apart but by their ids.
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
        several("revoke_time", "revoke_time = create_time, revoker = 'admin', revoke_reason = ''"),
        several("revoker", "revoke_time = create_time, revoker = 'someone', revoke_reason = ''"),
        edit("mac", &bytes(&installation, 1, 34)),
        edit("mac", &bytes(&installation, 1, 2)),
    ];
    let admin = server.admin();
    let reads = async || {
        let question =
            tokend_client::v1::VerifyRequest { client_address: "192.0.2.7".to_owned(), ..question(&token.secret, &acme, &[]) };
        let verdict = match admin.token_verify().verify(question).await {
            Ok(verdict) if verdict.get_ref().decision() == Decision::Allow => Seen::Believed,
            Ok(_) => Seen::Absent,
            Err(status) => Seen::Refused(status.code()),
        };
        let list = ListTokensRequest { parent: acme.clone(), ..Default::default() };
        let list = listed(admin.token_admin().list_tokens(list).await, |list| {
            let names: Vec<_> = list.tokens.into_iter().map(|token| token.name).collect();
            assert!(names.contains(&other), "it hides another: {names:?}");
            names.contains(&name)
        });
        vec![
            ("Verify", verdict),
            ("GetToken", called(admin.token_admin().get_token(GetTokenRequest { name: name.clone() }).await)),
            (
                "IdentifyToken",
                called(admin.token_admin().identify_token(IdentifyTokenRequest { secret: token.secret.clone() }).await),
            ),
            ("ListTokens", list),
        ]
    };
    let changes = async || {
        let request = RevokeTokenRequest { name: name.clone(), ..Default::default() };
        vec![("RevokeToken", called(admin.token_admin().revoke_token(request).await))]
    };
    let target = Target { table: "tokens", row, uncovered: &["description", "revoke_reason"] };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;
}

async fn an_edited_workspace_is_refused(installation: Installation) {
    let server = installation.start().await;
    let (acme, empty) = (server.workspace("acme").await, server.workspace("empty").await);
    let token = server.token(token_in(&acme)).await;
    let edits = [
        edit("organization", "'initech'"),
        edit("state", "'SUSPENDED'"),
        several("state", "state = 'SUSPENDED', state_time = create_time"),
        edit("state_time", "create_time"),
        edit("create_time", "create_time + 1"),
        edit("policy", "'{}'"),
        edit("policy_update_time", "create_time"),
        edit("policy_deadlines", "'1:2'"),
        edit("mac", &bytes(&installation, 1, 34)),
    ];
    let admin = server.admin();
    let get = async |name: &str| called(admin.workspace_admin().get_workspace(GetWorkspaceRequest { name: name.to_owned() }).await);
    let list = async |name: &str, other: &str| {
        let list = admin.workspace_admin().list_workspaces(ListWorkspacesRequest::default()).await;
        listed(list, |list| {
            let names: Vec<_> = list.workspaces.into_iter().map(|workspace| workspace.name).collect();
            assert!(names.iter().any(|name| name == other), "it hides another: {names:?}");
            names.iter().any(|listed| listed == name)
        })
    };
    let reads = async || {
        let tokens = ListTokensRequest { parent: acme.clone(), ..Default::default() };
        vec![
            ("Verify", called(admin.token_verify().verify(question(&token.secret, &acme, &[])).await)),
            ("GetWorkspace", get(&acme).await),
            ("ListWorkspaces", list(&acme, &empty).await),
            ("GetToken", called(admin.token_admin().get_token(GetTokenRequest { name: token.public.name.clone() }).await)),
            ("tokens in ListTokens", called(admin.token_admin().list_tokens(tokens).await)),
        ]
    };
    let changes = async || {
        let revoke = RevokeTokenRequest { name: token.public.name.clone(), ..Default::default() };
        let suspend = SuspendWorkspaceRequest { name: acme.clone(), no_wait: false };
        let resume = ResumeWorkspaceRequest { name: acme.clone() };
        let delete = DeleteWorkspaceRequest { name: acme.clone(), no_wait: false };
        vec![
            ("CreateToken", called(admin.token_admin().create_token(token_in(&acme)).await)),
            ("RevokeToken", called(admin.token_admin().revoke_token(revoke).await)),
            ("SuspendWorkspace", called(admin.workspace_admin().suspend_workspace(suspend).await)),
            ("ResumeWorkspace", called(admin.workspace_admin().resume_workspace(resume).await)),
            ("DeleteWorkspace", called(admin.workspace_admin().delete_workspace(delete).await)),
        ]
    };
    // The id of one that has tokens can't be edited; that of one that has none can.
    let uncovered = &["id", "display_name", "token_count"];
    let target = Target { table: "workspaces", row: "id = 'acme'", uncovered };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;

    assert_eq!(installation.sql("UPDATE workspaces SET id = 'empire' WHERE id = 'empty'").await, 1);
    assert_eq!(get(&empty).await, Seen::Refused(Code::NotFound));
    assert_eq!(get("workspaces/empire").await, Seen::Refused(Code::Internal));
    assert_eq!(list("workspaces/empire", &acme).await, Seen::Absent);
    let made = admin.token_admin().create_token(token_in("workspaces/empire")).await;
    assert_eq!(called(made), Seen::Refused(Code::Internal));
}

async fn an_edited_organization_is_refused(installation: Installation) {
    let server = installation.start().await;
    let (initech, other) = (server.organization("initech").await, server.organization("other").await);
    let acme = server.workspace_in("acme", &initech).await;
    let token = server.token(token_in(&acme)).await;
    let edits = [
        moving("id", "'umbrella'"),
        edit("create_time", "create_time + 1"),
        edit("policy", "'{}'"),
        edit("policy_update_time", "create_time"),
        edit("policy_deadlines", "'1:2'"),
        edit("mac", &bytes(&installation, 1, 34)),
    ];
    let (tokens, verifier) = (server.admin().token_admin(), server.admin().token_verify());
    let admin = server.admin().workspace_admin();
    let reads = async || {
        let list = listed(admin.clone().list_organizations(ListOrganizationsRequest::default()).await, |list| {
            let names: Vec<_> = list.organizations.into_iter().map(|organization| organization.name).collect();
            assert!(names.contains(&other), "it hides another: {names:?}");
            names.contains(&initech)
        });
        let get = GetOrganizationRequest { name: initech.clone() };
        let workspace = GetWorkspaceRequest { name: acme.clone() };
        let get_token = GetTokenRequest { name: token.public.name.clone() };
        let list_tokens = ListTokensRequest { parent: acme.clone(), ..Default::default() };
        // Its deadlines bind the tokens of its workspaces.
        vec![
            ("GetOrganization", called(admin.clone().get_organization(get).await)),
            ("ListOrganizations", list),
            ("GetWorkspace", called(admin.clone().get_workspace(workspace).await)),
            ("Verify", called(verifier.clone().verify(question(&token.secret, &acme, &[])).await)),
            ("GetToken", called(tokens.clone().get_token(get_token).await)),
            ("tokens in ListTokens", called(tokens.clone().list_tokens(list_tokens).await)),
        ]
    };
    let changes = async || {
        let request = CreateWorkspaceRequest {
            workspace_id: "beta".to_owned(),
            display_name: "Beta".to_owned(),
            organization: initech.clone(),
        };
        let revoke = RevokeTokenRequest { name: token.public.name.clone(), ..Default::default() };
        vec![
            ("CreateWorkspace", called(admin.clone().create_workspace(request).await)),
            ("CreateToken", called(tokens.clone().create_token(token_in(&acme)).await)),
            ("RevokeToken", called(tokens.clone().revoke_token(revoke).await)),
        ]
    };
    let target = Target { table: "organizations", row: "display_name = 'INITECH'", uncovered: &["display_name"] };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;
}

async fn an_edited_caller_is_refused(installation: Installation) {
    let server = installation.start().await;
    let key = server.caller("gate", Role::Auditor).await;
    let gate = server.client(&key.secret).await;
    let edits = [
        edit("role", "'ADMIN'"),
        edit("workspaces", "'acme'"),
        edit("certificate_sans", "'[\"evil.example.org\"]'"),
        edit("create_time", "create_time + 1"),
        edit("mac", &bytes(&installation, 1, 34)),
    ];
    let admin = server.admin();
    let name = "callers/gate".to_owned();
    let reads = async || {
        let list = listed(admin.caller_admin().list_callers(ListCallersRequest::default()).await, |list| {
            let names: Vec<_> = list.callers.into_iter().map(|caller| caller.name).collect();
            assert!(names.iter().any(|name| name == "callers/admin"), "it hides another: {names:?}");
            names.contains(&name)
        });
        let keys = ListCallerKeysRequest { parent: name.clone(), ..Default::default() };
        vec![
            ("authentication", called(gate.workspace_admin().list_workspaces(ListWorkspacesRequest::default()).await)),
            ("GetCaller", called(admin.caller_admin().get_caller(GetCallerRequest { name: name.clone() }).await)),
            ("ListCallers", list),
            ("keys in ListCallerKeys", called(admin.caller_admin().list_caller_keys(keys).await)),
        ]
    };
    let changes = async || {
        let create = CreateCallerKeyRequest { parent: name.clone(), ttl: None };
        let delete = DeleteCallerRequest { name: name.clone(), no_wait: false };
        vec![
            ("CreateCallerKey", called(admin.caller_admin().create_caller_key(create).await)),
            ("DeleteCaller", called(admin.caller_admin().delete_caller(delete).await)),
        ]
    };
    // A caller that has keys keeps its id.
    let target = Target { table: "callers", row: "id = 'gate'", uncovered: &["id"] };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;
}

async fn an_edited_caller_key_is_refused(installation: Installation) {
    let server = installation.start().await;
    server.caller("other", Role::Auditor).await;
    let key = server.caller("gate", Role::Auditor).await;
    let gate = server.client(&key.secret).await;
    let edits = [
        moving("id", &bytes(&installation, 9, 12)),
        moving("caller", "'other'"),
        edit("kid", "'Z'"),
        edit("digest", &bytes(&installation, 7, 32)),
        edit("create_time", "create_time + 1"),
        edit("expire_time", "expire_time + 1"),
        edit("revoke_time", "create_time"),
        edit("mac", &bytes(&installation, 1, 34)),
    ];
    let admin = server.admin();
    let reads = async || {
        let keys = ListCallerKeysRequest { parent: "callers/gate".to_owned(), ..Default::default() };
        let list = listed(admin.caller_admin().list_caller_keys(keys).await, |list| {
            list.keys.into_iter().any(|listed| listed.name == key.public)
        });
        vec![
            ("authentication", called(gate.workspace_admin().list_workspaces(ListWorkspacesRequest::default()).await)),
            ("ListCallerKeys", list),
        ]
    };
    let changes = async || {
        let revoke = RevokeCallerKeyRequest { name: key.public.clone(), no_wait: false };
        vec![("RevokeCallerKey", called(admin.caller_admin().revoke_caller_key(revoke).await))]
    };
    let target = Target { table: "caller_keys", row: "caller = 'gate'", uncovered: &[] };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;
}
