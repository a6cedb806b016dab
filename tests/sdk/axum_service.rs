//! The axum example: what its clients see.

use tokend_client::v1::CreateTokenRequest;
use tokend_tests::{Installation, eventually, on_both_databases, token_in};

use crate::service::Service;

on_both_databases!(
    requests_are_served_by_what_their_token_permits,
    a_revoked_token_is_denied_with_the_next_request,
    an_outage_is_answered_by_503,
    a_shadow_lets_everything_through,
);

const PROGRAM: &str = env!("CARGO_BIN_EXE_guard-axum");
const SITE: &str = "/acme/repositories/site";

async fn requests_are_served_by_what_their_token_permits(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let globex = server.workspace("globex").await;
    let writer = server.token(token_in(&acme)).await;
    let reader = CreateTokenRequest {
        scopes: vec!["repository".to_owned()],
        ..token_in(&acme)
    };
    let reader = server.token(reader).await;
    let stranger = server.token(token_in(&globex)).await;
    let service = Service::start(PROGRAM, &server, &[]).await;

    assert_eq!(service.get("/healthz", None).status, 200);
    // The second time, the cache answers.
    for _ in 0..2 {
        let read = service.get(SITE, Some(&reader.secret));
        assert_eq!(read.status, 200);
        assert!(read.body.contains(&reader.public.name), "{}", read.body);
        let written = service.send("PUT", SITE, Some(&writer.secret));
        assert_eq!(written.body, format!("written by {}", writer.public.name));

        let denied = service.send("PUT", SITE, Some(&reader.secret));
        assert_eq!(denied.status, 403);
        let expected = "www-authenticate: bearer realm=\"tokend\", error=\"insufficient_scope\", \
                        error_description=\"the token lacks a required scope\", scope=\"repository:write\"";
        assert!(denied.head.contains(expected), "{}", denied.head);
        let foreign = service.get(SITE, Some(&stranger.secret));
        assert_eq!(foreign.status, 403);
        assert!(
            foreign.head.contains("the token is not for this resource"),
            "{}",
            foreign.head
        );
    }
    let missing = service.get(SITE, None);
    assert_eq!(missing.status, 401);
    assert!(
        missing
            .head
            .contains("\r\nwww-authenticate: bearer realm=\"tokend\"\r\n"),
        "{}",
        missing.head
    );
    let forged = service.get(SITE, Some("tkdw_forged"));
    assert_eq!(forged.status, 401);
    assert!(forged.head.contains("error=\"invalid_token\""), "{}", forged.head);
    for path in [
        "/forgotten",
        "/acme/repositories/..%2fother",
        "/acme/repositories/site/",
    ] {
        assert_eq!(service.send("PUT", path, Some(&writer.secret)).status, 403, "{path}");
    }
}

async fn a_revoked_token_is_denied_with_the_next_request(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let service = Service::start(PROGRAM, &server, &[]).await;
    for _ in 0..10 {
        let token = server.token(token_in(&acme)).await;
        for _ in 0..3 {
            assert_eq!(service.get(SITE, Some(&token.secret)).status, 200);
        }
        server.revoke(&token.public.name).await;
        let denied = service.get(SITE, Some(&token.secret));
        assert_eq!(denied.status, 401);
        assert!(denied.head.contains("the token was revoked"), "{}", denied.head);
    }
}

async fn an_outage_is_answered_by_503(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let service = Service::start(PROGRAM, &server, &[]).await;
    assert_eq!(service.get(SITE, Some(&token.secret)).status, 200);
    server.kill();
    let outage = eventually("the lease has ended", async || {
        let response = service.get(SITE, Some(&token.secret));
        (response.status != 200).then_some(response)
    })
    .await;
    assert_eq!(outage.status, 503);
    assert!(outage.head.contains("\r\nretry-after: "), "{}", outage.head);
    assert!(!outage.head.contains("www-authenticate"), "{}", outage.head);
    assert_eq!(service.get("/healthz", None).status, 200);
}

async fn a_shadow_lets_everything_through(installation: Installation) {
    let server = installation.start().await;
    let service = Service::start(PROGRAM, &server, &[("SHADOW", "1")]).await;
    for token in [None, Some("tkdw_forged")] {
        let response = service.get(SITE, token);
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, "site, as a shadow sees it")
        );
    }
    assert_eq!(service.send("PUT", "/forgotten", None).status, 200);
}
