//! `WorkspaceAdmin.UpdateTokenPolicy` previews which tokens a policy would expire, and reports which it expired.

use std::{collections::BTreeMap, time::Duration};

use tokend_client::v1::{
    CreateTokenRequest, Token, UpdateTokenPolicyResponse,
    create_token_request::Expiry,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, Issued, Server, after, max_lifetime, on_both_databases, token_in};

use crate::update_token_policy::{HOUR, dry_run};

on_both_databases!(
    a_dry_run_lists_affected_tokens_and_changes_nothing,
    only_tokens_that_expire_earlier_are_listed,
    unreadable_rows_are_counted_but_not_listed,
);

/// Creates a token that expires in `hours` hours, or never if that is 0.
async fn token(server: &Server, workspace: &str, hours: u32) -> Issued<Token> {
    let expiry = if hours == 0 {
        Some(Expiry::NoExpiry(true))
    } else {
        after(HOUR * hours)
    };
    server
        .token(CreateTokenRequest {
            expiry,
            ..token_in(workspace)
        })
        .await
}

/// Returns the names of the affected tokens, and their new expiry in Unix seconds.
fn affected_by(answer: &UpdateTokenPolicyResponse) -> BTreeMap<String, i64> {
    let expiries: BTreeMap<_, _> = answer
        .affected
        .iter()
        .map(|one| (one.token.clone(), one.expire_time.expect("a time").seconds))
        .collect();
    assert_eq!(
        i64::try_from(expiries.len()).expect("few"),
        answer.affected_count,
        "each token is listed once"
    );
    expiries
}

async fn a_dry_run_lists_affected_tokens_and_changes_nothing(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let (acme, beta) = (
        server.workspace_in("acme", &initech).await,
        server.workspace_in("beta", &initech).await,
    );
    for workspace in [&acme, &beta] {
        for hours in [0, 1, 5] {
            token(&server, workspace, hours).await;
        }
    }
    for owner in [&initech, &acme] {
        let before = server.get_policy(owner).await;
        let policy = max_lifetime(owner, HOUR * 2, Apply);
        let preview = dry_run(&server, &policy).await;
        assert_eq!(preview.revision, None);
        assert_eq!(server.get_policy(owner).await, before);
        let applied = server.set_policy(policy).await;
        let (previewed, shortened) = (affected_by(&preview), affected_by(&applied));
        assert_eq!(
            previewed.keys().collect::<Vec<_>>(),
            shortened.keys().collect::<Vec<_>>()
        );
        assert_eq!(
            shortened.len(),
            if owner == &initech { 4 } else { 0 },
            "the organization's policy has shortened the tokens already"
        );
        for (name, end) in shortened {
            assert_eq!(
                server
                    .get_token(&name)
                    .await
                    .expire_time
                    .expect("the token expires")
                    .seconds,
                end
            );
            assert!(end - previewed[&name] < 60);
        }
        assert!(applied.revision.is_some());
    }
}

async fn only_tokens_that_expire_earlier_are_listed(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let [acme, suspended, deleted] = ["acme", "suspended", "deleted"].map(|id| (id, initech.clone()));
    let mut long = Vec::new();
    for (id, organization) in [acme, suspended, deleted] {
        let workspace = server.workspace_in(id, &organization).await;
        for hours in [1, 2, 9] {
            let issued = token(&server, &workspace, hours).await;
            long.extend((hours == 9).then_some(issued.public.name));
        }
        let revoked = token(&server, &workspace, 9).await;
        server.revoke(&revoked.public.name).await;
    }
    server.suspend("workspaces/suspended").await;
    server.delete_workspace("workspaces/deleted").await;
    // The one-hour token has expired by now, the two-hour token has one hour left, and the nine-hour token has eight.
    installation.clock().set_ahead(HOUR);
    let affected = affected_by(&dry_run(&server, &max_lifetime(&initech, HOUR * 2, Apply)).await);
    assert_eq!(
        affected.keys().collect::<Vec<_>>(),
        [&long[0], &long[1]],
        "also in the suspended workspace: it may be resumed"
    );
    // KEEP does not affect existing tokens.
    assert_eq!(
        dry_run(&server, &max_lifetime(&initech, Duration::from_secs(1), Keep))
            .await
            .affected_count,
        0
    );
    let shortest = dry_run(&server, &max_lifetime(&initech, Duration::from_secs(1), Apply)).await;
    assert_eq!(
        affected_by(&shortest).len(),
        4,
        "also the tokens that expire within the hour"
    );
    // The workspace's policy has already shortened its token further.
    server
        .set_policy(max_lifetime("workspaces/acme", HOUR / 2, Apply))
        .await;
    let affected = affected_by(&dry_run(&server, &max_lifetime(&initech, HOUR * 2, Apply)).await);
    assert_eq!(affected.keys().collect::<Vec<_>>(), [&long[1]]);
}

async fn unreadable_rows_are_counted_but_not_listed(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let one = token(&server, &acme, 0).await;
    // Many more rows, copied in SQL: their MACs do not match, so they are counted but not listed.
    let id = if installation.postgres().is_some() {
        "substr(sha256(n::text::bytea), 1, 12)"
    } else {
        "randomblob(12)"
    };
    let numbers = if installation.postgres().is_some() {
        "WITH numbers(n) AS (SELECT generate_series(1, 1500))"
    } else {
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1500)"
    };
    let columns = "workspace, kid, digest, resource, display_name, description, catalog_version, scopes, \
                   effective_scopes, \
                   allowed_cidrs, labels, creator, mac";
    let copy = format!(
        "INSERT INTO tokens (id, create_time, {columns}) {numbers} \
         SELECT {id}, create_time - n, {columns} FROM tokens, numbers"
    );
    assert_eq!(installation.sql(&copy).await, 1_500);
    let affected = dry_run(&server, &max_lifetime(&acme, HOUR, Apply)).await;
    assert_eq!(affected.affected_count, 1_501);
    let names: Vec<_> = affected.affected.iter().map(|one| one.token.as_str()).collect();
    assert_eq!(names, [one.public.name.as_str()]);
}
