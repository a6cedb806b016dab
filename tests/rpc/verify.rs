//! `TokenVerify.Verify`: may this token do this, here, now?

use std::collections::BTreeMap;

use tokend_client::v1::{
    CreateCallerRequest, CreateTokenRequest, Decision, DenyReason, Revision, Role, Selection, VerifyRequest, VerifyResponse,
};
use tokend_tests::{Installation, Refused, on_both_databases, question, token_in};

on_both_databases!(
    an_allow_tells_the_backend_what_it_may_know,
    a_scope_covers_what_it_implies_and_nothing_else,
    a_token_covers_its_resource_and_what_lies_below,
    no_token_reaches_another_workspace,
    what_was_not_minted_here_is_unrecognized,
    a_foreign_token_is_unrecognized_for_a_limited_verifier,
    an_allow_list_needs_a_known_address_in_it,
    the_first_reason_in_order_is_told,
    an_ill_formed_question_is_no_verdict,
    a_verdict_stands_at_a_revision,
);

fn denied(verdict: &VerifyResponse) -> DenyReason {
    assert_eq!(verdict.decision(), Decision::Deny, "{verdict:?}");
    let recognized = verdict.deny_reason() != DenyReason::Unrecognized;
    assert_eq!(verdict.token.is_some(), recognized, "the token is told once its secret has matched, not before: {verdict:?}");
    let lacks_scope = verdict.deny_reason() == DenyReason::InsufficientScope;
    assert_eq!(!verdict.missing_scopes.is_empty(), lacks_scope, "{verdict:?}");
    verdict.deny_reason()
}

async fn an_allow_tells_the_backend_what_it_may_know(installation: Installation) {
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
        ..question(&issued.secret, &format!("{acme}/repositories/site/branches/main"), &["repository:write"])
    };
    let verdict = verifier.token_verify().verify(question).await.expect("a verdict").into_inner();
    assert_eq!((verdict.decision(), verdict.deny_reason()), (Decision::Allow, DenyReason::Unspecified));
    assert!(verdict.missing_scopes.is_empty());
    let told = verdict.token.expect("it is told");
    assert_eq!(told.name, issued.public.name);
    assert_eq!(told.workspace, acme);
    assert_eq!(told.resource, format!("{acme}/repositories/site"));
    assert_eq!(told.display_name, "ci");
    assert_eq!(told.scopes, ["repository", "repository:write"], "implied ones included");
    assert_eq!(told.expire_time, issued.public.expire_time);
    let left = told.expires_in.expect("it ends");
    assert!((3_500..=3_600).contains(&left.seconds), "{left:?}");
    assert_eq!(told.allowed_cidrs, ["192.0.2.0/24"]);
    assert_eq!(told.labels, issued.public.labels);
}

async fn a_scope_covers_what_it_implies_and_nothing_else(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for (granted, allowed, missing) in [
        ("pullrequest:write", &["pullrequest", "repository:write", "repository"][..], &["repository:admin", "webhook"][..]),
        ("project", &["repository"], &["project:admin", "repository:write"]),
        ("project:admin", &["project:admin"], &["project", "repository"]),
        ("repository:admin", &["repository:admin"], &["repository", "repository:write"]),
        ("pipeline:variable", &["pipeline:variable"], &["pipeline", "pipeline:write"]),
    ] {
        let token = server.token(CreateTokenRequest { scopes: vec![granted.to_owned()], ..token_in(&acme) }).await;
        let verdict = server.verdict(question(&token.secret, &acme, allowed)).await;
        assert_eq!(verdict.decision(), Decision::Allow, "{granted} covers {allowed:?}: {verdict:?}");
        for missing in missing {
            let required = [allowed, &[*missing]].concat();
            let verdict = server.verdict(question(&token.secret, &acme, &required)).await;
            assert_eq!(denied(&verdict), DenyReason::InsufficientScope, "{granted} does not cover {missing}");
            assert_eq!(verdict.missing_scopes, [*missing]);
        }
        assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.decision(), Decision::Allow, "nothing is required");
    }
}

async fn a_token_covers_its_resource_and_what_lies_below(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let site = format!("{acme}/projects/web/repositories/site");
    let token = server.token(CreateTokenRequest { resource: site.clone(), ..token_in(&acme) }).await;
    for covered in ["", "/branches", "/branches/main", "/..."] {
        let verdict = server.verdict(question(&token.secret, &format!("{site}{covered}"), &["repository"])).await;
        assert_eq!(verdict.decision(), Decision::Allow, "{covered}");
    }
    for other in [&acme, &format!("{acme}/projects/web"), &format!("{site}2"), &format!("{acme}/projects/web/repositories/sit")] {
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
        let verdict = server.verdict(question(&token.secret, &format!("{other}/repositories/site"), &[])).await;
        assert_eq!(denied(&verdict), DenyReason::ResourceNotCovered, "{other}");
    }
}

async fn what_was_not_minted_here_is_unrecognized(installation: Installation) {
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
        // A good key, but of a caller.
        server.admin_key().to_owned(),
    ];
    // Each part of it: kind, kid, id, secret, tag, checksum.
    presented.extend([3, 5, 10, 30, 60, 72].map(changed));
    for presented in presented {
        let verdict = server.verdict(question(&presented, &acme, &["repository"])).await;
        assert_eq!(denied(&verdict), DenyReason::Unrecognized, "{presented:.80}");
    }
    assert_eq!(server.verdict(question(&secret, &acme, &["repository"])).await.decision(), Decision::Allow, "the right one");
}

async fn a_foreign_token_is_unrecognized_for_a_limited_verifier(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let other = server.workspace("other").await;
    let gateway = CreateCallerRequest {
        caller_id: "gateway".to_owned(),
        role: Role::Verifier.into(),
        workspaces: Some(Selection { all: false, only: vec![acme.clone()] }),
        ..Default::default()
    };
    let gateway = server.caller_as(gateway).await;
    let gateway = server.client(&gateway.secret).await;
    let mine = server.token(token_in(&acme)).await;
    let foreign = server.token(token_in(&other)).await;
    let verdict = async |secret: &str, resource: &str| {
        gateway.token_verify().verify(question(secret, resource, &[])).await.expect("a verdict").into_inner()
    };
    assert_eq!(verdict(&mine.secret, &acme).await.decision(), Decision::Allow);
    server.revoke(&foreign.public.name).await;
    for resource in [&other, &acme] {
        let about_foreign = verdict(&foreign.secret, resource).await;
        let about_garbage = verdict("garbage", resource).await;
        assert_eq!(denied(&about_foreign), DenyReason::Unrecognized);
        assert_eq!(about_foreign, about_garbage, "nothing tells that there is such a token");
    }
}

async fn an_allow_list_needs_a_known_address_in_it(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let cidrs = ["192.0.2.0/24", "2001:db8::/32", "203.0.113.9/32"];
    let request = CreateTokenRequest { allowed_cidrs: cidrs.map(ToOwned::to_owned).to_vec(), ..token_in(&acme) };
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
        let question = VerifyRequest { client_address: address.to_owned(), ..question(&token.secret, &acme, &[]) };
        let verdict = server.verdict(question).await;
        if allowed {
            assert_eq!(verdict.decision(), Decision::Allow, "{address}");
        } else {
            assert_eq!(denied(&verdict), DenyReason::AddressNotAllowed, "{address:?}");
        }
    }
}

async fn the_first_reason_in_order_is_told(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let request = CreateTokenRequest { allowed_cidrs: vec!["192.0.2.0/24".to_owned()], ..token_in(&acme) };
    let (expiring, revoked) = (server.token(request.clone()).await, server.token(request).await);
    let wrong_everything = |secret: &str| question(secret, "workspaces/other", &["webhook"]);

    let verdict = server.verdict(question(&revoked.secret, &acme, &["webhook"])).await;
    assert_eq!(denied(&verdict), DenyReason::InsufficientScope, "before the address");
    let verdict = server.verdict(wrong_everything(&revoked.secret)).await;
    assert_eq!(denied(&verdict), DenyReason::ResourceNotCovered, "before the scope");

    installation.clock().set_ahead(std::time::Duration::from_secs(2 * 3_600));
    let verdict = server.verdict(wrong_everything(&expiring.secret)).await;
    assert_eq!(denied(&verdict), DenyReason::Expired, "before the resource");

    server.revoke(&revoked.public.name).await;
    let verdict = server.verdict(wrong_everything(&revoked.secret)).await;
    assert_eq!(denied(&verdict), DenyReason::Revoked, "before the expiry");
}

async fn an_ill_formed_question_is_no_verdict(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let secret = server.token(token_in(&acme)).await.secret;
    let ask = async |change: fn(&mut VerifyRequest)| {
        let mut question = question(&secret, &acme, &["repository"]);
        change(&mut question);
        server.admin().token_verify().verify(question).await
    };
    ask(|question| question.resource.clear()).await.refused_field("resource");
    ask(|question| question.resource = "acme".to_owned()).await.refused_field("resource");
    ask(|question| question.resource.push('/')).await.refused_field("resource");
    ask(|question| question.resource.push_str("/..")).await.refused_field("resource");
    ask(|question| question.resource.push_str("/a\u{7}b")).await.refused_field("resource");
    ask(|question| question.resource.push_str(&"/a".repeat(15))).await.refused_field("resource");
    ask(|question| question.required_scopes[0] = "everything".to_owned()).await.refused_field("required_scopes[0]");
    ask(|question| question.required_scopes.push(String::new())).await.refused_field("required_scopes[1]");
    ask(|question| question.required_scopes = vec!["repository".to_owned(); 65]).await.refused_field("required_scopes");
    ask(|question| question.client_address = "localhost".to_owned()).await.refused_field("client_address");
    ask(|question| question.client_address = "192.0.2.0/24".to_owned()).await.refused_field("client_address");

    // All that is wrong is told at once, whatever the token is.
    let request = VerifyRequest { client_address: "?".to_owned(), ..question("garbage", "", &["?"]) };
    let status = server.admin().token_verify().verify(request).await.expect_err("nothing of it fits");
    let fields: Vec<_> = tokend_client::Failure::from(status).fields.into_iter().map(|violation| violation.field).collect();
    assert_eq!(fields, ["resource", "required_scopes[0]", "client_address"]);
}

async fn a_verdict_stands_at_a_revision(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let ask = async |min_revision: Option<Revision>, fully_consistent: bool| {
        server.verdict(VerifyRequest { min_revision, fully_consistent, ..question(&token.secret, &acme, &[]) }).await
    };
    let before = ask(None, false).await;
    assert_eq!(before.cacheable_for.unwrap_or_default(), prost_types::Duration::default(), "nothing is cached yet");
    let before = before.revision.expect("it is told");

    let revoked = server.revoke(&token.public.name).await.revision.expect("it is told");
    assert_eq!(revoked.epoch, before.epoch);
    assert!(revoked.number > before.number, "{revoked:?} comes after {before:?}");
    let other_epoch = Revision { epoch: revoked.epoch + 1, number: u64::MAX };
    for min_revision in [None, Some(before), Some(revoked), Some(other_epoch)] {
        for fully_consistent in [false, true] {
            let after = ask(min_revision, fully_consistent).await;
            assert_eq!(denied(&after), DenyReason::Revoked);
            assert!(after.revision.is_some_and(|revision| revision.number >= revoked.number), "{after:?}");
        }
    }
}
