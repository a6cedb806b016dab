//! What the client has to know about each RPC: whether a repeated call is safe, and how long a call may take.

use std::time::Duration;

use prost::Message;

use crate::v1::{CreateTokenRequest, RotateTokenRequest, UpdateTokenPolicyRequest};

/// How long a call to verify tokens may take. Someone waits for the request that it belongs to.
const VERIFY_DEADLINE: Duration = Duration::from_secs(5);
/// How long any other call may take. This exceeds the deadlines of the service, unless its operator has raised them.
const ADMIN_DEADLINE: Duration = Duration::from_secs(60);

/// An RPC of the contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rpc {
    path: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Verifies tokens.
    Verify,
    /// Reads, or ends something in such a way that ending it again returns the same.
    Repeatable,
    /// May be repeated if the request says so, by its `request_id` or by `validate_only`.
    OfRequest(fn(&[u8]) -> bool),
    /// A repeated call does something else than the first.
    Once,
    /// The response or both sides are streams.
    Stream,
}

/// Any RPC that is not in the table, such as one of a newer contract.
const UNKNOWN: Rpc = rpc("", Kind::Once);

#[rustfmt::skip]
const RPCS: &[Rpc] = &[
    rpc("/tokend.v1.TokenVerify/Verify", Kind::Verify),
    rpc("/tokend.v1.TokenVerify/BatchVerify", Kind::Verify),
    rpc("/tokend.v1.TokenVerify/Watch", Kind::Stream),
    rpc("/tokend.v1.TokenAdmin/CreateToken", Kind::OfRequest(create_token)),
    rpc("/tokend.v1.TokenAdmin/GetToken", Kind::Repeatable),
    rpc("/tokend.v1.TokenAdmin/ListTokens", Kind::Repeatable),
    rpc("/tokend.v1.TokenAdmin/RotateToken", Kind::OfRequest(rotate_token)),
    rpc("/tokend.v1.TokenAdmin/RevokeToken", Kind::Repeatable),
    // A repeated call reports fewer revoked tokens, but the tokens that it would have revoked are.
    rpc("/tokend.v1.TokenAdmin/BatchRevokeTokens", Kind::Repeatable),
    rpc("/tokend.v1.TokenAdmin/RevokeLeakedTokens", Kind::Repeatable),
    rpc("/tokend.v1.TokenAdmin/IdentifyToken", Kind::Repeatable),
    rpc("/tokend.v1.TokenAdmin/ListScopes", Kind::Repeatable),
    rpc("/tokend.v1.WorkspaceAdmin/CreateWorkspace", Kind::Once),
    rpc("/tokend.v1.WorkspaceAdmin/GetWorkspace", Kind::Repeatable),
    rpc("/tokend.v1.WorkspaceAdmin/ListWorkspaces", Kind::Repeatable),
    rpc("/tokend.v1.WorkspaceAdmin/SuspendWorkspace", Kind::Repeatable),
    // Not repeatable: between two attempts, someone else may suspend the workspace.
    rpc("/tokend.v1.WorkspaceAdmin/ResumeWorkspace", Kind::Once),
    rpc("/tokend.v1.WorkspaceAdmin/DeleteWorkspace", Kind::Repeatable),
    rpc("/tokend.v1.WorkspaceAdmin/CreateOrganization", Kind::Once),
    rpc("/tokend.v1.WorkspaceAdmin/GetOrganization", Kind::Repeatable),
    rpc("/tokend.v1.WorkspaceAdmin/ListOrganizations", Kind::Repeatable),
    rpc("/tokend.v1.WorkspaceAdmin/GetTokenPolicy", Kind::Repeatable),
    rpc("/tokend.v1.WorkspaceAdmin/UpdateTokenPolicy", Kind::OfRequest(update_token_policy)),
    rpc("/tokend.v1.CallerAdmin/CreateCaller", Kind::Once),
    rpc("/tokend.v1.CallerAdmin/GetCaller", Kind::Repeatable),
    rpc("/tokend.v1.CallerAdmin/ListCallers", Kind::Repeatable),
    // A repeated call returns NOT_FOUND, which would hide that the first one succeeded.
    rpc("/tokend.v1.CallerAdmin/DeleteCaller", Kind::Once),
    rpc("/tokend.v1.CallerAdmin/CreateCallerKey", Kind::Once),
    rpc("/tokend.v1.CallerAdmin/RevokeCallerKey", Kind::Repeatable),
    rpc("/tokend.v1.CallerAdmin/ListCallerKeys", Kind::Repeatable),
    rpc("/tokend.v1.AuditLog/ListAuditEvents", Kind::Repeatable),
    rpc("/tokend.v1.AuditLog/WatchAuditEvents", Kind::Stream),
];

const fn rpc(path: &'static str, kind: Kind) -> Rpc {
    Rpc { path, kind }
}

impl Rpc {
    /// Returns the RPC with this path.
    pub(crate) fn at(path: &str) -> Self {
        RPCS.iter().find(|rpc| rpc.path == path).copied().unwrap_or(UNKNOWN)
    }

    /// Returns whether the client or the server sends a stream.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self.kind, Kind::Stream)
    }

    /// Returns whether it is safe to repeat a call whose outcome is unknown. `body` is the request in gRPC's framing.
    pub(crate) fn may_be_repeated(self, body: &[u8]) -> bool {
        match self.kind {
            Kind::Verify | Kind::Repeatable => true,
            Kind::OfRequest(is_safe) => is_safe(body),
            Kind::Once | Kind::Stream => false,
        }
    }

    /// Returns how long a call may take, all attempts together, unless the request says otherwise.
    pub(crate) fn deadline(self) -> Duration {
        match self.kind {
            Kind::Verify => VERIFY_DEADLINE,
            Kind::Repeatable | Kind::OfRequest(_) | Kind::Once | Kind::Stream => ADMIN_DEADLINE,
        }
    }
}

fn create_token(body: &[u8]) -> bool {
    message(body).is_some_and(|request: CreateTokenRequest| request.validate_only || !request.request_id.is_empty())
}

fn rotate_token(body: &[u8]) -> bool {
    message(body).is_some_and(|request: RotateTokenRequest| !request.request_id.is_empty())
}

fn update_token_policy(body: &[u8]) -> bool {
    message(body).is_some_and(|request: UpdateTokenPolicyRequest| request.validate_only)
}

/// Decodes a message in gRPC's framing; `None` if it is compressed or malformed.
fn message<M: Message + Default>(body: &[u8]) -> Option<M> {
    /// A flag for compression, and the length in four bytes.
    const PREFIX: usize = 5;
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    (prefix[0] == 0).then(|| M::decode(message).ok())?
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorSet;
    use tokend_proto::FILE_DESCRIPTOR_SET;

    use super::*;

    fn framed(request: &impl Message) -> Vec<u8> {
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).expect("short");
        [&[0], length.to_be_bytes().as_slice(), &message].concat()
    }

    #[test]
    fn the_table_has_every_rpc_of_the_contract_once() {
        let contract = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
        let mut expected = Vec::new();
        for file in contract.file.iter().filter(|file| file.package() == "tokend.v1") {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let is_stream = method.client_streaming() || method.server_streaming();
                    assert_eq!(Rpc::at(&path).is_stream(), is_stream, "{path}");
                    expected.push(path);
                }
            }
        }
        let mut table: Vec<_> = RPCS.iter().map(|rpc| rpc.path.to_owned()).collect();
        expected.sort();
        table.sort();
        assert_eq!(table, expected);
    }

    #[test]
    fn what_creates_something_is_repeated_only_with_a_request_id() {
        let create = Rpc::at("/tokend.v1.TokenAdmin/CreateToken");
        let mut request = CreateTokenRequest {
            parent: "workspaces/acme".to_owned(),
            ..Default::default()
        };
        assert!(!create.may_be_repeated(&framed(&request)));
        request.request_id = "one".to_owned();
        let body = framed(&request);
        assert!(create.may_be_repeated(&body));
        assert!(!create.may_be_repeated(&body[..4]), "cut");
        assert!(!create.may_be_repeated(&[&[1], &body[1..]].concat()), "compressed");
        let rotate = Rpc::at("/tokend.v1.TokenAdmin/RotateToken");
        assert!(!rotate.may_be_repeated(&framed(&RotateTokenRequest::default())));
        assert!(!Rpc::at("/tokend.v1.CallerAdmin/CreateCallerKey").may_be_repeated(&body));
        assert!(!Rpc::at("/tokend.v2.Something/New").may_be_repeated(&body));
    }

    #[test]
    fn reads_and_repeatable_ends_are_repeated() {
        for path in [
            "/tokend.v1.TokenVerify/Verify",
            "/tokend.v1.TokenAdmin/ListTokens",
            "/tokend.v1.TokenAdmin/RevokeToken",
        ] {
            assert!(Rpc::at(path).may_be_repeated(&[]), "{path}");
        }
    }
}
