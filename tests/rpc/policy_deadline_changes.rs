//! A token with a policy deadline can still be revoked and rotated.

use std::time::Duration;

use tokend_client::v1::{
    BatchRevokeTokensRequest, CreateTokenRequest, DenyReason, RevokeLeakedTokensRequest, RotateTokenRequest,
    TokenPolicy,
    revoke_leaked_tokens_request::Leak,
    token::State,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, after, max_lifetime, on_both_databases, token_in};

use crate::policy_deadlines::{HOUR, set, token, verdict};

on_both_databases!(
    a_token_over_the_maximum_can_be_revoked,
    a_token_with_a_deadline_can_be_rotated,
);

async fn a_token_over_the_maximum_can_be_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for existing in [Keep, Apply] {
        let (one, two, three) = (
            token(&server, &acme).await,
            token(&server, &acme).await,
            token(&server, &acme).await,
        );
        set(&server, max_lifetime(&acme, HOUR, existing)).await;
        assert_eq!(
            server.revoke(&one.public.name).await.token.expect("a token").state(),
            State::Revoked
        );
        let names = vec![two.public.name.clone()];
        let batch = BatchRevokeTokensRequest {
            parent: acme.clone(),
            names,
            ..Default::default()
        };
        let batch = server
            .admin()
            .token_admin()
            .batch_revoke_tokens(batch)
            .await
            .expect("BatchRevokeTokens succeeds")
            .into_inner();
        assert_eq!(batch.revoked_count, 1);
        let leaks = vec![Leak {
            secret: three.secret.clone(),
            ..Default::default()
        }];
        let leaked = RevokeLeakedTokensRequest {
            leaks,
            ..Default::default()
        };
        server
            .admin()
            .token_admin()
            .revoke_leaked_tokens(leaked)
            .await
            .expect("RevokeLeakedTokens succeeds");
        for revoked in [&one, &two, &three] {
            assert_eq!(
                verdict(&server, revoked).await.deny_reason(),
                DenyReason::Revoked,
                "{existing:?}"
            );
        }
        set(
            &server,
            TokenPolicy {
                name: format!("{acme}/tokenPolicy"),
                ..Default::default()
            },
        )
        .await;
    }
    // A token past its deadline can be revoked, too, and is then revoked instead of expired.
    let bound = token(&server, &acme).await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    installation.clock().set_ahead(HOUR + Duration::from_secs(1));
    assert_eq!(
        server.revoke(&bound.public.name).await.token.expect("a token").state(),
        State::Revoked
    );
    assert_eq!(verdict(&server, &bound).await.deny_reason(), DenyReason::Revoked);
}

async fn a_token_with_a_deadline_can_be_rotated(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let bound = server
        .token(CreateTokenRequest {
            expiry: after(HOUR / 2),
            ..token_in(&acme)
        })
        .await;
    set(&server, max_lifetime(&acme, HOUR, Apply)).await;
    let end = Some((HOUR * 3 / 4).try_into().expect("short"));
    // The overlap is longer than the token's remaining lifetime.
    let request = RotateTokenRequest {
        name: bound.public.name.clone(),
        overlap: end,
        ..Default::default()
    };
    let rotated = server
        .admin()
        .token_admin()
        .rotate_token(request)
        .await
        .expect("RotateToken succeeds")
        .into_inner();
    assert_eq!(
        rotated.predecessor.expect("a predecessor").expire_time,
        bound.public.expire_time
    );
    let successor = rotated.token.expect("a token");
    assert_eq!(
        successor.expire_time, successor.requested_expire_time,
        "a deadline does not apply to tokens newer than the policy"
    );
}
