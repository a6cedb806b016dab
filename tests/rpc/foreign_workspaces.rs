//! A workspace that a caller is not limited to is to it as one that does not exist: every RPC that names a workspace answers for both
//! byte by byte the same, details included.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchVerifyRequest, CreateCallerRequest, Decision, DenyReason, GetTokenPolicyRequest,
    GetTokenRequest, GetWorkspaceRequest, IdentifyTokenRequest, ListAuditEventsRequest, ListTokensRequest, RevokeTokenRequest,
    Role, RotateTokenRequest, Selection, TokenPolicy, UpdateTokenPolicyRequest, VerifyResponse, WatchAuditEventsRequest,
};
use tokend_tests::{Installation, Server, on_both_databases, question, raw, token_in};
use tonic::{Code, Status, transport::Channel};

on_both_databases!(a_foreign_workspace_is_byte_by_byte_as_an_absent_one);

/// What a request is about.
struct Subject {
    workspace: String,
    token: String,
    secret: String,
}

/// A request about it, unless the RPC names no workspace. An RPC without a row fails the test.
fn request(path: &str, subject: &Subject) -> Option<Vec<u8>> {
    let Subject { workspace, token, secret } = subject;
    let (workspace, name, secret) = (workspace.clone(), token.clone(), secret.clone());
    let (service, method) = path.strip_prefix("/tokend.v1.").and_then(|path| path.split_once('/')).expect("a path");
    Some(match (service, method) {
        ("TokenVerify", "Verify") => question(&secret, &workspace, &[]).encode_to_vec(),
        ("TokenVerify", "BatchVerify") => BatchVerifyRequest { requests: vec![question(&secret, &workspace, &[])] }.encode_to_vec(),
        ("TokenAdmin", "CreateToken") => token_in(&workspace).encode_to_vec(),
        ("TokenAdmin", "GetToken") => GetTokenRequest { name }.encode_to_vec(),
        ("TokenAdmin", "ListTokens") => ListTokensRequest { parent: workspace, ..Default::default() }.encode_to_vec(),
        ("TokenAdmin", "RotateToken") => RotateTokenRequest { name, ..Default::default() }.encode_to_vec(),
        ("TokenAdmin", "RevokeToken") => RevokeTokenRequest { name, ..Default::default() }.encode_to_vec(),
        ("TokenAdmin", "BatchRevokeTokens") => {
            BatchRevokeTokensRequest { parent: workspace, names: vec![name], ..Default::default() }.encode_to_vec()
        }
        ("TokenAdmin", "IdentifyToken") => IdentifyTokenRequest { secret }.encode_to_vec(),
        ("WorkspaceAdmin", "GetWorkspace") => GetWorkspaceRequest { name: workspace }.encode_to_vec(),
        ("WorkspaceAdmin", "GetTokenPolicy") => GetTokenPolicyRequest { name: format!("{workspace}/tokenPolicy") }.encode_to_vec(),
        ("WorkspaceAdmin", "UpdateTokenPolicy") => {
            let policy = TokenPolicy { name: format!("{workspace}/tokenPolicy"), ..Default::default() };
            UpdateTokenPolicyRequest { policy: Some(policy), ..Default::default() }.encode_to_vec()
        }
        ("AuditLog", "ListAuditEvents") => ListAuditEventsRequest { parent: workspace, ..Default::default() }.encode_to_vec(),
        ("AuditLog", "WatchAuditEvents") => WatchAuditEventsRequest { parent: workspace, ..Default::default() }.encode_to_vec(),
        ("TokenAdmin", "ListScopes") | ("WorkspaceAdmin", "CreateWorkspace" | "ListWorkspaces") => return None,
        // For who is limited to no workspace.
        ("TokenAdmin", "RevokeLeakedTokens") => return None,
        // Those of ADMIN and AUDITOR, who are limited to no workspace.
        ("WorkspaceAdmin", "SuspendWorkspace" | "ResumeWorkspace" | "DeleteWorkspace") | ("CallerAdmin", _) => return None,
        ("WorkspaceAdmin", "CreateOrganization" | "GetOrganization" | "ListOrganizations") => return None,
        _ => panic!("which workspace does {path} name?"),
    })
}

/// A caller that is limited to `acme`, and its key.
async fn limited(server: &Server, role: Role) -> String {
    let request = CreateCallerRequest {
        caller_id: role.as_str_name().to_lowercase().replace('_', "-"),
        role: role.into(),
        workspaces: Some(Selection { all: false, only: vec!["workspaces/acme".to_owned()] }),
        ..Default::default()
    };
    server.caller_as(request).await.secret
}

/// All that a client gets to see of an answer; the absent workspace's name stands where the foreign one's would.
async fn answer(channel: &Channel, key: &str, path: &str, message: Vec<u8>) -> Result<Bytes, (Code, String, Vec<u8>)> {
    // Both names are of one length, so that lengths in the details stay right.
    let renamed = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("nobod", "other").into_bytes();
    let answered = raw::call_as(channel, key, path, message.into()).await;
    answered.map(tonic::Response::into_inner).map_err(|status: Status| {
        (status.code(), String::from_utf8_lossy(&renamed(status.message().as_bytes())).into_owned(), renamed(status.details()))
    })
}

async fn a_foreign_workspace_is_byte_by_byte_as_an_absent_one(installation: Installation) {
    let server = installation.start().await;
    let [mut own, mut foreign] =
        ["acme", "other"].map(|id| Subject { workspace: format!("workspaces/{id}"), token: String::new(), secret: String::new() });
    for (subject, id) in [(&mut own, "acme"), (&mut foreign, "other")] {
        server.workspace(id).await;
        let issued = server.token(token_in(&subject.workspace)).await;
        (subject.token, subject.secret) = (issued.public.name, issued.secret);
    }
    let mut forged = foreign.secret.clone().into_bytes();
    forged[40] = if forged[40] == b'0' { b'1' } else { b'0' };
    let absent = Subject {
        workspace: "workspaces/nobod".to_owned(),
        token: foreign.token.replacen("other", "nobod", 1),
        secret: String::from_utf8(forged).expect("text"),
    };
    let channel = raw::connect(server.grpc_address()).await;
    let mut compared = 0;
    for (role, is_its) in [
        (Role::Verifier, (|path| path.contains("TokenVerify")) as fn(&str) -> bool),
        (Role::WorkspaceAdmin, |path| !path.contains("TokenVerify")),
    ] {
        let key = limited(&server, role).await;
        for path in raw::contract_paths().iter().filter(|path| is_its(path)) {
            let Some(of_foreign) = request(path, &foreign) else { continue };
            let told = answer(&channel, &key, path, of_foreign).await;
            assert_eq!(told, answer(&channel, &key, path, request(path, &absent).expect("the same RPC")).await, "{path}");
            compared += 1;
            match told {
                Ok(verdict) if path.ends_with("/Verify") => {
                    let verdict = VerifyResponse::decode(verdict).expect("a verdict");
                    assert_eq!(verdict.deny_reason(), DenyReason::Unrecognized);
                }
                Ok(_) => assert!(path.ends_with("/BatchVerify"), "{path} is served for a foreign workspace"),
                Err((code, ..)) => assert_eq!(code, Code::NotFound, "{path}"),
            }
            // A watch goes on for ever.
            if path.ends_with("/WatchAuditEvents") {
                continue;
            }
            let served = answer(&channel, &key, path, request(path, &own).expect("the same RPC")).await;
            let served = served.unwrap_or_else(|refusal| panic!("{path} is its own: {refusal:?}"));
            if path.ends_with("/Verify") {
                assert_eq!(VerifyResponse::decode(served).expect("a verdict").decision(), Decision::Allow);
                // Its own token, for what is elsewhere. Time goes on meanwhile.
                let mut verdicts = Vec::new();
                for resource in ["workspaces/other", "workspaces/nobod"] {
                    let told = answer(&channel, &key, path, question(&own.secret, resource, &[]).encode_to_vec()).await;
                    let mut verdict = VerifyResponse::decode(told.expect("a verdict")).expect("a verdict");
                    verdict.token.as_mut().expect("its own token is told").expires_in = None;
                    verdicts.push(verdict);
                }
                assert_eq!(verdicts[0].deny_reason(), DenyReason::ResourceNotCovered);
                assert_eq!(verdicts[0], verdicts[1]);
            }
        }
    }
    assert!(compared >= 10, "{compared} RPCs name a workspace");
    assert_eq!(server.get_token(&foreign.token).await.revoke_time, None);
}
