//! Every answer that contains a token or a caller key includes its usage.

use tokend_client::v1::{
    BatchRevokeTokensRequest, CreateCallerKeyRequest, IdentifyTokenRequest, ListCallerKeysRequest, ListScopesRequest,
    ListTokensRequest, RevokeCallerKeyRequest, Role, RotateTokenRequest, Token,
};
use tokend_tests::{Installation, eventually, on_both_databases, token_in};

use crate::usage::{allowed, flush_usage, from, is_used, micros, misspelt, wait_for_usage};

on_both_databases!(
    every_answer_with_a_token_has_its_usage,
    a_caller_key_has_the_time_of_its_last_use,
);

async fn every_answer_with_a_token_has_its_usage(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let (used, other) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    allowed(&server, from(&used, "192.0.2.7")).await;
    flush_usage(&installation, 1);
    let expected = wait_for_usage(&server, &used.public.name, is_used).await;
    let assert_usage = |token: &Token| {
        assert_eq!(token.last_used_time, expected.last_used_time);
        assert_eq!(token.last_used_addresses, ["192.0.2.7"]);
        assert!(token.unused_scopes.is_empty(), "only GetToken returns unused scopes");
    };
    let client = server.admin().token_admin();
    for filter in ["", "state = ACTIVE"] {
        let request = ListTokensRequest {
            parent: acme.clone(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        let listed = client
            .clone()
            .list_tokens(request)
            .await
            .expect("ListTokens succeeds")
            .into_inner()
            .tokens;
        let [newer, older] = &listed[..] else {
            panic!("two tokens, not {listed:?}")
        };
        assert_eq!((newer.name == other.public.name, is_used(newer)), (true, false));
        assert_usage(older);
    }
    let identified = client
        .clone()
        .identify_token(IdentifyTokenRequest {
            secret: used.secret.clone(),
        })
        .await;
    assert_usage(
        &identified
            .expect("IdentifyToken succeeds")
            .into_inner()
            .token
            .expect("a token"),
    );

    let preview = BatchRevokeTokensRequest {
        parent: acme.clone(),
        names: vec![used.public.name.clone()],
        validate_only: true,
        ..Default::default()
    };
    let preview = client
        .clone()
        .batch_revoke_tokens(preview)
        .await
        .expect("the dry run succeeds")
        .into_inner();
    assert_usage(&preview.tokens[0]);
    let rotate = RotateTokenRequest {
        name: used.public.name.clone(),
        ..Default::default()
    };
    let rotated = client
        .clone()
        .rotate_token(rotate)
        .await
        .expect("RotateToken succeeds")
        .into_inner();
    assert_usage(&rotated.predecessor.expect("a predecessor"));
    assert!(
        !is_used(&rotated.token.expect("a token")),
        "the successor is not used yet"
    );
    assert_usage(&server.revoke(&used.public.name).await.token.expect("a token"));
}

async fn a_caller_key_has_the_time_of_its_last_use(installation: Installation) {
    let server = installation.start().await;
    let gateway = server.caller("gateway", Role::Verifier).await;
    let request = CreateCallerKeyRequest {
        parent: "callers/gateway".to_owned(),
        ttl: None,
    };
    let mut admin = server.admin().caller_admin();
    let other = admin
        .create_caller_key(request)
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();
    assert_eq!(other.key.expect("a key").last_used_time, None);
    let keys = async || {
        let request = ListCallerKeysRequest {
            parent: "callers/gateway".to_owned(),
            ..Default::default()
        };
        let mut keys = server
            .admin()
            .caller_admin()
            .list_caller_keys(request)
            .await
            .expect("ListCallerKeys succeeds")
            .into_inner()
            .keys;
        let used = keys
            .iter()
            .position(|key| key.name == gateway.public)
            .expect("the key is listed");
        (keys.remove(used), keys.remove(0))
    };
    let use_key = async || {
        server
            .client(&gateway.secret)
            .await
            .token_admin()
            .list_scopes(ListScopesRequest {})
            .await
            .expect("ListScopes succeeds");
    };
    // Creating a key is not a use, and neither is a call with a wrong secret.
    assert_eq!(keys().await.0.last_used_time, None);
    let stranger = server.client(&misspelt(&other.secret)).await;
    stranger
        .token_admin()
        .list_scopes(ListScopesRequest {})
        .await
        .expect_err("a wrong secret is refused");

    use_key().await;
    flush_usage(&installation, 1);
    let first = eventually("the use is recorded", async || {
        Some(keys().await.0).filter(|key| key.last_used_time.is_some())
    })
    .await;
    let after_creation = micros(first.last_used_time.as_ref()) - micros(first.create_time.as_ref());
    assert!((1..60_000_000).contains(&after_creation), "{after_creation}");
    flush_usage(&installation, 2);
    use_key().await;
    flush_usage(&installation, 3);
    let later = eventually("the use is recorded", async || {
        Some(keys().await.0).filter(|key| key.last_used_time != first.last_used_time)
    })
    .await;
    let between = micros(later.last_used_time.as_ref()) - micros(first.last_used_time.as_ref());
    assert!((60_000_000..180_000_000).contains(&between), "{between}");
    assert_eq!(keys().await.1.last_used_time, None, "the other key is not used");

    let revoke = RevokeCallerKeyRequest {
        name: gateway.public.clone(),
        no_wait: false,
    };
    let revoked = admin
        .revoke_caller_key(revoke)
        .await
        .expect("RevokeCallerKey succeeds")
        .into_inner()
        .key
        .expect("a key");
    assert_eq!(revoked.last_used_time, later.last_used_time);
}
