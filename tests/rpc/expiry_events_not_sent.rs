//! Some notices are not recorded: those of unlimited and revoked tokens, the warnings of rotated tokens, and those that
//! were due before the token was created.

use tokend_client::v1::{CreateTokenRequest, RotateTokenRequest, create_token_request::Expiry};
use tokend_tests::{Installation, Records, eventually, on_both_databases, token_in};

use crate::expiry_events::{DAY, HOUR, notices_of, token_lasting, wait_for_scan};

on_both_databases!(
    notices_due_before_creation_are_skipped,
    unlimited_and_revoked_tokens_get_no_notices,
    a_rotated_token_gets_no_warning,
);

async fn notices_due_before_creation_are_skipped(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut records = Records::of_installation(&installation).await;
    let mut tokens = Vec::new();
    for (lifetime, notices) in [
        (HOUR, vec!["ended"]),
        (DAY, vec!["ended"]),
        (DAY + HOUR, vec!["1 day", "ended"]),
        (30 * DAY, vec!["7 days", "1 day", "ended"]),
        (61 * DAY, vec!["60 days", "30 days", "7 days", "1 day", "ended"]),
    ] {
        tokens.push((token_lasting(&server, &acme, lifetime).await, notices));
    }
    installation.clock().set_ahead(61 * DAY);
    for (token, notices) in tokens {
        eventually("the notice is recorded", async || {
            (notices_of(&mut records, &token).await == notices).then_some(())
        })
        .await;
    }
}

async fn unlimited_and_revoked_tokens_get_no_notices(installation: Installation) {
    let server = installation.start().await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let request = CreateTokenRequest {
        expiry: Some(Expiry::NoExpiry(true)),
        ..token_in(&acme)
    };
    let unlimited = server.token(request).await.public;
    let revoked = token_lasting(&server, &acme, 50 * DAY).await;
    server.revoke(&revoked.name).await;
    let of_deleted = token_lasting(&server, &globex, 50 * DAY).await;
    server.delete_workspace(&globex).await;
    let mut records = Records::of_installation(&installation).await;
    installation.clock().set_ahead(60 * DAY);
    wait_for_scan(&installation, &server, &mut records, 60 * DAY).await;
    for token in [unlimited, revoked, of_deleted] {
        assert_eq!(notices_of(&mut records, &token).await, [""; 0], "{}", token.name);
    }
    // None of these tokens stays scheduled for a scan.
    assert_eq!(
        records
            .count("SELECT count(*) FROM token_notices WHERE look_time IS NOT NULL")
            .await,
        0
    );
}

async fn a_rotated_token_gets_no_warning(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = token_lasting(&server, &acme, 90 * DAY).await;
    let overlap = Some((30 * DAY).try_into().expect("the duration is in range"));
    let rotate = RotateTokenRequest {
        name: old.name.clone(),
        overlap,
        ..Default::default()
    };
    let rotated = server
        .admin()
        .token_admin()
        .rotate_token(rotate)
        .await
        .expect("RotateToken succeeds")
        .into_inner();
    let new = rotated.token.expect("`token` is set");
    let mut records = Records::of_installation(&installation).await;

    // The rotation's overlap decides when the old token expires, not its requested expiry.
    installation.clock().set_ahead(30 * DAY);
    eventually("the expiry is recorded", async || {
        (notices_of(&mut records, &old).await == ["ended"]).then_some(())
    })
    .await;
    eventually("the new token's warning is recorded", async || {
        (notices_of(&mut records, &new).await == ["60 days"]).then_some(())
    })
    .await;
    wait_for_scan(&installation, &server, &mut records, 100 * DAY).await;
    assert_eq!(notices_of(&mut records, &old).await, ["ended"]);
}
