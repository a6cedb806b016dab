//! A call that changes nothing stores nothing: no audit event, no revocation and no line for the revocations file. It
//! only advances the revision in the feed's row.

use std::{collections::BTreeMap, time::Duration};

use tokend_client::v1::{
    BatchRevokeTokensRequest, ResumeWorkspaceRequest, Revision, RevokeCallerKeyRequest, RevokeLeakedTokensRequest,
    Role, RotateTokenRequest, TokenPolicy, revoke_leaked_tokens_request::Leak, token_policy::ExistingTokens,
};
use tokend_tests::{Installation, Storage, max_lifetime, on_both_databases, token_in};

on_both_databases!(
    repeating_a_revocation_or_rotation_stores_nothing,
    setting_the_same_policy_stores_nothing,
    setting_the_same_workspace_state_stores_nothing,
);

const HOUR: Duration = Duration::from_secs(3_600);

/// Returns the rows of each table, except the feed and the tables that servers write in the background.
async fn rows(installation: &Installation) -> BTreeMap<String, Vec<String>> {
    const BACKGROUND: [&str; 6] = [
        "feed",
        "token_usage",
        "caller_key_usage",
        "token_notices",
        "notice_plans",
        "audit_checkpoints",
    ];
    let tables = match installation.storage() {
        Storage::Sqlite => "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
        Storage::Postgres => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
    };
    let mut rows = BTreeMap::new();
    for table in installation.texts(tables).await {
        if BACKGROUND.contains(&table.as_str()) {
            continue;
        }
        let row = match installation.storage() {
            Storage::Sqlite => {
                let columns = installation
                    .columns(&table)
                    .await
                    .into_iter()
                    .map(|column| format!("quote({column})"));
                columns.collect::<Vec<_>>().join(" || ',' || ")
            }
            Storage::Postgres => "row_to_json(t)::text".to_owned(),
        };
        let mut of_table = installation.texts(&format!("SELECT {row} FROM {table} AS t")).await;
        of_table.sort_unstable();
        rows.insert(table, of_table);
    }
    assert!(
        ["endings", "audit_events", "workspaces"]
            .into_iter()
            .all(|table| !rows[table].is_empty()),
        "{:?}",
        rows.keys()
    );
    rows
}

/// Makes a call twice, and asserts that the second one takes a revision and changes no row.
async fn assert_repeatable(installation: &Installation, name: &str, call: impl AsyncFn() -> Option<Revision>) {
    let first = call().await.expect("a revision");
    let before = rows(installation).await;
    let second = call().await.expect("a revision");
    assert_eq!(second.epoch, first.epoch);
    assert!(second.number > first.number, "{name}: {second:?} follows {first:?}");
    for (table, after) in rows(installation).await {
        if table == "feed_log" {
            // A call about several workspaces takes several revisions.
            let revisions = usize::try_from(second.number - first.number).expect("a few revisions");
            assert_eq!(
                after.len(),
                before[&table].len() + revisions,
                "{name}: each revision has its entry"
            );
            continue;
        }
        assert_eq!(after, before[&table], "{name}: {table}");
    }
}

async fn repeating_a_revocation_or_rotation_stores_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let tokens = [
        server.token(token_in(&acme)).await,
        server.token(token_in(&acme)).await,
        server.token(token_in(&acme)).await,
    ];
    let names: Vec<_> = tokens[..2].iter().map(|token| token.public.name.clone()).collect();
    let rotated = server.token(token_in(&acme)).await.public.name;
    let key = server.caller("gate", Role::Auditor).await.public;
    let admin = server.admin();

    assert_repeatable(&installation, "RevokeToken", async || {
        server.revoke(&names[0]).await.revision
    })
    .await;
    let batch = async |names: &[String], filter: &str| {
        let request = BatchRevokeTokensRequest {
            parent: acme.clone(),
            names: names.to_vec(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        admin
            .token_admin()
            .batch_revoke_tokens(request)
            .await
            .expect("BatchRevokeTokens succeeds")
            .into_inner()
            .revision
    };
    assert_repeatable(&installation, "BatchRevokeTokens by names", async || {
        batch(&names, "").await
    })
    .await;
    assert_repeatable(&installation, "BatchRevokeTokens by a filter", async || {
        batch(&[], "labels.team = web").await
    })
    .await;
    let leaked = async || {
        let leaks = vec![Leak {
            secret: tokens[2].secret.clone(),
            ..Default::default()
        }];
        let request = RevokeLeakedTokensRequest {
            leaks,
            ..Default::default()
        };
        admin
            .token_admin()
            .revoke_leaked_tokens(request)
            .await
            .expect("RevokeLeakedTokens succeeds");
        // The revision is that of RevokeToken, which is a repetition as well.
        server.revoke(&tokens[2].public.name).await.revision
    };
    assert_repeatable(&installation, "RevokeLeakedTokens", leaked).await;
    let rotate = async || {
        let request = RotateTokenRequest {
            name: rotated.clone(),
            request_id: "once".to_owned(),
            ..Default::default()
        };
        admin
            .token_admin()
            .rotate_token(request)
            .await
            .expect("RotateToken succeeds")
            .into_inner()
            .revision
    };
    assert_repeatable(&installation, "RotateToken", rotate).await;
    let revoke_key = async || {
        let request = RevokeCallerKeyRequest {
            name: key.clone(),
            no_wait: false,
        };
        admin
            .caller_admin()
            .revoke_caller_key(request)
            .await
            .expect("RevokeCallerKey succeeds")
            .into_inner()
            .revision
    };
    assert_repeatable(&installation, "RevokeCallerKey", revoke_key).await;
}

async fn setting_the_same_policy_stores_nothing(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    server.token(token_in(&acme)).await;
    for owner in [&acme, &initech] {
        let applied = max_lifetime(owner, HOUR / 2, ExistingTokens::Apply);
        let kept = max_lifetime(owner, HOUR / 2, ExistingTokens::Keep);
        // Removing the policy is a change, too, but only once.
        let empty = TokenPolicy {
            name: applied.name.clone(),
            ..Default::default()
        };
        for policy in [applied, kept, empty] {
            assert_repeatable(&installation, owner, async || {
                let set = server.set_policy(policy.clone()).await;
                assert_eq!(
                    server.get_policy(owner).await.policy,
                    set.policy,
                    "the etag and the update time stay, too"
                );
                set.revision
            })
            .await;
        }
    }
    let changes = installation.texts("SELECT line FROM endings").await.len();
    assert_eq!(changes, 6);
}

async fn setting_the_same_workspace_state_stores_nothing(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    assert_repeatable(&installation, "SuspendWorkspace", async || {
        server.suspend(&acme).await.revision
    })
    .await;
    let resume = async || {
        let request = ResumeWorkspaceRequest { name: acme.clone() };
        server
            .admin()
            .workspace_admin()
            .resume_workspace(request)
            .await
            .expect("ResumeWorkspace succeeds")
            .into_inner()
            .revision
    };
    assert_repeatable(&installation, "ResumeWorkspace", resume).await;
    assert_repeatable(&installation, "DeleteWorkspace", async || {
        server.delete_workspace(&acme).await.revision
    })
    .await;
}
