//! A name in client certificates belongs to one caller.

use tokend_client::v1::{CreateCallerRequest, DeleteCallerRequest, ErrorReason, GetCallerRequest, Role, Selection};
use tokend_tests::{Installation, Refused, on_both_databases};
use tonic::Code;

on_both_databases!(a_name_belongs_to_one_caller, one_of_two_concurrent_calls_gets_the_name);

fn verifier(id: &str, names: &[&str]) -> CreateCallerRequest {
    CreateCallerRequest {
        caller_id: id.to_owned(),
        role: Role::Verifier.into(),
        workspaces: Some(Selection {
            all: true,
            only: Vec::new(),
        }),
        certificate_sans: names.iter().map(ToString::to_string).collect(),
    }
}

async fn a_name_belongs_to_one_caller(installation: Installation) {
    let server = installation.start().await;
    let mut callers = server.admin().caller_admin();
    callers
        .create_caller(verifier("first", &["a.example.org", "urn:b"]))
        .await
        .expect("CreateCaller succeeds");
    for names in [&["urn:b"][..], &["c.example.org", "A.Example.ORG"]] {
        let answer = callers.create_caller(verifier("second", names)).await;
        let failure = answer.refused(Code::AlreadyExists, ErrorReason::CertificateSanTaken);
        assert_eq!(failure.fields.len(), 1, "{failure:?}");
        assert_eq!(failure.fields[0].field, "certificate_sans");
        // The refused call creates no caller.
        let answer = callers
            .get_caller(GetCallerRequest {
                name: "callers/second".to_owned(),
            })
            .await;
        answer.refused(Code::NotFound, ErrorReason::CallerNotFound);
    }
    callers
        .create_caller(verifier("second", &["c.example.org"]))
        .await
        .expect("the other name is still free");
    let request = DeleteCallerRequest {
        name: "callers/first".to_owned(),
        no_wait: false,
    };
    callers.delete_caller(request).await.expect("DeleteCaller succeeds");
    callers
        .create_caller(verifier("third", &["urn:b", "a.example.org"]))
        .await
        .expect("the names are free again");
}

async fn one_of_two_concurrent_calls_gets_the_name(installation: Installation) {
    let server = installation.start().await;
    let callers = server.admin().caller_admin();
    for round in 0..10 {
        let (x, y) = (format!("x{round}.example.org"), format!("y{round}.example.org"));
        let (mut one, mut other) = (callers.clone(), callers.clone());
        let (one, other) = tokio::join!(
            one.create_caller(verifier(&format!("one-{round}"), &[&x, &y])),
            other.create_caller(verifier(&format!("other-{round}"), &[&y, &x])),
        );
        let loser = match (one, other) {
            (Ok(_), loser) | (loser, Ok(_)) => loser,
            (one, other) => panic!("neither: {one:?} {other:?}"),
        };
        loser.refused(Code::AlreadyExists, ErrorReason::CertificateSanTaken);
    }
}
