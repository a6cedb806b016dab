//! Nobody can shut everybody out: one ADMIN that can authenticate stays.

use std::time::Duration;

use tokend_client::v1::{
    CreateCallerKeyRequest, CreateCallerRequest, DeleteCallerRequest, ErrorReason, ListCallersRequest, RevokeCallerKeyRequest,
    Role, Selection, caller_key::State,
};
use tokend_tests::{Installation, Refused, Server, on_both_databases};
use tonic::{Code, Response, Status};

on_both_databases!(
    the_last_admin_and_its_last_key_stay,
    an_admin_that_cannot_authenticate_is_no_other,
    a_certificate_is_as_good_as_a_key,
    of_two_that_delete_themselves_one_stays,
    of_two_keys_that_revoke_themselves_one_stays,
);

const ADMIN: &str = "callers/admin";

async fn delete(server: &Server, caller: &str) -> Result<Response<()>, Status> {
    let request = DeleteCallerRequest { name: caller.to_owned(), no_wait: false };
    server.admin().caller_admin().delete_caller(request).await.map(|answer| answer.map(drop))
}

async fn revoke(server: &Server, key: &str) -> Result<Response<()>, Status> {
    let request = RevokeCallerKeyRequest { name: key.to_owned(), no_wait: false };
    server.admin().caller_admin().revoke_caller_key(request).await.map(|answer| answer.map(drop))
}

/// The name of the first caller's key that works.
async fn first_key(server: &Server) -> String {
    let request = tokend_client::v1::ListCallerKeysRequest { parent: ADMIN.to_owned(), ..Default::default() };
    let keys = server.admin().caller_admin().list_caller_keys(request).await.expect("a list").into_inner().keys;
    let mut live = keys.into_iter().filter(|key| key.state() == State::Active);
    live.next().expect("it has one").name
}

/// Neither the first caller nor its key can be ended; and nothing has happened to them.
async fn is_the_last(server: &Server) {
    for answer in [delete(server, ADMIN).await, revoke(server, &first_key(server).await).await] {
        let failure = answer.refused(Code::FailedPrecondition, ErrorReason::LastAdmin);
        assert!(failure.message.contains(ADMIN), "{failure}");
    }
    server.admin().caller_admin().list_callers(ListCallersRequest::default()).await.expect("it works as before");
}

async fn the_last_admin_and_its_last_key_stay(installation: Installation) {
    let server = installation.start().await;
    for role in [Role::WorkspaceAdmin, Role::Revoker, Role::Auditor, Role::Verifier] {
        server.caller(&role.as_str_name().to_lowercase().replace('_', "-"), role).await;
    }
    is_the_last(&server).await;
    // A second key makes room for the end of the first, and then it is the last.
    let second =
        server.admin().caller_admin().create_caller_key(CreateCallerKeyRequest { parent: ADMIN.to_owned(), ttl: None }).await;
    let second = second.expect("a key").into_inner();
    let name = second.key.expect("told").name;
    revoke(&server, &name).await.expect("there is the first");
    // Revoking again is still OK, and the others are nobody's concern.
    revoke(&server, &name).await.expect("it was revoked before");
    delete(&server, "callers/role-verifier").await.expect("it is no ADMIN");
    is_the_last(&server).await;
    let other = server.caller("other", Role::Admin).await;
    delete(&server, ADMIN).await.expect("there is another");
    let other = server.client(&other.secret).await;
    other.caller_admin().list_callers(ListCallersRequest::default()).await.expect("it is an ADMIN");
}

async fn an_admin_that_cannot_authenticate_is_no_other(installation: Installation) {
    let server = installation.start().await;
    let admin = |id: &str, certificate_sans| CreateCallerRequest {
        caller_id: id.to_owned(),
        role: Role::Admin.into(),
        workspaces: Some(Selection { all: true, only: Vec::new() }),
        certificate_sans,
    };
    server.admin().caller_admin().create_caller(admin("keyless", Vec::new())).await.expect("it is made");
    is_the_last(&server).await;
    let revoked = server.caller("revoked", Role::Admin).await;
    revoke(&server, &revoked.public).await.expect("there is the first");
    is_the_last(&server).await;
    let ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = CreateCallerKeyRequest { parent: "callers/keyless".to_owned(), ttl };
    server.admin().caller_admin().create_caller_key(request).await.expect("a key");
    installation.clock().set_ahead(Duration::from_secs(60));
    is_the_last(&server).await;
}

async fn a_certificate_is_as_good_as_a_key(installation: Installation) {
    let server = installation.start().await;
    let request = CreateCallerRequest {
        caller_id: "operator".to_owned(),
        role: Role::Admin.into(),
        workspaces: Some(Selection { all: true, only: Vec::new() }),
        certificate_sans: vec!["operator.example.org".to_owned()],
    };
    server.admin().caller_admin().create_caller(request).await.expect("it is made");
    revoke(&server, &first_key(&server).await).await.expect("the operator has a certificate");
}

/// What may be at most one of two at once: tells whether it was the first, and how the other was refused.
fn one_of<T: std::fmt::Debug>(round: i32, one: Result<Response<T>, Status>, other: Result<Response<T>, Status>) -> bool {
    let (is_first, refused) = match (one, other) {
        (Ok(_), other) => (true, other),
        (one, Ok(_)) => (false, one),
        (one, other) => panic!("round {round}: {one:?} {other:?}"),
    };
    refused.refused(Code::FailedPrecondition, ErrorReason::LastAdmin);
    is_first
}

/// A race that goes wrong seldom has to be run often.
async fn of_two_that_delete_themselves_one_stays(installation: Installation) {
    let server = installation.start().await;
    let (mut id, mut client) = ("admin".to_owned(), server.client(server.admin_key()).await);
    for round in 0..10 {
        let rival = format!("rival-{round}");
        let request = CreateCallerRequest {
            caller_id: rival.clone(),
            role: Role::Admin.into(),
            workspaces: Some(Selection { all: true, only: Vec::new() }),
            ..Default::default()
        };
        client.caller_admin().create_caller(request).await.expect("it is made");
        let request = CreateCallerKeyRequest { parent: format!("callers/{rival}"), ttl: None };
        let key = client.caller_admin().create_caller_key(request).await.expect("a key").into_inner().secret;
        let rivals = server.client(&key).await;
        let deletion = |id: &str| DeleteCallerRequest { name: format!("callers/{id}"), no_wait: false };
        let (mut mine, mut theirs) = (client.caller_admin(), rivals.caller_admin());
        let (mine, theirs) = tokio::join!(mine.delete_caller(deletion(&id)), theirs.delete_caller(deletion(&rival)));
        if one_of(round, mine, theirs) {
            (id, client) = (rival, rivals);
        }
        client.caller_admin().list_callers(ListCallersRequest::default()).await.expect("whoever stayed is an ADMIN");
    }
}

async fn of_two_keys_that_revoke_themselves_one_stays(installation: Installation) {
    let server = installation.start().await;
    let (mut name, mut client) = (first_key(&server).await, server.client(server.admin_key()).await);
    for round in 0..10 {
        let request = CreateCallerKeyRequest { parent: ADMIN.to_owned(), ttl: None };
        let made = client.caller_admin().create_caller_key(request).await.expect("a key").into_inner();
        let (second, rivals) = (made.key.expect("told").name, server.client(&made.secret).await);
        let revocation = |name: &str| RevokeCallerKeyRequest { name: name.to_owned(), no_wait: false };
        let (mut mine, mut theirs) = (client.caller_admin(), rivals.caller_admin());
        let (mine, theirs) = tokio::join!(mine.revoke_caller_key(revocation(&name)), theirs.revoke_caller_key(revocation(&second)));
        if one_of(round, mine, theirs) {
            (name, client) = (second, rivals);
        }
        client.caller_admin().list_callers(ListCallersRequest::default()).await.expect("the key that stayed works");
    }
}
