//! `TokenAdmin.CreateToken` under the policies of an organization and its workspace: the strictest rule and the
//! shortest default apply.

use tokend_client::v1::{CreateTokenRequest, Token, TokenPolicy};
use tokend_tests::{Installation, Refused, Server, after, on_both_databases, token_in};

use crate::policy_at_creation::{FOREVER, HOUR, MICROSECOND, broken, create, micros, only, policy_of, set, span};

on_both_databases!(
    the_strictest_rule_of_both_policies_applies,
    disjoint_policies_allow_no_token,
    the_shortest_default_lifetime_applies,
);

/// Creates an organization and a workspace in it, and returns their names.
async fn organization_and_workspace(server: &Server) -> (String, String) {
    let initech = server.organization("initech").await;
    (initech.clone(), server.workspace_in("acme", &initech).await)
}

async fn the_strictest_rule_of_both_policies_applies(installation: Installation) {
    let server = installation.start().await;
    let (initech, acme) = organization_and_workspace(&server).await;
    let elsewhere = server.workspace("elsewhere").await;
    let of_organization = set(
        &server,
        TokenPolicy {
            max_lifetime: span(2 * HOUR),
            allowed_scopes: only(&["repository:write", "runner"]),
            allowed_cidrs: only(&["10.0.0.0/8", "192.0.2.0/24"]),
            ..policy_of(&initech)
        },
    );
    let of_organization = of_organization.await;
    let of_workspace = set(
        &server,
        TokenPolicy {
            require_expiry: true,
            max_lifetime: span(3 * HOUR),
            allowed_scopes: only(&["repository:write", "webhook"]),
            allowed_cidrs: only(&["10.1.0.0/16", "192.0.2.128/25", "198.51.100.0/24"]),
            ..policy_of(&acme)
        },
    );
    let of_workspace = of_workspace.await;
    let both = format!("{of_organization}, {of_workspace}");
    let token_for = |span| CreateTokenRequest {
        expiry: after(span),
        ..token_in(&acme)
    };
    let with_scope = |scope: &str| CreateTokenRequest {
        scopes: vec![scope.to_owned()],
        ..token_in(&acme)
    };
    let from = |network: &str| CreateTokenRequest {
        allowed_cidrs: vec![network.to_owned()],
        ..token_in(&acme)
    };
    let (lifetime, scopes, networks) = ("max_lifetime", "allowed_scopes", "allowed_cidrs");
    for (request, rule, policy) in [
        (token_for(2 * HOUR + MICROSECOND), lifetime, &of_organization),
        (token_for(3 * HOUR + MICROSECOND), lifetime, &both),
        (with_scope("webhook"), scopes, &of_organization),
        (with_scope("runner"), scopes, &of_workspace),
        (with_scope("pipeline"), scopes, &both),
        (from("198.51.100.0/24"), networks, &of_organization),
        (from("10.0.0.0/8"), networks, &of_workspace),
        (from("203.0.113.0/24"), networks, &both),
    ] {
        assert_eq!(broken(&server, request).await, [[rule, policy]]);
    }
    let endless = CreateTokenRequest {
        expiry: FOREVER,
        ..token_in(&acme)
    };
    assert_eq!(
        broken(&server, endless.clone()).await,
        [["require_expiry", &of_workspace], [lifetime, &both]]
    );
    let created = server.token(token_for(2 * HOUR)).await.public;
    assert_eq!(
        created.allowed_cidrs,
        ["10.1.0.0/16", "192.0.2.128/25"],
        "the networks that both policies allow"
    );
    // A workspace outside the organization is not affected.
    server
        .token(CreateTokenRequest {
            parent: elsewhere,
            scopes: vec!["webhook".to_owned()],
            ..endless
        })
        .await;
}

async fn disjoint_policies_allow_no_token(installation: Installation) {
    let server = installation.start().await;
    let (initech, acme) = organization_and_workspace(&server).await;
    let policy = |parent, scope, network| TokenPolicy {
        allowed_scopes: only(&[scope]),
        allowed_cidrs: only(&[network]),
        ..policy_of(parent)
    };
    let of_organization = set(&server, policy(&initech, "webhook", "10.0.0.0/8")).await;
    let of_workspace = set(&server, policy(&acme, "repository:write", "192.0.2.0/24")).await;
    let both = format!("{of_organization}, {of_workspace}");
    assert_eq!(
        broken(&server, token_in(&acme)).await,
        [["allowed_scopes", &of_organization], ["allowed_cidrs", &both]]
    );
}

async fn the_shortest_default_lifetime_applies(installation: Installation) {
    let server = installation.start().await;
    let (initech, acme) = organization_and_workspace(&server).await;
    let open = || CreateTokenRequest {
        expiry: None,
        ..token_in(&acme)
    };
    let lifetime = async || {
        let Token {
            create_time,
            expire_time,
            requested_expire_time,
            ..
        } = server.token(open()).await.public;
        assert_eq!(expire_time, requested_expire_time);
        micros(expire_time) - micros(create_time)
    };
    create(&server, open()).await.refused_field("expiry");
    // Neither require_expiry nor max_lifetime sets a default.
    let strict = TokenPolicy {
        require_expiry: true,
        max_lifetime: span(5 * HOUR),
        ..policy_of(&acme)
    };
    server.set_policy(strict.clone()).await;
    create(&server, open()).await.refused_field("expiry");
    let hours = |hours: i64| hours * 3_600 * 1_000_000;
    server
        .set_policy(TokenPolicy {
            default_lifetime: span(8 * HOUR),
            ..policy_of(&initech)
        })
        .await;
    assert_eq!(lifetime().await, hours(5), "max_lifetime limits the default");
    server
        .set_policy(TokenPolicy {
            default_lifetime: span(4 * HOUR),
            ..strict.clone()
        })
        .await;
    assert_eq!(lifetime().await, hours(4));
    server
        .set_policy(TokenPolicy {
            default_lifetime: span(3 * HOUR),
            ..policy_of(&initech)
        })
        .await;
    assert_eq!(lifetime().await, hours(3));
    let chosen = server
        .token(CreateTokenRequest {
            expiry: after(5 * HOUR),
            ..token_in(&acme)
        })
        .await
        .public;
    assert_eq!(
        micros(chosen.expire_time) - micros(chosen.create_time),
        hours(5),
        "a chosen lifetime is kept"
    );
}
