//! Rows of callers and caller keys that were edited in the database are refused.

use tokend_client::v1::{
    CreateCallerKeyRequest, DeleteCallerRequest, GetCallerRequest, ListCallerKeysRequest, ListCallersRequest,
    ListWorkspacesRequest, RevokeCallerKeyRequest, Role,
};
use tokend_tests::{Installation, on_both_databases};

use crate::tampered_rows::{Target, bytes, each_edit_is_refused, edit, list_outcome, moving, outcome};

on_both_databases!(an_edited_caller_is_refused, an_edited_caller_key_is_refused,);

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
        let list = list_outcome(
            admin.caller_admin().list_callers(ListCallersRequest::default()).await,
            |list| {
                let names: Vec<_> = list.callers.into_iter().map(|caller| caller.name).collect();
                assert!(
                    names.iter().any(|name| name == "callers/admin"),
                    "the other row is listed: {names:?}"
                );
                names.contains(&name)
            },
        );
        let keys = ListCallerKeysRequest {
            parent: name.clone(),
            ..Default::default()
        };
        vec![
            (
                "authentication",
                outcome(
                    gate.workspace_admin()
                        .list_workspaces(ListWorkspacesRequest::default())
                        .await,
                ),
            ),
            (
                "GetCaller",
                outcome(
                    admin
                        .caller_admin()
                        .get_caller(GetCallerRequest { name: name.clone() })
                        .await,
                ),
            ),
            ("ListCallers", list),
            (
                "keys in ListCallerKeys",
                outcome(admin.caller_admin().list_caller_keys(keys).await),
            ),
        ]
    };
    let changes = async || {
        let create = CreateCallerKeyRequest {
            parent: name.clone(),
            ttl: None,
        };
        let delete = DeleteCallerRequest {
            name: name.clone(),
            no_wait: false,
        };
        vec![
            (
                "CreateCallerKey",
                outcome(admin.caller_admin().create_caller_key(create).await),
            ),
            (
                "DeleteCaller",
                outcome(admin.caller_admin().delete_caller(delete).await),
            ),
        ]
    };
    // Foreign keys protect the id of a caller with keys.
    let target = Target {
        table: "callers",
        row: "id = 'gate'",
        uncovered: &["id"],
    };
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
        let keys = ListCallerKeysRequest {
            parent: "callers/gate".to_owned(),
            ..Default::default()
        };
        let list = list_outcome(admin.caller_admin().list_caller_keys(keys).await, |list| {
            list.keys.into_iter().any(|listed| listed.name == key.public)
        });
        vec![
            (
                "authentication",
                outcome(
                    gate.workspace_admin()
                        .list_workspaces(ListWorkspacesRequest::default())
                        .await,
                ),
            ),
            ("ListCallerKeys", list),
        ]
    };
    let changes = async || {
        let revoke = RevokeCallerKeyRequest {
            name: key.public.clone(),
            no_wait: false,
        };
        vec![(
            "RevokeCallerKey",
            outcome(admin.caller_admin().revoke_caller_key(revoke).await),
        )]
    };
    let target = Target {
        table: "caller_keys",
        row: "caller = 'gate'",
        uncovered: &[],
    };
    each_edit_is_refused(&installation, &server, target, &edits, reads, changes).await;
}
