//! Repeated `TokenAdmin.RotateToken`: at most two tokens of a chain are active, and the overlap is limited.

use std::time::Duration;

use tokend_client::v1::{CreateTokenRequest, token::State};
use tokend_tests::{Installation, Records, Refused, after, on_both_databases, token_in};

use crate::rotate_token::{ALLOW, EXPIRED, HOUR, call, decision, micros, overlap, rotate};

on_both_databases!(two_tokens_of_a_chain_are_active, an_overlap_is_thirty_days_at_most);

/// A rotation expires the predecessor's own predecessor, whatever its overlap; inactive tokens stay as they are.
async fn two_tokens_of_a_chain_are_active(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let first = server
        .token(CreateTokenRequest {
            expiry: after(1_000 * HOUR),
            ..token_in(&acme)
        })
        .await;
    let (second, predecessor) = rotate(&server, overlap(&first.public.name, 100 * HOUR)).await;
    assert!(predecessor.expire_time.is_some());
    let mut records = Records::of_installation(&installation).await;
    let (third, middle) = rotate(&server, overlap(&second.public.name, 100 * HOUR)).await;
    assert_eq!(decision(&server, &first.secret).await, EXPIRED);
    let expired = server.get_token(&first.public.name).await;
    assert_eq!(
        (expired.expire_time, expired.state()),
        (third.public.create_time, State::Expired)
    );
    assert_eq!(
        (&expired.rotated_to, expired.requested_expire_time),
        (&second.public.name, first.public.requested_expire_time)
    );
    for active in [&second, &third] {
        assert_eq!(decision(&server, &active.secret).await, ALLOW);
    }
    assert_eq!(
        micros(middle.expire_time) - micros(third.public.create_time),
        100 * 3_600 * 1_000_000
    );
    let of_first = |record: &tokend_tests::StoredRecord| record.resource == first.public.name;
    let changes: Vec<_> = records
        .of("acme")
        .await
        .into_iter()
        .filter(of_first)
        .map(|record| (record.kind, record.detail))
        .collect();
    let [_, (_, replaced), (kind, detail)] = &changes[..] else {
        panic!("created, replaced and expired: {changes:?}")
    };
    assert!(
        replaced.contains(&second.public.name) && kind == "token.rotated" && detail.contains(&second.public.name),
        "{changes:?}"
    );
    drop(records);

    // A revoked token stays revoked, and a token whose overlap is over keeps its expiry.
    server.revoke(&second.public.name).await;
    let (fourth, _) = rotate(&server, overlap(&third.public.name, Duration::ZERO)).await;
    let revoked = server.get_token(&second.public.name).await;
    assert_eq!(
        (revoked.state(), revoked.expire_time),
        (State::Revoked, middle.expire_time)
    );
    let third_end = server.get_token(&third.public.name).await.expire_time;
    rotate(&server, overlap(&fourth.public.name, HOUR)).await;
    assert_eq!(server.get_token(&third.public.name).await.expire_time, third_end);
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn an_overlap_is_thirty_days_at_most(installation: Installation) {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let old = server
        .token(CreateTokenRequest {
            expiry: after(400 * DAY),
            ..token_in(&acme)
        })
        .await
        .public;
    for longer in [365 * DAY, 30 * DAY + Duration::from_micros(1)] {
        call(&server, overlap(&old.name, longer)).await.refused_field("overlap");
    }
    assert_eq!(server.get_token(&old.name).await.rotated_to, "");
    let (new, predecessor) = rotate(&server, overlap(&old.name, 30 * DAY)).await;
    assert_eq!(
        micros(predecessor.expire_time) - micros(new.public.create_time),
        30 * 86_400 * 1_000_000
    );
}
