//! A caller cannot distinguish a foreign workspace, which it has no access to, from an absent one: for both, every RPC
//! that names a workspace returns the same bytes, error details included.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    BatchRevokeTokensRequest, BatchVerifyRequest, CreateCallerRequest, Decision, DenyReason, GetTokenPolicyRequest,
    GetTokenRequest, GetWorkspaceRequest, IdentifyTokenRequest, ListAuditEventsRequest, ListTokensRequest,
    RevokeTokenRequest, Role, RotateTokenRequest, Selection, TokenPolicy, UpdateTokenPolicyRequest, VerifyResponse,
    WatchAuditEventsRequest,
};
use tokend_core::caller;
use tokend_server::operation::Operation;
use tokend_tests::{Installation, Server, on_both_databases, question, raw, token_in};
use tonic::{Code, Status, transport::Channel};

on_both_databases!(a_foreign_workspace_answers_exactly_like_an_absent_one);

/// The workspace and the token that a request names.
struct Subject {
    workspace: String,
    token: String,
    secret: String,
}

/// Returns a request that names the subject, or `None` if the RPC names no workspace. An RPC without a row fails the
/// test.
fn request(path: &str, subject: &Subject) -> Option<Vec<u8>> {
    let Subject {
        workspace,
        token,
        secret,
    } = subject;
    let (workspace, name, secret) = (workspace.clone(), token.clone(), secret.clone());
    let (service, method) = path
        .strip_prefix("/tokend.v1.")
        .and_then(|path| path.split_once('/'))
        .expect("the path names a service and a method");
    Some(match (service, method) {
        ("TokenVerify", "Verify") => question(&secret, &workspace, &[]).encode_to_vec(),
        ("TokenVerify", "BatchVerify") => BatchVerifyRequest {
            requests: vec![question(&secret, &workspace, &[])],
        }
        .encode_to_vec(),
        ("TokenAdmin", "CreateToken") => token_in(&workspace).encode_to_vec(),
        ("TokenAdmin", "GetToken") => GetTokenRequest { name }.encode_to_vec(),
        ("TokenAdmin", "ListTokens") => ListTokensRequest {
            parent: workspace,
            ..Default::default()
        }
        .encode_to_vec(),
        ("TokenAdmin", "RotateToken") => RotateTokenRequest {
            name,
            ..Default::default()
        }
        .encode_to_vec(),
        ("TokenAdmin", "RevokeToken") => RevokeTokenRequest {
            name,
            ..Default::default()
        }
        .encode_to_vec(),
        ("TokenAdmin", "BatchRevokeTokens") => BatchRevokeTokensRequest {
            parent: workspace,
            names: vec![name],
            ..Default::default()
        }
        .encode_to_vec(),
        ("TokenAdmin", "IdentifyToken") => IdentifyTokenRequest { secret }.encode_to_vec(),
        ("WorkspaceAdmin", "GetWorkspace") => GetWorkspaceRequest { name: workspace }.encode_to_vec(),
        ("WorkspaceAdmin", "GetTokenPolicy") => GetTokenPolicyRequest {
            name: format!("{workspace}/tokenPolicy"),
        }
        .encode_to_vec(),
        ("WorkspaceAdmin", "UpdateTokenPolicy") => {
            let policy = TokenPolicy {
                name: format!("{workspace}/tokenPolicy"),
                ..Default::default()
            };
            UpdateTokenPolicyRequest {
                policy: Some(policy),
                ..Default::default()
            }
            .encode_to_vec()
        }
        ("AuditLog", "ListAuditEvents") => ListAuditEventsRequest {
            parent: workspace,
            ..Default::default()
        }
        .encode_to_vec(),
        ("AuditLog", "WatchAuditEvents") => WatchAuditEventsRequest {
            parent: workspace,
            ..Default::default()
        }
        .encode_to_vec(),
        ("TokenVerify", "Watch") | ("TokenAdmin", "ListScopes") | ("WorkspaceAdmin", "ListWorkspaces") => return None,
        // ADMIN, AUDITOR and REVOKER cannot be limited to workspaces.
        _ if !is_for_limited_callers(path) => return None,
        _ => panic!("which workspace does {path} name?"),
    })
}

/// Returns whether a role that can be limited to workspaces may call an RPC.
fn is_for_limited_callers(path: &str) -> bool {
    let access = Operation::of(path).expect("the contract has this RPC").facts().access;
    access.allows(caller::Role::WorkspaceAdmin) || access.allows(caller::Role::Verifier)
}

/// Creates a caller that is limited to `acme`, and returns its key.
async fn limited(server: &Server, role: Role) -> String {
    let request = CreateCallerRequest {
        caller_id: role.as_str_name().to_lowercase().replace('_', "-"),
        role: role.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec!["workspaces/acme".to_owned()],
        }),
        ..Default::default()
    };
    server.caller_as(request).await.secret
}

/// Returns everything that a client sees of a response, with the absent workspace's name replaced by the foreign one's.
async fn answer(channel: &Channel, key: &str, path: &str, message: Vec<u8>) -> Result<Bytes, (Code, String, Vec<u8>)> {
    // Both names have the same length, so that lengths in the details stay valid.
    let renamed = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("nobod", "other").into_bytes();
    let answered = raw::call_as(channel, key, path, message.into()).await;
    answered.map(tonic::Response::into_inner).map_err(|status: Status| {
        (
            status.code(),
            String::from_utf8_lossy(&renamed(status.message().as_bytes())).into_owned(),
            renamed(status.details()),
        )
    })
}

async fn a_foreign_workspace_answers_exactly_like_an_absent_one(installation: Installation) {
    let server = installation.start().await;
    let [mut own, mut foreign] = ["acme", "other"].map(|id| Subject {
        workspace: format!("workspaces/{id}"),
        token: String::new(),
        secret: String::new(),
    });
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
        secret: String::from_utf8(forged).expect("the secret is UTF-8"),
    };
    let channel = raw::connect(server.grpc_address()).await;
    let mut compared = 0;
    for (role, is_allowed) in [
        (
            Role::Verifier,
            (|path| path.contains("TokenVerify")) as fn(&str) -> bool,
        ),
        (Role::WorkspaceAdmin, |path| !path.contains("TokenVerify")),
    ] {
        let key = limited(&server, role).await;
        for path in raw::contract_paths().iter().filter(|path| is_allowed(path)) {
            let Some(of_foreign) = request(path, &foreign) else {
                continue;
            };
            let answered = answer(&channel, &key, path, of_foreign).await;
            assert_eq!(
                answered,
                answer(
                    &channel,
                    &key,
                    path,
                    request(path, &absent).expect("the RPC names a workspace")
                )
                .await,
                "{path}"
            );
            compared += 1;
            match answered {
                Ok(verdict) if path.ends_with("/Verify") => {
                    let verdict = VerifyResponse::decode(verdict).expect("the response is a verdict");
                    assert_eq!(verdict.deny_reason(), DenyReason::Unrecognized);
                }
                Ok(_) => assert!(
                    path.ends_with("/BatchVerify"),
                    "{path} is served for a foreign workspace"
                ),
                Err((code, ..)) => assert_eq!(code, Code::NotFound, "{path}"),
            }
            // A watch of its own workspace never ends.
            if path.ends_with("/WatchAuditEvents") {
                continue;
            }
            let served = answer(
                &channel,
                &key,
                path,
                request(path, &own).expect("the RPC names a workspace"),
            )
            .await;
            let served =
                served.unwrap_or_else(|refusal| panic!("{path} is refused for its own workspace: {refusal:?}"));
            if path.ends_with("/Verify") {
                assert_eq!(
                    VerifyResponse::decode(served)
                        .expect("the response is a verdict")
                        .decision(),
                    Decision::Allow
                );
                // Its own token does not cover other workspaces. `expires_in` differs because time passes between the
                // calls.
                let mut verdicts = Vec::new();
                for resource in ["workspaces/other", "workspaces/nobod"] {
                    let answered = answer(
                        &channel,
                        &key,
                        path,
                        question(&own.secret, resource, &[]).encode_to_vec(),
                    )
                    .await;
                    let mut verdict = VerifyResponse::decode(answered.expect("the response is a verdict"))
                        .expect("the response is a verdict");
                    verdict
                        .token
                        .as_mut()
                        .expect("the verdict contains the token")
                        .expires_in = None;
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
