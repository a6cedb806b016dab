//! `TokenAdmin.RotateToken`, again and again: of a chain no more than two tokens work, and no overlap is without a bound.

use std::time::Duration;

use tokend_client::v1::{CreateTokenRequest, token::State};
use tokend_tests::{Installation, Records, Refused, after, on_both_databases, token_in};

use crate::rotate_token::{ALLOW, EXPIRED, HOUR, call, decision, micros, overlap, rotate};

on_both_databases!(of_a_chain_two_tokens_work, an_overlap_is_thirty_days_at_most);

/// What was replaced before the last time ends, whatever its overlap was; what has ended stays as it is.
async fn of_a_chain_two_tokens_work(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let first = server.token(CreateTokenRequest { expiry: after(1_000 * HOUR), ..token_in(&acme) }).await;
    let (second, predecessor) = rotate(&server, overlap(&first.public.name, 100 * HOUR)).await;
    assert!(predecessor.expire_time.is_some());
    let mut records = Records::of_installation(&installation).await;
    let (third, middle) = rotate(&server, overlap(&second.public.name, 100 * HOUR)).await;
    assert_eq!(decision(&server, &first.secret).await, EXPIRED);
    let ended = server.get_token(&first.public.name).await;
    assert_eq!((ended.expire_time, ended.state()), (third.public.create_time, State::Expired));
    assert_eq!((&ended.rotated_to, ended.requested_expire_time), (&second.public.name, first.public.requested_expire_time));
    for works in [&second, &third] {
        assert_eq!(decision(&server, &works.secret).await, ALLOW);
    }
    assert_eq!(micros(middle.expire_time) - micros(third.public.create_time), 100 * 3_600 * 1_000_000);
    let of_first = |record: &tokend_tests::StoredRecord| record.resource == first.public.name;
    let told: Vec<_> = records.of("acme").await.into_iter().filter(of_first).map(|record| (record.kind, record.detail)).collect();
    let [_, (_, replaced), (kind, detail)] = &told[..] else { panic!("made, replaced and ended: {told:?}") };
    assert!(replaced.contains(&second.public.name) && kind == "token.rotated" && detail.contains(&second.public.name), "{told:?}");
    drop(records);

    // One that was revoked stays revoked, and one whose overlap is over keeps its end.
    server.revoke(&second.public.name).await;
    let (fourth, _) = rotate(&server, overlap(&third.public.name, Duration::ZERO)).await;
    let revoked = server.get_token(&second.public.name).await;
    assert_eq!((revoked.state(), revoked.expire_time), (State::Revoked, middle.expire_time));
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
    let old = server.token(CreateTokenRequest { expiry: after(400 * DAY), ..token_in(&acme) }).await.public;
    for longer in [365 * DAY, 30 * DAY + Duration::from_micros(1)] {
        call(&server, overlap(&old.name, longer)).await.refused_field("overlap");
    }
    assert_eq!(server.get_token(&old.name).await.rotated_to, "");
    let (new, predecessor) = rotate(&server, overlap(&old.name, 30 * DAY)).await;
    assert_eq!(micros(predecessor.expire_time) - micros(new.public.create_time), 30 * 86_400 * 1_000_000);
}
