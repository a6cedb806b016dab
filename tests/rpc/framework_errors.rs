//! Errors of the framework have our form, too: what can't be decoded, is too large, or does not exist.

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
    bytes_that_are_no_message_are_refused_by_every_rpc,
    text_that_is_no_utf8_is_refused,
    a_call_has_exactly_one_message,
    compression_that_is_not_served_is_told_as_such,
    a_message_has_a_largest_size,
    what_is_not_there_is_unimplemented,
);

const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
const VERIFY_LIMIT: usize = 16 * 1024;
const ADMIN_LIMIT: usize = 64 * 1024;

async fn bytes_that_are_no_message_are_refused_by_every_rpc(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for path in raw::contract_paths() {
        // A tag that never ends; a length beyond the message; a wire type that there is not.
        for bytes in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x0a\x7fshort", b"\x0f"] {
            let answer = raw::call_as(&channel, server.admin_key(), &path, Bytes::from_static(bytes)).await;
            refusal(&answer.expect_err(&path), Code::InvalidArgument, ErrorReason::UndecodableRequest);
        }
    }
}

async fn text_that_is_no_utf8_is_refused(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    // The first field of each of these is a string.
    for path in [
        VERIFY,
        "/tokend.v1.TokenAdmin/CreateToken",
        "/tokend.v1.TokenAdmin/GetToken",
        "/tokend.v1.TokenAdmin/RevokeToken",
        "/tokend.v1.WorkspaceAdmin/CreateWorkspace",
        "/tokend.v1.WorkspaceAdmin/GetWorkspace",
        "/tokend.v1.CallerAdmin/CreateCaller",
    ] {
        let answer = raw::call_as(&channel, server.admin_key(), path, Bytes::from_static(b"\x0a\x04ab\xff\xfe")).await;
        refusal(&answer.expect_err(path), Code::InvalidArgument, ErrorReason::UndecodableRequest);
    }
}

async fn a_call_has_exactly_one_message(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let key = bearer(server.admin_key());
    let answer = raw::call(&channel, VERIFY, &[("authorization", &key)], &[]).await;
    refusal(&answer.expect_err("it asks nothing"), Code::InvalidArgument, ErrorReason::UndecodableRequest);
}

async fn compression_that_is_not_served_is_told_as_such(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    let headers: [(_, &[u8]); 2] = [("authorization", &bearer(server.admin_key())), ("grpc-encoding", b"zstd")];
    let status = raw::call(&channel, VERIFY, &headers, &[Bytes::new()]).await.expect_err("it is not served");
    refusal(&status, Code::Unimplemented, ErrorReason::EncodingNotServed);
    assert!(status.message().contains("zstd"), "{status:?}");
}

async fn a_message_has_a_largest_size(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let channel = raw::connect(server.grpc_address()).await;
    let padded = |limit: usize| {
        let mut request = question("", &acme, &[]);
        while request.encoded_len() < limit {
            request.token.push_str(&"x".repeat((limit - request.encoded_len()).div_ceil(2)));
        }
        assert_eq!(request.encoded_len(), limit);
        request
    };
    let send = async |request: VerifyRequest| {
        raw::call_as(&channel, server.admin_key(), VERIFY, Bytes::from(request.encode_to_vec())).await
    };
    let largest = send(padded(VERIFY_LIMIT)).await.expect("within the limit a long token is no error").into_inner();
    VerifyResponse::decode(largest).expect("it is a verdict");
    let too_large = send(padded(VERIFY_LIMIT + 1)).await.expect_err("past the limit");
    refusal(&too_large, Code::ResourceExhausted, ErrorReason::MessageTooLarge);

    let mebibyte = "x".repeat(1 << 20);
    let answer = server.admin().token_verify().verify(question(&mebibyte, &acme, &[])).await;
    answer.refused(Code::ResourceExhausted, ErrorReason::MessageTooLarge);
    for request in [
        CreateTokenRequest { description: mebibyte.clone(), ..token_in(&acme) },
        CreateTokenRequest { resource: mebibyte.clone(), ..token_in(&acme) },
        CreateTokenRequest { description: "x".repeat(ADMIN_LIMIT), ..token_in(&acme) },
    ] {
        let answer = server.admin().token_admin().create_token(request).await;
        answer.refused(Code::ResourceExhausted, ErrorReason::MessageTooLarge);
    }
    // Below that limit it is a field that does not fit.
    let request = CreateTokenRequest { description: "x".repeat(ADMIN_LIMIT - 1_000), ..token_in(&acme) };
    server.admin().token_admin().create_token(request).await.refused_field("description");
    server.token(token_in(&acme)).await;
}

async fn what_is_not_there_is_unimplemented(installation: Installation) {
    let server = installation.start().await;
    let channel = raw::connect(server.grpc_address()).await;
    for path in [
        "/tokend.v1.TokenVerify/Watch",
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
        refusal(&answer.expect_err(path), Code::Unimplemented, ErrorReason::UnknownMethod);
    }
}
