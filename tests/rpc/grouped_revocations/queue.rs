use std::{collections::BTreeSet, time::Duration};

use tokend_client::v1::{Role, token::State};
use tokend_tests::{Installation, eventually, held_writes, on_both_databases};
use tonic::{Code, Request};

use super::{last_revision, number, open, request, revoke, revoked, tokens, until_queued};

on_both_databases!(
    a_flood_takes_few_transactions,
    callers_take_turns,
    a_cancelled_call_disturbs_no_other,
    a_call_whose_deadline_has_passed_is_not_executed,
    a_revocation_on_an_idle_server_has_its_own_transaction,
);

const CALLERS: usize = 5;
/// The most revocations that share a transaction.
const GROUP: usize = 64;

async fn a_flood_takes_few_transactions(installation: Installation) {
    const CALLS: usize = 200;
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let names = tokens(&server, &acme, CALLS).await;
    let mut clients = Vec::new();
    for number in 0..CALLERS {
        let caller = server.caller(&format!("caller-{number}"), Role::Admin).await;
        clients.push(server.client(&caller.secret).await);
    }
    let before = last_revision(&installation).await;
    let held = held_writes::hold(&installation).await;
    let (opening, others) = names.split_first().expect("there are tokens");
    let mut calls = vec![open(&server, opening).await];
    calls.extend(
        others
            .iter()
            .zip(clients.iter().cycle())
            .map(|(name, client)| revoke(client, name)),
    );
    until_queued(&server, 1, CALLS - 1).await;
    held.release().await;
    let mut numbers = BTreeSet::new();
    for (call, name) in calls.into_iter().zip(&names) {
        let answer = revoked(call).await;
        numbers.insert(number(&answer));
        let token = answer.token.expect("a token");
        assert_eq!((&token.name, token.state()), (name, State::Revoked));
    }
    let groups = 1 + (CALLS - 1).div_ceil(GROUP);
    assert_eq!(numbers.len(), groups);
    assert_eq!(
        last_revision(&installation).await - before,
        i64::try_from(groups).expect("small")
    );
    for name in names {
        assert_eq!(server.get_token(&name).await.state(), State::Revoked);
    }
}

async fn callers_take_turns(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let names = tokens(&server, &acme, 2 * GROUP + 1).await;
    let (late, flood) = names.split_last().expect("there are tokens");
    let mut clients = Vec::new();
    for id in ["flood", "late"] {
        let caller = server.caller(id, Role::Admin).await;
        // A connection carries at most 64 calls at once.
        for _ in 0..3 {
            clients.push(server.client(&caller.secret).await);
        }
    }
    let held = held_writes::hold(&installation).await;
    let (opening, others) = flood.split_first().expect("there are tokens");
    let mut calls = vec![open(&server, opening).await];
    calls.extend(
        others
            .iter()
            .zip(clients[..3].iter().cycle())
            .map(|(name, client)| revoke(client, name)),
    );
    until_queued(&server, 1, others.len()).await;
    let late = revoke(&clients[3], late);
    until_queued(&server, 1, flood.len()).await;
    held.release().await;
    let late = number(&revoked(late).await);
    let mut numbers = BTreeSet::new();
    for call in calls {
        numbers.insert(number(&revoked(call).await));
    }
    let numbers: Vec<_> = numbers.into_iter().collect();
    assert_eq!((numbers.len(), late), (3, numbers[1]), "{numbers:?}");
}

async fn a_cancelled_call_disturbs_no_other(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let names = tokens(&server, &acme, 6).await;
    let held = held_writes::hold(&installation).await;
    let client = server.client(server.admin_key()).await;
    let mut calls = vec![revoke(&client, &names[0])];
    drop(client);
    until_queued(&server, 1, 0).await;
    for name in &names[1..] {
        calls.push(revoke(&server.client(server.admin_key()).await, name));
    }
    until_queued(&server, 1, names.len() - 1).await;
    // Every second client is gone, among them the one whose call is in the transaction.
    for call in calls.iter().step_by(2) {
        call.abort();
    }
    let (mut gone, mut others) = (Vec::new(), Vec::new());
    for (place, call) in calls.into_iter().enumerate() {
        let calls = if place % 2 == 0 { &mut gone } else { &mut others };
        calls.push(call);
    }
    for call in gone {
        assert!(call.await.is_err_and(|error| error.is_cancelled()));
    }
    assert!(others.iter().all(|call| !call.is_finished()), "the writes are held");
    held.release().await;
    for call in others {
        assert_eq!(revoked(call).await.token.expect("a token").state(), State::Revoked);
    }
    for name in &names {
        eventually("the token is revoked", async || {
            (server.get_token(name).await.state() == State::Revoked).then_some(())
        })
        .await;
    }
    let again = revoked(revoke(server.admin(), &names[0])).await;
    assert_eq!(again.token.expect("a token").state(), State::Revoked);
}

async fn a_call_whose_deadline_has_passed_is_not_executed(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let names = tokens(&server, &acme, 4).await;
    let held = held_writes::hold(&installation).await;
    let waiting = [open(&server, &names[0]).await, revoke(server.admin(), &names[1])];
    until_queued(&server, 1, 1).await;
    let mut hurried = Request::new(request(&names[2]));
    hurried.set_timeout(Duration::from_millis(200));
    let late = server.admin().token_admin().revoke_token(hurried).await;
    assert!(
        late.as_ref()
            .is_err_and(|status| matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)),
        "{late:?}"
    );
    held.release().await;
    for call in waiting {
        revoked(call).await;
    }
    revoked(revoke(server.admin(), &names[3])).await;
    until_queued(&server, 0, 0).await;
    assert_eq!(server.get_token(&names[2]).await.state(), State::Active);
}

async fn a_revocation_on_an_idle_server_has_its_own_transaction(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let names = tokens(&server, &acme, 3).await;
    let before = last_revision(&installation).await;
    for name in &names {
        revoked(revoke(server.admin(), name)).await;
    }
    assert_eq!(last_revision(&installation).await - before, 3);
}
