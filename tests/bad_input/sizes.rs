//! Whole messages: empty, of the largest size, and larger.

use bytes::Bytes;
use prost::encoding::WireType;
use tokend_client::v1::ErrorReason;
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, fields, refused, too_large},
    descriptors::{delimited, keyed, rpcs},
    good_request::good_request,
    refusal,
    run::{World, run},
    values::Values,
};

on_both_databases!(messages, an_error_about_a_long_path_is_short);

/// A field number that the contract does not use. Decoders skip it.
const UNKNOWN: u32 = 1_000;

async fn messages(installation: Installation) {
    run(installation, cases, read_back).await;
}

/// The largest size of a message in bytes.
fn limit(rpc: &str) -> usize {
    match rpc {
        "TokenVerify/Verify" => 16 * 1024,
        "TokenVerify/BatchVerify" | "TokenVerify/Watch" => 2 * 1024 * 1024,
        "TokenAdmin/BatchRevokeTokens" | "TokenAdmin/RevokeLeakedTokens" => 1024 * 1024,
        _ => 64 * 1024,
    }
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let mut cases = Vec::new();
    for rpc in rpcs() {
        let (rpc, limit, good) = (rpc.name, limit(rpc.name), good_request(values, rpc.name));
        let mut add = |aspect, what: &str, request: Vec<u8>, expect| {
            cases.push(Case {
                rpc,
                field: String::new(),
                aspect,
                what: what.to_owned(),
                request: Bytes::from(request),
                expect,
            });
        };
        add(Aspect::Empty, "nothing", Vec::new(), of_nothing(rpc));
        // Each padded request that creates something needs its own name.
        add(
            Aspect::Largest,
            "of the largest size",
            padded(&good, limit),
            Expect::Accepted,
        );
        add(Aspect::TooLarge, "a byte more", padded(&good, limit + 1), too_large());
        add(
            Aspect::TooLarge,
            "eight megabytes",
            padded(&good, 8 * 1024 * 1024),
            too_large(),
        );
        add(
            Aspect::TooLarge,
            "a byte more than the largest, of nothing known",
            padded(&[], limit + 1),
            too_large(),
        );
    }
    cases
}

/// Returns the expected outcome of an empty message.
fn of_nothing(rpc: &str) -> Expect {
    match rpc {
        "TokenVerify/Verify" => fields(&["resource"]),
        "TokenVerify/BatchVerify" => fields(&["requests"]),
        "TokenVerify/Watch" => Expect::Silence,
        "TokenAdmin/CreateToken" => fields(&["parent", "display_name", "scopes", "expiry"]),
        "AuditLog/ListAuditEvents" | "AuditLog/WatchAuditEvents" => fields(&["parent"]),
        "TokenAdmin/ListTokens" | "CallerAdmin/CreateCallerKey" | "CallerAdmin/ListCallerKeys" => fields(&["parent"]),
        "TokenAdmin/BatchRevokeTokens" => fields(&["parent", "names"]),
        "TokenAdmin/RevokeLeakedTokens" => fields(&["leaks"]),
        "TokenAdmin/IdentifyToken" => refused(Code::NotFound, ErrorReason::TokenNotFound),
        "TokenAdmin/ListScopes"
        | "WorkspaceAdmin/ListWorkspaces"
        | "WorkspaceAdmin/ListOrganizations"
        | "CallerAdmin/ListCallers" => Expect::Accepted,
        "WorkspaceAdmin/CreateWorkspace" => fields(&["workspace_id", "display_name"]),
        "WorkspaceAdmin/CreateOrganization" => fields(&["organization_id", "display_name"]),
        "WorkspaceAdmin/UpdateTokenPolicy" => fields(&["policy"]),
        "CallerAdmin/CreateCaller" => fields(&["caller_id", "role", "workspaces"]),
        _ => fields(&["name"]),
    }
}

/// Pads the request with an unknown field to `size` bytes.
fn padded(request: &[u8], size: usize) -> Vec<u8> {
    let of = |padding: usize| {
        [
            request,
            &keyed(UNKNOWN, WireType::LengthDelimited, &delimited(&vec![b'x'; padding])),
        ]
        .concat()
    };
    let mut padded = of(size - request.len() - 8);
    while padded.len() < size {
        // Two bytes for the field's key and up to four for its length.
        padded = of(size - request.len() - 8 + (size - padded.len()));
    }
    assert_eq!(padded.len(), size);
    padded
}

async fn an_error_about_a_long_path_is_short(installation: Installation) {
    let world = World::of(&installation).await;
    for method in [
        "x".repeat(6_000),
        "%1b%0a".repeat(1_000),
        world.values.token.secret.clone(),
    ] {
        let status = world
            .send(&format!("TokenAdmin/{method}"), Bytes::new())
            .await
            .expect_err("the method does not exist");
        let (code, reason, secrets) = (Code::Unimplemented, ErrorReason::UnknownMethod, world.values.secrets());
        refusal::check(&status, code, reason, &[], secrets).expect("the error fits into a header");
    }
}

async fn read_back(_: &World, _: &Case, answer: Bytes) -> Result<(), String> {
    if answer.is_empty() {
        Err("nothing was answered".to_owned())
    } else {
        Ok(())
    }
}
