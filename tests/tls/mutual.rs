//! Client certificates: a name in the certificate identifies the caller, and is checked on every call.

use std::time::Duration;

use rcgen::date_time_ymd;
use rustls::{AlertDescription, Error, HandshakeKind};
use tokend_client::{
    CallerKey, Client,
    v1::{
        CreateCallerRequest, CreateWorkspaceRequest, DeleteCallerRequest, ErrorReason, GetWorkspaceRequest,
        ListScopesRequest, Role, Selection,
    },
};
use tokend_tests::{Installation, Refused, Server, held_writes, on_both_databases};
use tonic::Code;

use crate::{
    authority::{Authority, Pair},
    files::Files,
    handshake::{Offer, rejection},
};

on_both_databases!(
    a_certificate_identifies_its_caller,
    a_certificate_without_a_caller_is_not_a_credential,
    key_and_certificate_must_agree,
    a_certificate_of_two_callers_is_refused,
    a_deleted_caller_is_refused_on_its_open_connection,
    a_waiting_change_is_rejected_after_its_caller_is_deleted,
    a_certificate_that_expires_is_refused_on_its_open_connection,
    a_certificate_that_is_not_valid_is_refused_in_the_handshake,
    no_session_is_resumed,
);

const SPIFFE: &str = "spiffe://example.org/gateway";

/// Starts a server that accepts client certificates. Returns it with the authority that issues them.
async fn start(installation: &Installation) -> (Server, Authority) {
    let authority = Authority::new();
    let files = Files::with_client_ca(installation, &authority.server(), &authority);
    let server = files.serve(installation, &authority.trusted()).await;
    (server, authority)
}

/// Creates a caller without a key.
async fn caller(server: &Server, id: &str, role: Role, names: &[&str]) {
    let request = CreateCallerRequest {
        caller_id: id.to_owned(),
        role: role.into(),
        workspaces: Some(Selection {
            all: true,
            only: Vec::new(),
        }),
        certificate_sans: names.iter().map(ToString::to_string).collect(),
    };
    server
        .admin()
        .caller_admin()
        .create_caller(request)
        .await
        .expect("CreateCaller succeeds");
}

async fn client(server: &Server, authority: &Authority, certificate: &Pair, key: Option<&str>) -> Client {
    let key = key.map(|key| CallerKey::new(key).expect("the key is valid"));
    let tls = authority.trusted_by(certificate);
    Client::connect_with(server.grpc_address(), key.as_ref(), &tls)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn works(client: &Client) {
    client
        .token_admin()
        .list_scopes(ListScopesRequest {})
        .await
        .expect("ListScopes succeeds");
}

async fn is_refused(client: &Client, reason: ErrorReason) -> String {
    client
        .token_admin()
        .list_scopes(ListScopesRequest {})
        .await
        .refused(Code::Unauthenticated, reason)
        .message
}

async fn a_certificate_identifies_its_caller(installation: Installation) {
    let (server, authority) = start(&installation).await;
    caller(&server, "gateway", Role::Verifier, &[SPIFFE, "gateway.example.org"]).await;
    caller(&server, "operator", Role::Admin, &["operator.example.org"]).await;
    let (spiffe, dns) = (
        authority.client(&[SPIFFE]),
        authority.client(&["unknown.example.org", "Gateway.EXAMPLE.org"]),
    );
    let create = |id: &str| CreateWorkspaceRequest {
        workspace_id: id.to_owned(),
        display_name: "A".to_owned(),
        ..Default::default()
    };
    for certificate in [spiffe, dns] {
        let gateway = client(&server, &authority, &certificate, None).await;
        works(&gateway).await;
        let answer = gateway.workspace_admin().create_workspace(create("acme")).await;
        let failure = answer.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
        assert!(failure.message.contains("callers/gateway"), "{failure}");
    }
    let operator = client(&server, &authority, &authority.client(&["operator.example.org"]), None).await;
    operator
        .workspace_admin()
        .create_workspace(create("acme"))
        .await
        .expect("CreateWorkspace succeeds");
    // Names match as a whole; URIs are case-sensitive.
    for name in [
        "example.org",
        "a.gateway.example.org",
        "gateway.example.org.evil.example",
        "spiffe://example.org/Gateway",
    ] {
        let other = client(&server, &authority, &authority.client(&[name]), None).await;
        is_refused(&other, ErrorReason::InvalidCredential).await;
    }
    let wildcard = client(&server, &authority, &authority.client(&["*.example.org"]), None).await;
    is_refused(&wildcard, ErrorReason::InvalidCredential).await;
}

async fn a_certificate_without_a_caller_is_not_a_credential(installation: Installation) {
    let (server, authority) = start(&installation).await;
    for names in [&["nobody.example.org"][..], &[]] {
        let certificate = authority.client(names);
        let unknown = client(&server, &authority, &certificate, None).await;
        let message = is_refused(&unknown, ErrorReason::InvalidCredential).await;
        assert!(message.contains("client certificate"), "{message}");
        // The certificate does not affect a caller key.
        works(&client(&server, &authority, &certificate, Some(server.admin_key())).await).await;
    }
    // A certificate with more than a hundred names is not a credential either.
    caller(&server, "gateway", Role::Verifier, &[SPIFFE]).await;
    let many: Vec<_> = (0..100).map(|n| format!("n{n}.example.org")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).chain([SPIFFE]).collect();
    let many_names = client(&server, &authority, &authority.client(&many), None).await;
    is_refused(&many_names, ErrorReason::InvalidCredential).await;
    // A client without a certificate authenticates with its key.
    works(server.admin()).await;
}

async fn key_and_certificate_must_agree(installation: Installation) {
    let (server, authority) = start(&installation).await;
    caller(&server, "gateway", Role::Verifier, &[SPIFFE]).await;
    let certificate = authority.client(&[SPIFFE]);
    let key = server.admin().caller_admin();
    let request = |caller: &str| tokend_client::v1::CreateCallerKeyRequest {
        parent: format!("callers/{caller}"),
        ttl: None,
    };
    let own = key
        .clone()
        .create_caller_key(request("gateway"))
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();
    works(&client(&server, &authority, &certificate, Some(&own.secret)).await).await;
    let other = client(&server, &authority, &certificate, Some(server.admin_key())).await;
    is_refused(&other, ErrorReason::CredentialsDisagree).await;
    // A key that is sent must be valid, whatever the certificate is.
    let request = tokend_client::v1::RevokeCallerKeyRequest {
        name: own.key.expect("the response has the key").name,
        no_wait: false,
    };
    key.clone()
        .revoke_caller_key(request)
        .await
        .expect("RevokeCallerKey succeeds");
    for bad in [own.secret.as_str(), "garbage"] {
        let bad = client(&server, &authority, &certificate, Some(bad)).await;
        is_refused(&bad, ErrorReason::InvalidCredential).await;
    }
    works(&client(&server, &authority, &certificate, None).await).await;
}

async fn a_certificate_of_two_callers_is_refused(installation: Installation) {
    let (server, authority) = start(&installation).await;
    caller(&server, "gateway", Role::Verifier, &[SPIFFE]).await;
    caller(&server, "operator", Role::Admin, &["operator.example.org"]).await;
    let certificate = authority.client(&[SPIFFE, "operator.example.org"]);
    let both = client(&server, &authority, &certificate, None).await;
    let message = is_refused(&both, ErrorReason::InvalidCredential).await;
    assert!(message.contains("several callers"), "{message}");
    is_refused(
        &client(&server, &authority, &certificate, Some(server.admin_key())).await,
        ErrorReason::InvalidCredential,
    )
    .await;
}

async fn a_deleted_caller_is_refused_on_its_open_connection(installation: Installation) {
    let (server, authority) = start(&installation).await;
    caller(&server, "gateway", Role::Verifier, &[SPIFFE]).await;
    let gateway = client(&server, &authority, &authority.client(&[SPIFFE]), None).await;
    works(&gateway).await;
    let request = DeleteCallerRequest {
        name: "callers/gateway".to_owned(),
        no_wait: false,
    };
    server
        .admin()
        .caller_admin()
        .delete_caller(request)
        .await
        .expect("DeleteCaller succeeds");
    is_refused(&gateway, ErrorReason::InvalidCredential).await;
    // The name is free, and identifies the next caller that gets it.
    caller(&server, "successor", Role::Verifier, &[SPIFFE]).await;
    works(&gateway).await;
}

async fn a_waiting_change_is_rejected_after_its_caller_is_deleted(installation: Installation) {
    let (server, authority) = start(&installation).await;
    caller(&server, "operator", Role::Admin, &[SPIFFE]).await;
    let operator = client(&server, &authority, &authority.client(&[SPIFFE]), None).await;
    let held = held_writes::hold(&installation).await;
    let request = CreateWorkspaceRequest {
        workspace_id: "evil".to_owned(),
        display_name: "E".to_owned(),
        ..Default::default()
    };
    let waiting = tokio::spawn({
        let operator = operator.clone();
        async move { operator.workspace_admin().create_workspace(request).await }
    });
    // The answer to a later call shows that the earlier call is authenticated.
    tokio::task::yield_now().await;
    works(&operator).await;
    held.execute(
        "DELETE FROM caller_certificate_sans WHERE caller = 'operator'; DELETE FROM callers WHERE id = 'operator'",
    )
    .await;
    waiting
        .await
        .expect("the task does not panic")
        .refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
    server
        .admin()
        .workspace_admin()
        .get_workspace(GetWorkspaceRequest {
            name: "workspaces/evil".to_owned(),
        })
        .await
        .refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn a_certificate_that_expires_is_refused_on_its_open_connection(installation: Installation) {
    let (server, authority) = start(&installation).await;
    caller(&server, "gateway", Role::Verifier, &[SPIFFE]).await;
    let certificate = authority.issue(&[SPIFFE], |params| params.not_after = date_time_ymd(2090, 1, 1));
    let gateway = client(&server, &authority, &certificate, None).await;
    works(&gateway).await;
    let year = Duration::from_secs(365 * 86_400);
    installation.clock().set_ahead(year * 100);
    let message = is_refused(&gateway, ErrorReason::InvalidCredential).await;
    assert!(message.contains("expired"), "{message}");
}

async fn a_certificate_that_is_not_valid_is_refused_in_the_handshake(installation: Installation) {
    let (server, authority) = start(&installation).await;
    caller(&server, "gateway", Role::Verifier, &[SPIFFE]).await;
    let expired = authority.issue(&[SPIFFE], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let early = authority.issue(&[SPIFFE], |params| params.not_before = date_time_ymd(2200, 1, 1));
    let foreign = Authority::new().client(&[SPIFFE]);
    let for_servers = authority.issue(&[SPIFFE], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (certificate, alerts) in [
        (expired, &[AlertDescription::CertificateExpired][..]),
        (
            early,
            &[AlertDescription::CertificateExpired, AlertDescription::BadCertificate],
        ),
        (foreign, &[AlertDescription::UnknownCA]),
        (
            for_servers,
            &[
                AlertDescription::UnsupportedCertificate,
                AlertDescription::BadCertificate,
            ],
        ),
    ] {
        let outcome = Offer {
            certificate: Some(&certificate),
            ..Offer::ordinary(&authority)
        }
        .handshake(&server)
        .await;
        let error = rejection(outcome).await;
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(Error::AlertReceived(alert)) => assert!(alerts.contains(alert), "{alert:?}"),
            other => panic!("no alert: {error:?} {other:?}"),
        }
        // The client sees a connection that closes before the first answer.
        let tls = authority.trusted_by(&certificate);
        if let Ok(client) = Client::connect_with(server.grpc_address(), None, &tls).await {
            let status = client
                .token_admin()
                .list_scopes(ListScopesRequest {})
                .await
                .expect_err("the handshake fails");
            assert!(
                tokend_client::CallError::from(status).reason.is_empty(),
                "the error is not from the service"
            );
        }
    }
    works(&client(&server, &authority, &authority.client(&[SPIFFE]), None).await).await;
}

/// A resumed session would keep a certificate that was checked with an earlier client CA, or before it expired.
async fn no_session_is_resumed(installation: Installation) {
    let (server, authority) = start(&installation).await;
    let certificate = authority.client(&[SPIFFE]);
    let offer = Offer {
        certificate: Some(&certificate),
        ..Offer::ordinary(&authority)
    };
    assert_eq!(offer.kinds_of_two(&server).await, [Some(HandshakeKind::Full); 2]);
}
