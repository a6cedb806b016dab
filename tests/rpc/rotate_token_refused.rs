//! `TokenAdmin.RotateToken` refuses tokens that can't be rotated and invalid requests.

use std::time::Duration;

use prost_types::Timestamp;
use tokend_client::v1::{
    Decision, DeleteWorkspaceRequest, DenyReason, ErrorReason, RotateTokenRequest, SuspendWorkspaceRequest,
    rotate_token_request::Expiry, token::State,
};
use tokend_tests::{Installation, Refused, on_both_databases, token_in};
use tonic::{Code, Response};
use tonic_types::StatusExt;

use crate::rotate_token::{ALLOW, call, decision, list, overlap, request, rotate, ttl};

on_both_databases!(
    a_revoked_token_is_not_rotated,
    a_predecessor_is_not_rotated_again,
    an_unknown_token_or_an_inactive_workspace_is_refused,
    an_invalid_field_is_named,
);

async fn a_revoked_token_is_not_rotated(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await.public.name;
    let revoked = server.revoke(&old).await.token.expect("a token");
    call(&server, request(&old))
        .await
        .refused(Code::FailedPrecondition, ErrorReason::TokenRevoked);
    assert_eq!(server.get_token(&old).await, revoked);
    assert_eq!(list(&server, &acme).await.len(), 1, "no token is created");
    // A predecessor can be revoked during its overlap; its successor keeps working.
    let old = server.token(token_in(&acme)).await;
    let (new, _) = rotate(&server, request(&old.public.name)).await;
    let revoked = server.revoke(&old.public.name).await.token.expect("a token");
    assert_eq!(
        (revoked.state(), &revoked.rotated_to),
        (State::Revoked, &new.public.name)
    );
    assert_eq!(
        decision(&server, &old.secret).await,
        (Decision::Deny, DenyReason::Revoked)
    );
    assert_eq!(decision(&server, &new.secret).await, ALLOW);
}

async fn a_predecessor_is_not_rotated_again(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server.token(token_in(&acme)).await;
    let (new, predecessor) = rotate(&server, request(&old.public.name)).await;
    let status = call(&server, overlap(&old.public.name, Duration::ZERO))
        .await
        .expect_err("the token has a successor");
    let named = status
        .get_details_precondition_failure()
        .expect("the successor is named")
        .violations;
    assert_eq!(
        named.iter().map(|named| named.subject.as_str()).collect::<Vec<_>>(),
        [new.public.name.as_str()]
    );
    let error = Err::<Response<()>, _>(status).refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
    assert!(error.message.contains(&new.public.name), "{}", error.message);
    assert_eq!(
        server.get_token(&old.public.name).await,
        predecessor,
        "its expiry stays"
    );
    assert_eq!(decision(&server, &new.secret).await, ALLOW);
    // A successor can be rotated; the chain can be followed in both directions.
    let (newest, middle) = rotate(&server, request(&new.public.name)).await;
    assert_eq!(
        (&middle.rotated_from, &middle.rotated_to),
        (&old.public.name, &newest.public.name)
    );
    // The error names the last token of the chain as the one to rotate, unless it was revoked.
    let error = call(&server, request(&old.public.name))
        .await
        .refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
    assert!(
        error
            .message
            .contains(&format!("{}: rotate that one", newest.public.name)),
        "{}",
        error.message
    );
    server.revoke(&newest.public.name).await;
    let error = call(&server, request(&old.public.name))
        .await
        .refused(Code::FailedPrecondition, ErrorReason::TokenAlreadyRotated);
    assert!(
        error.message.contains("revoked") && !error.message.contains("rotate that one"),
        "{}",
        error.message
    );
    assert_eq!(error.preconditions[0].subject, newest.public.name);
    assert!(error.preconditions[0].description.contains("new token"), "{error:?}");
}

async fn an_unknown_token_or_an_inactive_workspace_is_refused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public;
    for name in [
        format!("{acme}/tokens/{}", "0".repeat(17)),
        token.name.replacen("acme", "nobody", 1),
    ] {
        call(&server, request(&name))
            .await
            .refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    let mut workspaces = server.admin().workspace_admin();
    let suspend = SuspendWorkspaceRequest {
        name: acme.clone(),
        ..Default::default()
    };
    workspaces
        .suspend_workspace(suspend)
        .await
        .expect("SuspendWorkspace succeeds");
    call(&server, request(&token.name))
        .await
        .refused(Code::FailedPrecondition, ErrorReason::WorkspaceSuspended);
    workspaces
        .delete_workspace(DeleteWorkspaceRequest {
            name: acme.clone(),
            ..Default::default()
        })
        .await
        .expect("DeleteWorkspace succeeds");
    call(&server, request(&token.name))
        .await
        .refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
    assert_eq!(server.get_token(&token.name).await.rotated_to, "", "nothing is changed");
}

async fn an_invalid_field_is_named(installation: Installation) {
    type Change = fn(&mut RotateTokenRequest);
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = server.token(token_in(&acme)).await.public.name;
    let changes: [(&str, Change); 12] = [
        ("name", |request| request.name.clear()),
        ("name", |request| request.name = "workspaces/acme".to_owned()),
        ("overlap", |request| {
            request.overlap = Some(prost_types::Duration { seconds: -1, nanos: 0 })
        }),
        ("overlap", |request| {
            request.overlap = Some(prost_types::Duration { seconds: 1, nanos: -1 })
        }),
        ("overlap", |request| {
            request.overlap = Some(prost_types::Duration {
                seconds: 0,
                nanos: 1_000_000_000,
            })
        }),
        ("overlap", |request| {
            request.overlap = Some(prost_types::Duration {
                seconds: i64::MAX,
                nanos: 0,
            })
        }),
        // One microsecond over the maximum overlap.
        ("overlap", |request| {
            request.overlap = Some(prost_types::Duration {
                seconds: 30 * 24 * 3_600,
                nanos: 1_000,
            })
        }),
        ("ttl", |request| request.expiry = ttl(Duration::ZERO)),
        ("expire_time", |request| {
            request.expiry = Some(Expiry::ExpireTime(Timestamp {
                seconds: 1_600_000_000,
                nanos: 0,
            }))
        }),
        ("no_expiry", |request| request.expiry = Some(Expiry::NoExpiry(false))),
        ("request_id", |request| request.request_id = "x".repeat(37)),
        ("request_id", |request| request.request_id = "é".to_owned()),
    ];
    for (field, change) in changes {
        let mut bad = request(&name);
        change(&mut bad);
        call(&server, bad).await.refused_field(field);
    }
    let all = RotateTokenRequest {
        overlap: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        expiry: Some(Expiry::NoExpiry(false)),
        ..Default::default()
    };
    let status = call(&server, all).await.expect_err("every field is invalid");
    let fields: Vec<_> = tokend_client::CallError::from(status)
        .fields
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(fields, ["name", "overlap", "no_expiry"]);
    assert_eq!(list(&server, &acme).await.len(), 1, "no token is created");
    assert_eq!(server.get_token(&name).await.rotated_to, "");
}
