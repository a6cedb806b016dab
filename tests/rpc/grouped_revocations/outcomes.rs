use std::{collections::BTreeSet, fs};

use tokend_client::v1::{CreateCallerRequest, CreateTokenRequest, ErrorReason, Role, Selection, token::State};
use tokend_tests::{
    Installation, Records, Refused, StoredRecord, eventually, held_writes, on_both_databases, token_in,
};
use tonic::{Code, Request};

use super::{answer, begin, last_revision, number, open, request, revoke, revoked, tokens, until_queued};

on_both_databases!(each_call_of_a_group_has_its_own_outcome);

async fn each_call_of_a_group_has_its_own_outcome(installation: Installation) {
    let file = installation.directory().join("revocations");
    let server = installation
        .start_with(["--revocations-file", &file.to_string_lossy()])
        .await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let names = tokens(&server, &acme, 5).await;
    let [opening, by_ada, by_both, repeated, of_mallory] = names.as_slice() else {
        panic!("{names:?}")
    };
    let globex_names = tokens(&server, &globex, 2).await;
    let [in_globex, hidden] = globex_names.as_slice() else {
        panic!("{globex_names:?}")
    };
    let edited = CreateTokenRequest {
        display_name: "to-edit".to_owned(),
        ..token_in(&acme)
    };
    let edited = server.token(edited).await.public.name;
    server.revoke(repeated).await;
    let mut clients = Vec::new();
    for (id, role) in [("ada", Role::Revoker), ("grace", Role::Admin), ("mallory", Role::Admin)] {
        let caller = server.caller(id, role).await;
        clients.push(server.client(&caller.secret).await);
    }
    let local = CreateCallerRequest {
        caller_id: "local".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![acme.clone()],
        }),
        ..Default::default()
    };
    let local = server.caller_as(local).await;
    let local = server.client(&local.secret).await;
    let [ada, grace, mallory] = clients.as_slice() else {
        panic!("there are three")
    };
    let mut records = Records::of_installation(&installation).await;
    let before = last_revision(&installation).await;

    let held = held_writes::hold(&installation).await;
    let first = open(&server, opening).await;
    let second = revoke(server.admin(), opening);
    let with_actor = |name: &str| {
        let mut request = Request::new(request(name));
        request
            .metadata_mut()
            .insert("x-tokend-actor", "hopper".parse().expect("the header value is valid"));
        request
    };
    let absent = format!("{acme}/tokens/{}", "0".repeat(17));
    let good = [
        revoke(ada, by_ada),
        revoke(ada, by_both),
        begin(grace, with_actor(by_both)),
        begin(grace, with_actor(repeated)),
        begin(grace, with_actor(in_globex)),
    ];
    let not_found = [
        revoke(ada, &absent),
        revoke(ada, &absent.replacen("acme", "nobody", 1)),
        revoke(&local, hidden),
    ];
    let (invalid, broken) = (revoke(mallory, of_mallory), revoke(ada, &edited));
    // The call for a foreign workspace is refused before.
    until_queued(&server, 1, 10).await;
    held.execute(
        "DELETE FROM caller_keys WHERE caller = 'mallory'; \
         UPDATE tokens SET display_name = 'edited' WHERE display_name = 'to-edit'",
    )
    .await;

    let openings = [number(&revoked(first).await), number(&revoked(second).await)];
    let mut answers = Vec::new();
    for call in good {
        answers.push(revoked(call).await);
    }
    for call in not_found {
        answer(call).await.refused(Code::NotFound, ErrorReason::TokenNotFound);
    }
    answer(invalid)
        .await
        .refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
    answer(broken).await.refused(Code::Internal, ErrorReason::InternalFault);

    let numbers: BTreeSet<_> = answers.iter().map(number).collect();
    assert_eq!(numbers, BTreeSet::from([openings[1]]), "the group has one revision");
    assert_eq!(openings, [openings[0], openings[0] + 1]);
    assert_eq!(last_revision(&installation).await, before + 2);
    let shown: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.token.expect("a token"))
        .inspect(|token| assert_eq!(token.state(), State::Revoked))
        .map(|token| (token.name, token.revoker))
        .collect();
    assert_eq!(
        shown[1], shown[2],
        "the first call revokes the token, the second one finds it revoked"
    );
    assert_eq!(shown[3].1, "callers/admin", "a revoked token stays as it is");
    assert_eq!(server.get_token(of_mallory).await.state(), State::Active);
    assert_eq!(server.get_token(hidden).await.state(), State::Active);

    // A caller, on whose behalf it acts, and from where.
    let by = |caller: &str, actor: &str, token: &str| [caller, actor, "127.0.0.1", token].map(str::to_owned);
    let seen = |records: Vec<StoredRecord>| -> BTreeSet<_> {
        let revoked = records.into_iter().filter(|record| record.kind == "token.revoked");
        revoked
            .map(|record| [record.caller, record.actor, record.address, record.resource])
            .collect()
    };
    let (first_of_both, actor) = match shown[1].1.as_str() {
        "callers/ada" => ("callers/ada", ""),
        _ => ("callers/grace", "hopper"),
    };
    assert_eq!(
        seen(records.of("acme").await),
        BTreeSet::from([
            by("callers/admin", "", &names[0]),
            by("callers/admin", "", repeated),
            by("callers/ada", "", by_ada),
            by(first_of_both, actor, by_both),
        ])
    );
    assert_eq!(
        seen(records.of("globex").await),
        BTreeSet::from([by("callers/grace", "hopper", in_globex)])
    );
    let lines = eventually("each revocation is exported", async || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= 5).then_some(lines)
    })
    .await;
    let exported: Vec<_> = [repeated, &names[0], by_ada, by_both, in_globex]
        .into_iter()
        .map(|name| lines.iter().filter(|line| line.contains(name.as_str())).count())
        .collect();
    assert_eq!(exported, [1; 5], "{lines:#?}");
    assert_eq!(lines.len(), 5, "{lines:#?}");
}
