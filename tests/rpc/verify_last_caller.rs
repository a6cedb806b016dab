//! A connection remembers the caller of its last Verify, and only as long as that caller is served.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    CreateCallerKeyRequest, CreateCallerRequest, CreateTokenRequest, Decision, RevokeCallerKeyRequest, Role, Selection,
    VerifyResponse,
};
use tokend_tests::{Installation, Issued, Server, after, on_both_databases, question, raw, token_in};
use tonic::{Code, transport::Channel};

on_both_databases!(
    each_key_of_a_connection_is_its_callers,
    a_key_that_differs_in_one_character_is_refused,
    a_key_that_was_revoked_is_refused,
    a_key_that_has_expired_is_refused,
    every_key_has_a_last_use,
);

const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A server with a token, and a connection on which several callers ask.
struct Shared {
    server: Server,
    acme: String,
    question: Bytes,
    channel: Channel,
}

impl Shared {
    async fn start(installation: &Installation) -> Self {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        let token = CreateTokenRequest {
            expiry: after(30 * DAY),
            ..token_in(&acme)
        };
        let issued = server.token(token).await;
        Self {
            channel: raw::connect(server.grpc_address()).await,
            question: question(&issued.secret, &acme, &[]).encode_to_vec().into(),
            acme,
            server,
        }
    }

    /// Creates a caller who sees one workspace.
    async fn caller(&self, id: &str, workspace: &str) -> Issued<String> {
        let request = CreateCallerRequest {
            caller_id: id.to_owned(),
            role: Role::Verifier.into(),
            workspaces: Some(Selection {
                all: false,
                only: vec![workspace.to_owned()],
            }),
            ..Default::default()
        };
        self.server.caller_as(request).await
    }

    async fn ask(&self, key: &str) -> Result<Decision, Code> {
        let answer = raw::call_as(&self.channel, key, VERIFY, self.question.clone()).await;
        let bytes = answer.map_err(|status| status.code())?.into_inner();
        Ok(VerifyResponse::decode(bytes).expect("a message").decision())
    }

    /// Asks until memory answers, and the connection has remembered the caller.
    async fn ask_often(&self, key: &str) {
        for _ in 0..3 {
            assert_eq!(self.ask(key).await, Ok(Decision::Allow));
        }
    }
}

async fn each_key_of_a_connection_is_its_callers(installation: Installation) {
    let shared = Shared::start(&installation).await;
    let beta = shared.server.workspace("beta").await;
    let (insider, outsider) = (
        shared.caller("insider", &shared.acme).await.secret,
        shared.caller("outsider", &beta).await.secret,
    );
    for _ in 0..4 {
        assert_eq!(shared.ask(&insider).await, Ok(Decision::Allow));
        assert_eq!(shared.ask(&outsider).await, Ok(Decision::Deny));
        assert_eq!(shared.ask(&insider).await, Ok(Decision::Allow));
        assert_eq!(shared.ask(&insider).await, Ok(Decision::Allow));
    }
}

async fn a_key_that_differs_in_one_character_is_refused(installation: Installation) {
    let shared = Shared::start(&installation).await;
    let key = shared.caller("insider", &shared.acme).await.secret;
    shared.ask_often(&key).await;
    for at in [key.len() - 1, key.len() / 2, 6] {
        let mut other = key.clone().into_bytes();
        other[at] = if other[at] == b'a' { b'b' } else { b'a' };
        let other = String::from_utf8(other).expect("the key is ASCII");
        assert_eq!(shared.ask(&other).await, Err(Code::Unauthenticated), "{at}");
        shared.ask_often(&key).await;
    }
    assert_eq!(shared.ask(&key[..key.len() - 1]).await, Err(Code::Unauthenticated));
}

async fn a_key_that_was_revoked_is_refused(installation: Installation) {
    let shared = Shared::start(&installation).await;
    let key = shared.caller("insider", &shared.acme).await;
    shared.ask_often(&key.secret).await;
    let revoke = RevokeCallerKeyRequest {
        name: key.public,
        no_wait: false,
    };
    let admin = shared.server.admin();
    admin
        .caller_admin()
        .revoke_caller_key(revoke)
        .await
        .expect("it is revoked");
    assert_eq!(shared.ask(&key.secret).await, Err(Code::Unauthenticated));
}

async fn a_key_that_has_expired_is_refused(installation: Installation) {
    let shared = Shared::start(&installation).await;
    let admin = shared.server.admin();
    shared.caller("insider", &shared.acme).await;
    let request = CreateCallerKeyRequest {
        parent: "callers/insider".to_owned(),
        ttl: Some((7 * DAY).try_into().expect("a duration")),
    };
    let created = admin.caller_admin().create_caller_key(request).await.expect("a key");
    let key = created.into_inner().secret;
    shared.ask_often(&key).await;
    installation.clock().set_ahead(8 * DAY);
    assert_eq!(shared.ask(&key).await, Err(Code::Unauthenticated));
}

async fn every_key_has_a_last_use(installation: Installation) {
    let shared = Shared::start(&installation).await;
    let key = shared.caller("insider", &shared.acme).await;
    shared.ask_often(&key.secret).await;
    let admin_key = shared.server.admin_key().to_owned();
    let Shared { server, acme, .. } = shared;
    // What is in memory is written before the server ends.
    server.stop().await;
    let server = installation.serve(&admin_key).await;
    let request = tokend_client::v1::ListCallerKeysRequest {
        parent: "callers/insider".to_owned(),
        ..Default::default()
    };
    let listed = server
        .admin()
        .caller_admin()
        .list_caller_keys(request)
        .await
        .expect("keys");
    let used = listed
        .into_inner()
        .keys
        .into_iter()
        .find(|found| found.name == key.public);
    assert!(used.is_some_and(|key| key.last_used_time.is_some()), "{acme}");
}
