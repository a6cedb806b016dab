//! Errors of the gRPC framework have tokend's error details, too: undecodable, too large or unknown calls.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{CreateTokenRequest, ErrorReason, VerifyRequest, VerifyResponse};
use tokend_tests::{
    Installation, Refused, on_both_databases, question,
    raw::{self, bearer},
    refusal, token_in,
};
use tonic::Code;

on_both_databases!(
    every_rpc_refuses_undecodable_bytes,
    text_that_is_not_utf8_is_refused,
    a_call_has_exactly_one_message,
    an_unsupported_compression_is_refused,
    a_message_that_is_too_large_is_refused,
    unknown_methods_are_unimplemented,
);

const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
const VERIFY_LIMIT: usize = 16 * 1024;
const ADMIN_LIMIT: usize = 64 * 1024;

async fn every_rpc_refuses_undecodable_bytes(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for path in raw::contract_paths() {
        // An unterminated tag, a length beyond the message, and an unknown wire type.
        for bytes in [
            &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\x0a\x7fshort",
            b"\x0f",
        ] {
            let answer = raw::call_as(&channel, server.admin_key(), &path, Bytes::from_static(bytes)).await;
            refusal(
                &answer.expect_err(&path),
                Code::InvalidArgument,
                ErrorReason::UndecodableRequest,
            );
        }
    }
}

async fn text_that_is_not_utf8_is_refused(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    // The first field of each of these requests is a string.
    for path in [
        VERIFY,
        "/tokend.v1.TokenAdmin/CreateToken",
        "/tokend.v1.TokenAdmin/GetToken",
        "/tokend.v1.TokenAdmin/RevokeToken",
        "/tokend.v1.WorkspaceAdmin/CreateWorkspace",
        "/tokend.v1.WorkspaceAdmin/GetWorkspace",
        "/tokend.v1.CallerAdmin/CreateCaller",
    ] {
        let answer = raw::call_as(
            &channel,
            server.admin_key(),
            path,
            Bytes::from_static(b"\x0a\x04ab\xff\xfe"),
        )
        .await;
        refusal(
            &answer.expect_err(path),
            Code::InvalidArgument,
            ErrorReason::UndecodableRequest,
        );
    }
}

async fn a_call_has_exactly_one_message(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let key = bearer(server.admin_key());
    let answer = raw::call(&channel, VERIFY, &[("authorization", &key)], &[]).await;
    refusal(
        &answer.expect_err("the call has no message"),
        Code::InvalidArgument,
        ErrorReason::UndecodableRequest,
    );
}

async fn an_unsupported_compression_is_refused(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let headers: [(_, &[u8]); 2] = [
        ("authorization", &bearer(server.admin_key())),
        ("grpc-encoding", b"zstd"),
    ];
    let status = raw::call(&channel, VERIFY, &headers, &[Bytes::new()])
        .await
        .expect_err("the encoding is not supported");
    refusal(&status, Code::Unimplemented, ErrorReason::EncodingNotServed);
    assert!(status.message().contains("zstd"), "{status:?}");
}

async fn a_message_that_is_too_large_is_refused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let channel = raw::connect(server.grpc_address()).await;
    let padded = |limit: usize| {
        let mut request = question("", &acme, &[]);
        while request.encoded_len() < limit {
            request
                .token
                .push_str(&"x".repeat((limit - request.encoded_len()).div_ceil(2)));
        }
        assert_eq!(request.encoded_len(), limit);
        request
    };
    let send = async |request: VerifyRequest| {
        raw::call_as(
            &channel,
            server.admin_key(),
            VERIFY,
            Bytes::from(request.encode_to_vec()),
        )
        .await
    };
    let largest = send(padded(VERIFY_LIMIT))
        .await
        .expect("Verify accepts a message at the limit")
        .into_inner();
    VerifyResponse::decode(largest).expect("the response is a verdict");
    let too_large = send(padded(VERIFY_LIMIT + 1))
        .await
        .expect_err("the message is too large");
    refusal(&too_large, Code::ResourceExhausted, ErrorReason::MessageTooLarge);

    let mebibyte = "x".repeat(1 << 20);
    let answer = server
        .admin()
        .token_verify()
        .verify(question(&mebibyte, &acme, &[]))
        .await;
    answer.refused(Code::ResourceExhausted, ErrorReason::MessageTooLarge);
    for request in [
        CreateTokenRequest {
            description: mebibyte.clone(),
            ..token_in(&acme)
        },
        CreateTokenRequest {
            resource: mebibyte.clone(),
            ..token_in(&acme)
        },
        CreateTokenRequest {
            description: "x".repeat(ADMIN_LIMIT),
            ..token_in(&acme)
        },
    ] {
        let answer = server.admin().token_admin().create_token(request).await;
        answer.refused(Code::ResourceExhausted, ErrorReason::MessageTooLarge);
    }
    // Below the message limit, the field's own limit applies.
    let request = CreateTokenRequest {
        description: "x".repeat(ADMIN_LIMIT - 1_000),
        ..token_in(&acme)
    };
    server
        .admin()
        .token_admin()
        .create_token(request)
        .await
        .refused_field("description");
    server.token(token_in(&acme)).await;
}

async fn unknown_methods_are_unimplemented(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for path in [
        "/tokend.v1.TokenVerify/Unwatch",
        "/tokend.v1.TokenVerify/verify",
        "/tokend.v1.TokenVerify/Verify/",
        "/tokend.v1.TokenVerify/",
        "/tokend.v1.TokenAdmin/UpdateToken",
        "/tokend.v2.TokenVerify/Verify",
        "/grpc.health.v1.Health/Nothing",
        "/nobody.Nothing/Nothing",
        "/nothing",
        "/",
        "//",
    ] {
        let answer = raw::call_as(&channel, server.admin_key(), path, Bytes::new()).await;
        refusal(
            &answer.expect_err(path),
            Code::Unimplemented,
            ErrorReason::UnknownMethod,
        );
    }
}
