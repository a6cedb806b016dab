//! Deny by default: every RPC in the contract's descriptors requires an active caller key.

use std::time::Duration;

use bytes::Bytes;
use tokend_client::v1::{CreateCallerKeyRequest, DeleteCallerRequest, ErrorReason, RevokeCallerKeyRequest, Role};
use tokend_tests::{
    Installation, on_both_databases,
    raw::{self, bearer},
    refusal, token_in,
};
use tonic::{Code, transport::Channel};

on_both_databases!(
    nothing_is_served_without_a_credential,
    only_an_active_caller_key_authenticates,
    a_revoked_deleted_or_expired_key_is_refused,
    two_credentials_are_refused,
    the_scheme_is_case_insensitive,
);

/// Calls every RPC of the contract with these headers and expects each call to be refused.
async fn refused_everywhere(channel: &Channel, authorization: &[&[u8]], reason: ErrorReason) {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    for path in raw::contract_paths() {
        let answer = raw::call(channel, &path, &headers, &[Bytes::new()]).await;
        let status = answer.expect_err(&path);
        let failure = refusal(&status, Code::Unauthenticated, reason);
        assert!(
            !failure.message.contains("tkdc_0"),
            "{path} quotes the credential: {}",
            failure.message
        );
    }
}

async fn nothing_is_served_without_a_credential(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    refused_everywhere(&channel, &[], ErrorReason::MissingCredential).await;
    // Unauthenticated callers do not learn which methods exist.
    for path in ["/tokend.v1.TokenAdmin/Nothing", "/nobody.Nothing/Nothing", "/"] {
        let status = raw::call(&channel, path, &[], &[Bytes::new()]).await.expect_err(path);
        refusal(&status, Code::Unauthenticated, ErrorReason::MissingCredential);
    }
    // The same calls authenticate with a key.
    for path in raw::contract_paths() {
        if let Err(status) = raw::call_as(&channel, server.admin_key(), &path, Bytes::new()).await {
            assert!(
                !matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied),
                "{path}: {status:?}"
            );
        }
    }
}

async fn only_an_active_caller_key_authenticates(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let key = server.admin_key();
    let channel = raw::connect(server.grpc_address()).await;

    let mut forged = key.to_owned().into_bytes();
    forged[40] = if forged[40] == b'0' { b'1' } else { b'0' };
    let credentials: Vec<Vec<u8>> = vec![
        bearer(&token),
        bearer(&token.replacen("tkdw", "tkdc", 1)),
        bearer(&String::from_utf8_lossy(&forged)),
        bearer(&key[..key.len() - 1]),
        bearer(&format!("{key}0")),
        bearer(&key.to_uppercase()),
        bearer("garbage"),
        bearer(""),
        bearer(&"x".repeat(4_000)),
        key.as_bytes().to_vec(),
        format!("Basic {key}").into_bytes(),
        format!("Bearer:{key}").into_bytes(),
        b"Bearer".to_vec(),
        b"".to_vec(),
        b"Bearer \xff\xfe".to_vec(),
    ];
    for credential in credentials {
        refused_everywhere(&channel, &[&credential], ErrorReason::InvalidCredential).await;
    }
}

async fn a_revoked_deleted_or_expired_key_is_refused(installation: Installation) {
    let server = installation.start().await;
    let admin = server.admin().caller_admin();
    let revoked = server.caller("revoked", Role::Admin).await;
    let deleted = server.caller("deleted", Role::Admin).await;
    server.caller("expired", Role::Admin).await;
    let ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = CreateCallerKeyRequest {
        parent: "callers/expired".to_owned(),
        ttl,
    };
    let expired = admin
        .clone()
        .create_caller_key(request)
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();

    let channel = raw::connect(server.grpc_address()).await;
    for secret in [&revoked.secret, &deleted.secret, &expired.secret] {
        let answer = raw::call_as(&channel, secret, "/tokend.v1.CallerAdmin/ListCallers", Bytes::new()).await;
        answer.expect("a new key works at once");
    }
    let request = RevokeCallerKeyRequest {
        name: revoked.public,
        no_wait: false,
    };
    admin
        .clone()
        .revoke_caller_key(request)
        .await
        .expect("RevokeCallerKey succeeds");
    let request = DeleteCallerRequest {
        name: "callers/deleted".to_owned(),
        no_wait: false,
    };
    admin
        .clone()
        .delete_caller(request)
        .await
        .expect("DeleteCaller succeeds");
    installation.clock().set_ahead(Duration::from_secs(60));
    for secret in [revoked.secret, deleted.secret, expired.secret] {
        refused_everywhere(&channel, &[&bearer(&secret)], ErrorReason::InvalidCredential).await;
    }
}

async fn two_credentials_are_refused(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let good = bearer(server.admin_key());
    refused_everywhere(&channel, &[&good, &bearer("garbage")], ErrorReason::InvalidCredential).await;
    refused_everywhere(&channel, &[&good, &good], ErrorReason::InvalidCredential).await;
}

async fn the_scheme_is_case_insensitive(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for scheme in ["bearer", "BEARER", "Bearer"] {
        let credential = format!("{scheme} {}", server.admin_key());
        let headers = [("authorization", credential.as_bytes())];
        let answer = raw::call(
            &channel,
            "/tokend.v1.CallerAdmin/ListCallers",
            &headers,
            &[Bytes::new()],
        )
        .await;
        answer.expect("RFC 9110 allows this spelling");
    }
}
