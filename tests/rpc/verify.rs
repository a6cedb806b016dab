//! `TokenVerify.Verify` decides whether a token may be used for a request, and returns the reason if not.

use std::collections::BTreeMap;

use tokend_client::v1::{
    CreateCallerRequest, CreateTokenRequest, Decision, DenyReason, Revision, Role, Selection, VerifyRequest,
    VerifyResponse,
};
use tokend_tests::{Installation, on_both_databases, question, token_in};

on_both_databases!(
    an_allow_contains_the_tokens_attributes,
    a_scope_covers_what_it_implies_and_nothing_else,
    a_token_covers_its_resource_and_everything_below,
    no_token_reaches_another_workspace,
    an_unknown_secret_is_unrecognized,
    a_foreign_token_is_unrecognized_for_a_limited_verifier,
    an_allow_list_needs_a_known_address_in_it,
    the_first_reason_in_order_is_returned,
    a_verdict_has_its_revision,
);

fn denied(verdict: &VerifyResponse) -> DenyReason {
    assert_eq!(verdict.decision(), Decision::Deny, "{verdict:?}");
    let recognized = verdict.deny_reason() != DenyReason::Unrecognized;
    assert_eq!(
        verdict.token.is_some(),
        recognized,
        "the token is returned only if its secret matches: {verdict:?}"
    );
    let lacks_scope = verdict.deny_reason() == DenyReason::InsufficientScope;
    assert_eq!(!verdict.missing_scopes.is_empty(), lacks_scope, "{verdict:?}");
    verdict.deny_reason()
}

async fn an_allow_contains_the_tokens_attributes(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let request = CreateTokenRequest {
        resource: format!("{acme}/repositories/site"),
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        labels: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
        ..token_in(&acme)
    };
    let issued = server.token(request).await;
    let verifier = server.caller("gateway", Role::Verifier).await;
    let verifier = server.client(&verifier.secret).await;

    let question = VerifyRequest {
        client_address: "192.0.2.7".to_owned(),
        ..question(
            &issued.secret,
            &format!("{acme}/repositories/site/branches/main"),
            &["repository:write"],
        )
    };
    let verdict = verifier
        .token_verify()
        .verify(question)
        .await
        .expect("Verify succeeds")
        .into_inner();
    assert_eq!(
        (verdict.decision(), verdict.deny_reason()),
        (Decision::Allow, DenyReason::Unspecified)
    );
    assert!(verdict.missing_scopes.is_empty());
    let token = verdict.token.expect("a token");
    assert_eq!(token.name, issued.public.name);
    assert_eq!(token.workspace, acme);
    assert_eq!(token.resource, format!("{acme}/repositories/site"));
    assert_eq!(token.display_name, "ci");
    assert_eq!(
        token.scopes,
        ["repository", "repository:write"],
        "implied ones included"
    );
    assert_eq!(token.expire_time, issued.public.expire_time);
    let left = token.expires_in.expect("the token expires");
    assert!((3_500..=3_600).contains(&left.seconds), "{left:?}");
    assert_eq!(token.allowed_cidrs, ["192.0.2.0/24"]);
    assert_eq!(token.labels, issued.public.labels);
}

async fn a_scope_covers_what_it_implies_and_nothing_else(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for (granted, allowed, missing) in [
        (
            "pullrequest:write",
            &["pullrequest", "repository:write", "repository"][..],
            &["repository:admin", "webhook"][..],
        ),
        ("project", &["repository"], &["project:admin", "repository:write"]),
        ("project:admin", &["project:admin"], &["project", "repository"]),
        (
            "repository:admin",
            &["repository:admin"],
            &["repository", "repository:write"],
        ),
        (
            "pipeline:variable",
            &["pipeline:variable"],
            &["pipeline", "pipeline:write"],
        ),
    ] {
        let token = server
            .token(CreateTokenRequest {
                scopes: vec![granted.to_owned()],
                ..token_in(&acme)
            })
            .await;
        let verdict = server.verdict(question(&token.secret, &acme, allowed)).await;
        assert_eq!(
            verdict.decision(),
            Decision::Allow,
            "{granted} covers {allowed:?}: {verdict:?}"
        );
        for missing in missing {
            let required = [allowed, &[*missing]].concat();
            let verdict = server.verdict(question(&token.secret, &acme, &required)).await;
            assert_eq!(
                denied(&verdict),
                DenyReason::InsufficientScope,
                "{granted} does not cover {missing}"
            );
            assert_eq!(verdict.missing_scopes, [*missing]);
        }
        assert_eq!(
            server.verdict(question(&token.secret, &acme, &[])).await.decision(),
            Decision::Allow,
            "no scope is required"
        );
    }
}

async fn a_token_covers_its_resource_and_everything_below(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let site = format!("{acme}/projects/web/repositories/site");
    let token = server
        .token(CreateTokenRequest {
            resource: site.clone(),
            ..token_in(&acme)
        })
        .await;
    for covered in ["", "/branches", "/branches/main", "/..."] {
        let verdict = server
            .verdict(question(&token.secret, &format!("{site}{covered}"), &["repository"]))
            .await;
        assert_eq!(verdict.decision(), Decision::Allow, "{covered}");
    }
    for other in [
        &acme,
        &format!("{acme}/projects/web"),
        &format!("{site}2"),
        &format!("{acme}/projects/web/repositories/sit"),
    ] {
        let verdict = server.verdict(question(&token.secret, other, &["repository"])).await;
        assert_eq!(denied(&verdict), DenyReason::ResourceNotCovered, "{other}");
    }
}

async fn no_token_reaches_another_workspace(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let longer = server.workspace("acme-2").await;
    let token = server.token(token_in(&acme)).await;
    for other in [longer, "workspaces/nobody".to_owned()] {
        let verdict = server
            .verdict(question(&token.secret, &format!("{other}/repositories/site"), &[]))
            .await;
        assert_eq!(denied(&verdict), DenyReason::ResourceNotCovered, "{other}");
    }
}

async fn an_unknown_secret_is_unrecognized(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let secret = server.token(token_in(&acme)).await.secret;
    let changed = |at: usize| {
        let other = if secret.as_bytes()[at] == b'0' { "1" } else { "0" };
        format!("{}{other}{}", &secret[..at], &secret[at + 1..])
    };
    let mut presented = vec![
        String::new(),
        "hunter2".to_owned(),
        secret[..secret.len() - 1].to_owned(),
        format!("{secret}0"),
        format!(" {secret}"),
        format!("Bearer {secret}"),
        secret.to_uppercase(),
        secret.replacen("tkd", "abc", 1),
        secret.replacen("tkdw", "tkdc", 1),
        "x".repeat(15_000),
        "\u{0}\u{1f511}".to_owned(),
        // A valid key of a caller.
        server.admin_key().to_owned(),
    ];
    // One change in each part: kind, kid, id, secret, tag, checksum.
    presented.extend([3, 5, 10, 30, 60, 72].map(changed));
    for presented in presented {
        let verdict = server.verdict(question(&presented, &acme, &["repository"])).await;
        assert_eq!(denied(&verdict), DenyReason::Unrecognized, "{presented:.80}");
    }
    assert_eq!(
        server
            .verdict(question(&secret, &acme, &["repository"]))
            .await
            .decision(),
        Decision::Allow,
        "the unchanged secret"
    );
}

async fn a_foreign_token_is_unrecognized_for_a_limited_verifier(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let gateway = CreateCallerRequest {
        caller_id: "gateway".to_owned(),
        role: Role::Verifier.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![acme.clone()],
        }),
        ..Default::default()
    };
    let gateway = server.caller_as(gateway).await;
    let gateway = server.client(&gateway.secret).await;
    let own = server.token(token_in(&acme)).await;
    let foreign = server.token(token_in(&other)).await;
    let verdict = async |secret: &str, resource: &str| {
        gateway
            .token_verify()
            .verify(question(secret, resource, &[]))
            .await
            .expect("Verify succeeds")
            .into_inner()
    };
    assert_eq!(verdict(&own.secret, &acme).await.decision(), Decision::Allow);
    server.revoke(&foreign.public.name).await;
    for resource in [&other, &acme] {
        let about_foreign = verdict(&foreign.secret, resource).await;
        let about_garbage = verdict("garbage", resource).await;
        assert_eq!(denied(&about_foreign), DenyReason::Unrecognized);
        assert_eq!(
            about_foreign, about_garbage,
            "the answer does not reveal that the token exists"
        );
    }
}

async fn an_allow_list_needs_a_known_address_in_it(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let cidrs = ["192.0.2.0/24", "2001:db8::/32", "203.0.113.9/32"];
    let request = CreateTokenRequest {
        allowed_cidrs: cidrs.map(ToOwned::to_owned).to_vec(),
        ..token_in(&acme)
    };
    let token = server.token(request).await;
    for (address, allowed) in [
        ("192.0.2.0", true),
        ("192.0.2.255", true),
        ("::ffff:192.0.2.7", true),
        ("2001:db8:ffff::1", true),
        ("203.0.113.9", true),
        ("203.0.113.10", false),
        ("192.0.3.0", false),
        ("2001:db9::1", false),
        ("", false),
    ] {
        let question = VerifyRequest {
            client_address: address.to_owned(),
            ..question(&token.secret, &acme, &[])
        };
        let verdict = server.verdict(question).await;
        if allowed {
            assert_eq!(verdict.decision(), Decision::Allow, "{address}");
        } else {
            assert_eq!(denied(&verdict), DenyReason::AddressNotAllowed, "{address:?}");
        }
    }
}

async fn the_first_reason_in_order_is_returned(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let request = CreateTokenRequest {
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..token_in(&acme)
    };
    let (expiring, revoked) = (server.token(request.clone()).await, server.token(request).await);
    let all_wrong = |secret: &str| question(secret, "workspaces/other", &["webhook"]);

    let verdict = server.verdict(question(&revoked.secret, &acme, &["webhook"])).await;
    assert_eq!(
        denied(&verdict),
        DenyReason::InsufficientScope,
        "the scope comes before the address"
    );
    let verdict = server.verdict(all_wrong(&revoked.secret)).await;
    assert_eq!(
        denied(&verdict),
        DenyReason::ResourceNotCovered,
        "the resource comes before the scope"
    );

    installation
        .clock()
        .set_ahead(std::time::Duration::from_secs(2 * 3_600));
    let verdict = server.verdict(all_wrong(&expiring.secret)).await;
    assert_eq!(
        denied(&verdict),
        DenyReason::Expired,
        "expiry comes before the resource"
    );

    server.revoke(&revoked.public.name).await;
    let verdict = server.verdict(all_wrong(&revoked.secret)).await;
    assert_eq!(denied(&verdict), DenyReason::Revoked, "revocation comes before expiry");
}

async fn a_verdict_has_its_revision(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let ask = async |min_revision: Option<Revision>, fully_consistent: bool| {
        server
            .verdict(VerifyRequest {
                min_revision,
                fully_consistent,
                ..question(&token.secret, &acme, &[])
            })
            .await
    };
    let before = ask(None, true).await;
    assert_eq!(
        before.cacheable_for.unwrap_or_default(),
        prost_types::Duration::default(),
        "what was read from the database may not be cached"
    );
    let before = before.revision.expect("a revision");

    let revoked = server.revoke(&token.public.name).await.revision.expect("a revision");
    assert_eq!(revoked.epoch, before.epoch);
    assert!(revoked.number > before.number, "{revoked:?} comes after {before:?}");
    let other_epoch = Revision {
        epoch: revoked.epoch + 1,
        number: u64::MAX,
    };
    for min_revision in [None, Some(before), Some(revoked), Some(other_epoch)] {
        for fully_consistent in [false, true] {
            let after = ask(min_revision, fully_consistent).await;
            assert_eq!(denied(&after), DenyReason::Revoked);
            assert!(
                after.revision.is_some_and(|revision| revision.number >= revoked.number),
                "{after:?}"
            );
        }
    }
}
