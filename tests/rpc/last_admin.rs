//! The last ADMIN that can authenticate cannot be removed, so that an installation always has an administrator.

use std::time::Duration;

use tokend_client::v1::{
    CreateCallerKeyRequest, CreateCallerRequest, DeleteCallerRequest, ErrorReason, ListCallersRequest,
    RevokeCallerKeyRequest, Role, Selection, caller_key::State,
};
use tokend_tests::{Installation, Refused, Server, on_both_databases};
use tonic::{Code, Response, Status};

on_both_databases!(
    the_last_admin_and_its_last_key_cannot_be_removed,
    an_admin_that_cannot_authenticate_does_not_count,
    a_certificate_counts_like_a_key,
    one_of_two_admins_that_delete_themselves_stays,
    one_of_two_keys_that_revoke_themselves_stays,
);

const ADMIN: &str = "callers/admin";

async fn delete(server: &Server, caller: &str) -> Result<Response<()>, Status> {
    let request = DeleteCallerRequest {
        name: caller.to_owned(),
        no_wait: false,
    };
    server
        .admin()
        .caller_admin()
        .delete_caller(request)
        .await
        .map(|answer| answer.map(drop))
}

async fn revoke(server: &Server, key: &str) -> Result<Response<()>, Status> {
    let request = RevokeCallerKeyRequest {
        name: key.to_owned(),
        no_wait: false,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(request)
        .await
        .map(|answer| answer.map(drop))
}

/// Returns the name of the first caller's active key.
async fn first_key(server: &Server) -> String {
    let request = tokend_client::v1::ListCallerKeysRequest {
        parent: ADMIN.to_owned(),
        ..Default::default()
    };
    let keys = server
        .admin()
        .caller_admin()
        .list_caller_keys(request)
        .await
        .expect("ListCallerKeys succeeds")
        .into_inner()
        .keys;
    let mut active = keys.into_iter().filter(|key| key.state() == State::Active);
    active.next().expect("the first caller has an active key").name
}

/// Asserts that the first caller cannot be deleted, that its key cannot be revoked, and that the key still works.
async fn assert_last_admin(server: &Server) {
    for answer in [
        delete(server, ADMIN).await,
        revoke(server, &first_key(server).await).await,
    ] {
        let failure = answer.refused(Code::FailedPrecondition, ErrorReason::LastAdmin);
        assert!(failure.message.contains(ADMIN), "{failure}");
    }
    server
        .admin()
        .caller_admin()
        .list_callers(ListCallersRequest::default())
        .await
        .expect("the admin key still works");
}

async fn the_last_admin_and_its_last_key_cannot_be_removed(installation: Installation) {
    let server = installation.start().await;
    for role in [Role::WorkspaceAdmin, Role::Revoker, Role::Auditor, Role::Verifier] {
        server
            .caller(&role.as_str_name().to_lowercase().replace('_', "-"), role)
            .await;
    }
    assert_last_admin(&server).await;
    // Of two keys, one can be revoked. The remaining one is the last.
    let second = server
        .admin()
        .caller_admin()
        .create_caller_key(CreateCallerKeyRequest {
            parent: ADMIN.to_owned(),
            ttl: None,
        })
        .await;
    let second = second.expect("CreateCallerKey succeeds").into_inner();
    let name = second.key.expect("`key` is set").name;
    revoke(&server, &name).await.expect("another ADMIN key remains");
    // A repeated revocation succeeds, and callers with other roles can be deleted.
    revoke(&server, &name).await.expect("RevokeCallerKey is repeatable");
    delete(&server, "callers/role-verifier")
        .await
        .expect("DeleteCaller succeeds for a caller that is not an ADMIN");
    assert_last_admin(&server).await;
    let other = server.caller("other", Role::Admin).await;
    delete(&server, ADMIN).await.expect("another ADMIN exists");
    let other = server.client(&other.secret).await;
    other
        .caller_admin()
        .list_callers(ListCallersRequest::default())
        .await
        .expect("the other caller is an ADMIN");
}

async fn an_admin_that_cannot_authenticate_does_not_count(installation: Installation) {
    let server = installation.start().await;
    let admin = |id: &str, certificate_sans| CreateCallerRequest {
        caller_id: id.to_owned(),
        role: Role::Admin.into(),
        workspaces: Some(Selection {
            all: true,
            only: Vec::new(),
        }),
        certificate_sans,
    };
    server
        .admin()
        .caller_admin()
        .create_caller(admin("keyless", Vec::new()))
        .await
        .expect("CreateCaller succeeds");
    assert_last_admin(&server).await;
    let revoked = server.caller("revoked", Role::Admin).await;
    revoke(&server, &revoked.public)
        .await
        .expect("another ADMIN key remains");
    assert_last_admin(&server).await;
    let ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = CreateCallerKeyRequest {
        parent: "callers/keyless".to_owned(),
        ttl,
    };
    server
        .admin()
        .caller_admin()
        .create_caller_key(request)
        .await
        .expect("CreateCallerKey succeeds");
    installation.clock().set_ahead(Duration::from_secs(60));
    assert_last_admin(&server).await;
}

async fn a_certificate_counts_like_a_key(installation: Installation) {
    let server = installation.start().await;
    let request = CreateCallerRequest {
        caller_id: "operator".to_owned(),
        role: Role::Admin.into(),
        workspaces: Some(Selection {
            all: true,
            only: Vec::new(),
        }),
        certificate_sans: vec!["operator.example.org".to_owned()],
    };
    server
        .admin()
        .caller_admin()
        .create_caller(request)
        .await
        .expect("CreateCaller succeeds");
    revoke(&server, &first_key(&server).await)
        .await
        .expect("another ADMIN has a certificate");
}

/// Asserts that exactly one of two concurrent calls succeeded, and returns whether it was the first.
fn one_of<T: std::fmt::Debug>(
    round: i32,
    one: Result<Response<T>, Status>,
    other: Result<Response<T>, Status>,
) -> bool {
    let (is_first, refused) = match (one, other) {
        (Ok(_), other) => (true, other),
        (one, Ok(_)) => (false, one),
        (one, other) => panic!("round {round}: {one:?} {other:?}"),
    };
    refused.refused(Code::FailedPrecondition, ErrorReason::LastAdmin);
    is_first
}

/// The race is repeated because a wrong outcome would be rare.
async fn one_of_two_admins_that_delete_themselves_stays(installation: Installation) {
    let server = installation.start().await;
    let (mut id, mut client) = ("admin".to_owned(), server.client(server.admin_key()).await);
    for round in 0..10 {
        let rival = format!("rival-{round}");
        let request = CreateCallerRequest {
            caller_id: rival.clone(),
            role: Role::Admin.into(),
            workspaces: Some(Selection {
                all: true,
                only: Vec::new(),
            }),
            ..Default::default()
        };
        client
            .caller_admin()
            .create_caller(request)
            .await
            .expect("CreateCaller succeeds");
        let request = CreateCallerKeyRequest {
            parent: format!("callers/{rival}"),
            ttl: None,
        };
        let key = client
            .caller_admin()
            .create_caller_key(request)
            .await
            .expect("CreateCallerKey succeeds")
            .into_inner()
            .secret;
        let rival_client = server.client(&key).await;
        let deletion = |id: &str| DeleteCallerRequest {
            name: format!("callers/{id}"),
            no_wait: false,
        };
        let (mut mine, mut theirs) = (client.caller_admin(), rival_client.caller_admin());
        let (mine, theirs) = tokio::join!(
            mine.delete_caller(deletion(&id)),
            theirs.delete_caller(deletion(&rival))
        );
        if one_of(round, mine, theirs) {
            (id, client) = (rival, rival_client);
        }
        client
            .caller_admin()
            .list_callers(ListCallersRequest::default())
            .await
            .expect("the remaining caller is an ADMIN");
    }
}

async fn one_of_two_keys_that_revoke_themselves_stays(installation: Installation) {
    let server = installation.start().await;
    let (mut name, mut client) = (first_key(&server).await, server.client(server.admin_key()).await);
    for round in 0..10 {
        let request = CreateCallerKeyRequest {
            parent: ADMIN.to_owned(),
            ttl: None,
        };
        let created = client
            .caller_admin()
            .create_caller_key(request)
            .await
            .expect("CreateCallerKey succeeds")
            .into_inner();
        let (second, rival_client) = (
            created.key.expect("`key` is set").name,
            server.client(&created.secret).await,
        );
        let revocation = |name: &str| RevokeCallerKeyRequest {
            name: name.to_owned(),
            no_wait: false,
        };
        let (mut mine, mut theirs) = (client.caller_admin(), rival_client.caller_admin());
        let (mine, theirs) = tokio::join!(
            mine.revoke_caller_key(revocation(&name)),
            theirs.revoke_caller_key(revocation(&second))
        );
        if one_of(round, mine, theirs) {
            (name, client) = (second, rival_client);
        }
        client
            .caller_admin()
            .list_callers(ListCallersRequest::default())
            .await
            .expect("the remaining key works");
    }
}
