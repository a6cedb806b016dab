//! A token that the current policy would not allow can still be revoked.

use std::time::Duration;

use tokend_client::v1::{
    BatchRevokeTokensRequest, CreateTokenRequest, Decision, DenyReason, RevokeLeakedTokensRequest, Selection,
    TokenPolicy, create_token_request::Expiry, revoke_leaked_tokens_request::Leak, token::State,
    token_policy::ExistingTokens,
};
use tokend_tests::{Installation, max_lifetime, on_both_databases, question, token_in};

on_both_databases!(tokens_beyond_a_lowered_maximum_can_be_revoked);

/// In another product, lowering the maximum lifetime made tokens that exceeded it unrevocable.
async fn tokens_beyond_a_lowered_maximum_can_be_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let long = CreateTokenRequest {
        expiry: Some(Expiry::NoExpiry(true)),
        scopes: vec!["repository:admin".to_owned()],
        ..token_in(&acme)
    };
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(server.token(long.clone()).await);
    }
    // The policy would no longer allow these tokens to be created or rotated.
    let strict = TokenPolicy {
        require_expiry: true,
        allowed_scopes: Some(Selection {
            all: false,
            only: vec!["webhook".to_owned()],
        }),
        allowed_cidrs: Some(Selection {
            all: false,
            only: vec!["10.0.0.0/8".to_owned()],
        }),
        max_active_tokens: Some(1),
        ..max_lifetime(&acme, Duration::from_secs(60), ExistingTokens::Keep)
    };
    server.set_policy(strict).await;
    for token in &tokens {
        let question = question(&token.secret, &acme, &["repository:admin"]);
        assert_eq!(
            server.verdict(question).await.decision(),
            Decision::Allow,
            "the token still works"
        );
    }
    let mut admin = server.admin().token_admin();
    assert_eq!(
        server
            .revoke(&tokens[0].public.name)
            .await
            .token
            .expect("`token` is set")
            .state(),
        State::Revoked
    );
    let named = BatchRevokeTokensRequest {
        parent: acme.clone(),
        names: vec![tokens[1].public.name.clone()],
        reason: "gone".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        admin
            .batch_revoke_tokens(named)
            .await
            .expect("BatchRevokeTokens succeeds")
            .into_inner()
            .revoked_count,
        1
    );
    let leak = Leak {
        secret: tokens[2].secret.clone(),
        ..Default::default()
    };
    let leaked = RevokeLeakedTokensRequest {
        leaks: vec![leak],
        ..Default::default()
    };
    admin
        .revoke_leaked_tokens(leaked)
        .await
        .expect("RevokeLeakedTokens succeeds");
    let matching = BatchRevokeTokensRequest {
        parent: acme.clone(),
        filter: "expire_time = never".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        admin
            .batch_revoke_tokens(matching)
            .await
            .expect("BatchRevokeTokens succeeds")
            .into_inner()
            .revoked_count,
        1
    );
    for token in &tokens {
        assert_eq!(server.get_token(&token.public.name).await.state(), State::Revoked);
        assert_eq!(
            server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
            DenyReason::Revoked
        );
    }
}
