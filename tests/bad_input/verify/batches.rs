//! `BatchVerify`, and tokens of other workspaces.

use prost::Message;
use tokend_client::v1::{
    BatchVerifyRequest, CreateCallerRequest, CreateTokenRequest, Decision, Revision, Role, Selection, VerifyRequest,
};
use tokend_tests::{Installation, on_both_databases, question, token_in};

use crate::{run::World, values::Values, verify::VERIFY};

on_both_databases!(
    a_token_of_another_workspace_is_unrecognized,
    the_largest_batch_of_the_largest_tokens_is_answered,
);

async fn a_token_of_another_workspace_is_unrecognized(installation: Installation) {
    let world = World::of(&installation).await;
    let Values { acme, token, other, .. } = &world.values;
    let limited = CreateCallerRequest {
        caller_id: "other-gateway".to_owned(),
        role: Role::Verifier.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![other.clone()],
        }),
        ..Default::default()
    };
    let limited = world.server.caller_as(limited).await.secret;
    let ask = async |token: &str, resource: &str, scope: &str, min_revision| {
        let request = VerifyRequest {
            min_revision,
            ..question(token, resource, &[scope])
        };
        let answer = world.send_as(&limited, VERIFY, request.encode_to_vec().into()).await;
        answer.map_err(|status| format!("{:?} {}", status.code(), status.message()))
    };
    let epoch = world.values.epoch;
    let revisions = [
        None,
        Some(Revision { epoch, number: 0 }),
        Some(Revision {
            epoch,
            number: u64::MAX,
        }),
    ];
    let more = [
        Some(Revision {
            epoch: u64::MAX,
            number: u64::MAX,
        }),
        Some(Revision::default()),
    ];
    for min_revision in revisions.into_iter().chain(more) {
        for resource in [acme, other, "nowhere"] {
            for scope in ["repository", "webhook", "no-scope"] {
                let theirs = ask(&token.secret, resource, scope, min_revision).await;
                let garbage = ask("garbage", resource, scope, min_revision).await;
                assert_eq!(theirs, garbage, "{resource}, {scope}, {min_revision:?}");
            }
        }
    }
}

async fn the_largest_batch_of_the_largest_tokens_is_answered(installation: Installation) {
    let world = World::of(&installation).await;
    let acme = &world.values.acme;
    let resource = format!("{acme}/{}/{}", vec!["a".repeat(128); 7].join("/"), "b".repeat(105));
    let largest = CreateTokenRequest {
        display_name: "🚀".repeat(120),
        resource: resource.clone(),
        scopes: [
            "project:admin",
            "repository:admin",
            "repository:delete",
            "pullrequest:write",
            "webhook",
            "account",
        ]
        .iter()
        .chain(&["pipeline:write", "pipeline:variable", "runner:write", "project"])
        .map(ToString::to_string)
        .collect(),
        allowed_cidrs: (100..164)
            .map(|n| format!("2001:db8:1234:5678:9abc:def0:1234:5{n}/128"))
            .collect(),
        labels: (10..26)
            .map(|n| (format!("k{}{n}", "-".repeat(60)), "🚀".repeat(128)))
            .collect(),
        ..token_in(acme)
    };
    let issued = world.server.token(largest).await;
    let asked = VerifyRequest {
        client_address: "2001:db8:1234:5678:9abc:def0:1234:5100".to_owned(),
        required_scopes: vec!["pullrequest:write".to_owned(); 64],
        ..question(&issued.secret, &resource, &[])
    };
    let request = BatchVerifyRequest {
        requests: vec![asked; 256],
    };
    let answer = world
        .server
        .admin()
        .token_verify()
        .batch_verify(request)
        .await
        .expect("BatchVerify succeeds")
        .into_inner();
    assert_eq!(answer.responses.len(), 256);
    assert!(
        answer
            .responses
            .iter()
            .all(|verdict| verdict.decision() == Decision::Allow)
    );
}
