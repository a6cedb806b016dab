//! `tokend policy`: shows and changes single rules of the token policies of workspaces and organizations.

use std::time::Duration;

use tokend_client::v1::{CreateCallerRequest, CreateTokenRequest, Role, Selection};
use tokend_tests::{Finished, Installation, Process, Server, after, on_both_databases, on_sqlite, token_in};

on_both_databases!(a_change_is_previewed_and_applied, unnamed_rules_are_unchanged);

mod anywhere {
    use super::*;

    on_sqlite!(a_stale_etag_is_refused, policies_that_are_set_are_listed);

    async fn a_stale_etag_is_refused(installation: Installation) {
        let server = installation.start().await;
        server.workspace("acme").await;
        let run = async |arguments: &[&str]| policy(&installation, &server, server.admin_key(), arguments).await;
        let etag = json(run(&["get", "acme", "-o", "json"]).await)["policy"]["etag"]
            .as_str()
            .expect("the value is text")
            .to_owned();
        run(&["update", "acme", "--max-lifetime", "30d", "--etag", &etag])
            .await
            .succeeded();
        let sentence = {
            let late = run(&["update", "acme", "--max-lifetime", "300d", "--etag", &etag]).await;
            late.failed_with_a_sentence()
        };
        assert!(sentence.contains("ETAG_MISMATCH"), "{sentence}");
        assert!(
            run(&["get", "acme"]).await.succeeded().contains("30d"),
            "the policy is unchanged"
        );
        for (arguments, code) in [
            (&["update", "acme"][..], 2),
            (
                &["update", "acme", "--clear", "max-lifetime", "--max-lifetime", "1d"],
                2,
            ),
            (&["update", "acme", "--allowed-scope", "everything"], 1),
            (&["get", "nobody"], 1),
        ] {
            let finished = run(arguments).await;
            assert_eq!((finished.code(), finished.stdout.as_str()), (code, ""), "{finished:#?}");
        }
    }

    async fn policies_that_are_set_are_listed(installation: Installation) {
        let server = installation.start().await;
        let acme = server.workspace("acme").await;
        server.workspace("other").await;
        server.organization("initech").await;
        let run = async |arguments: &[&str]| policy(&installation, &server, server.admin_key(), arguments).await;
        let none = run(&["list"]).await;
        assert!(
            none.stderr.contains("No policy is set.") && none.stdout.is_empty(),
            "{none:#?}"
        );
        run(&["update", "acme", "--max-active-tokens", "7"]).await.succeeded();
        run(&["update", "organizations/initech", "--require-expiry"])
            .await
            .succeeded();
        let listed = run(&["list", "-o", "json"]).await;
        let names = |listed: Finished| -> Vec<String> {
            let response = json(listed);
            let policies = response["policies"].as_array().expect("policies is a list");
            policies
                .iter()
                .map(|policy| policy["name"].as_str().expect("the value is text").to_owned())
                .collect()
        };
        assert_eq!(
            names(listed),
            ["organizations/initech/tokenPolicy", "workspaces/acme/tokenPolicy"]
        );
        let team = CreateCallerRequest {
            caller_id: "team".to_owned(),
            role: Role::WorkspaceAdmin.into(),
            workspaces: Some(Selection {
                all: false,
                only: vec![acme],
            }),
            ..Default::default()
        };
        let team = server.caller_as(team).await.secret;
        let of_team = policy(&installation, &server, &team, &["list", "-o", "json"]).await;
        assert!(of_team.stderr.contains("may not see organizations"), "{of_team:#?}");
        assert_eq!(names(of_team), ["workspaces/acme/tokenPolicy"]);
    }
}

async fn policy(installation: &Installation, server: &Server, key: &str, arguments: &[&str]) -> Finished {
    let mut command = installation.command(["policy"].iter().chain(arguments));
    command
        .env("TOKEND_ADDRESS", server.grpc_address())
        .env("TOKEND_CALLER_KEY", key);
    Process::spawn(command, "").finish().await
}

fn json(finished: Finished) -> serde_json::Value {
    serde_json::from_str(&finished.succeeded()).expect("the output is JSON")
}

async fn a_change_is_previewed_and_applied(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let day = Duration::from_secs(86_400);
    let long = server
        .token(CreateTokenRequest {
            expiry: after(day * 60),
            ..token_in(&acme)
        })
        .await
        .public;
    let short = server.token(token_in(&acme)).await.public;
    let run = async |more: &[&str]| {
        let arguments = [
            &["update", "acme", "--max-lifetime", "30d", "--existing-tokens", "apply"],
            more,
        ]
        .concat();
        policy(&installation, &server, server.admin_key(), &arguments).await
    };
    let shown = run(&["--dry-run"]).await;
    assert!(
        shown
            .stderr
            .contains("This would make 1 token end earlier. Nothing was changed."),
        "{shown:#?}"
    );
    let table = shown.succeeded();
    assert!(
        table.contains(&long.name) && !table.contains(&short.name) && table.contains("30d"),
        "{table}"
    );
    assert_eq!(server.get_token(&long.name).await, long);

    let applied = run(&[]).await;
    assert!(
        applied.stderr.contains("This makes 1 token end earlier."),
        "{applied:#?}"
    );
    assert!(applied.succeeded().contains(&long.name));
    let now = server.get_token(&long.name).await;
    assert!(
        now.expire_time.map(|end| end.seconds) < long.expire_time.map(|end| end.seconds),
        "{now:?}"
    );
    assert_eq!(server.get_token(&short.name).await.expire_time, short.expire_time);
    let again = json(run(&["-o", "json"]).await);
    assert_eq!(
        (&again["affected_count"], &again["policy"]["max_lifetime"]),
        (&"0".into(), &"2592000s".into()),
        "{again}"
    );
}

async fn unnamed_rules_are_unchanged(installation: Installation) {
    let server = installation.start().await;
    server.workspace("acme").await;
    let run = async |arguments: &[&str]| {
        let output = policy(
            &installation,
            &server,
            server.admin_key(),
            &[arguments, &["-o", "json"]].concat(),
        )
        .await;
        let policy = &json(output)["policy"];
        let only = |field: &str| policy[field]["only"].as_array().cloned().unwrap_or_default();
        (
            policy["max_lifetime"].clone(),
            policy["require_expiry"].clone(),
            only("allowed_scopes"),
            only("allowed_cidrs"),
        )
    };
    let (none, no, yes) = (serde_json::Value::Null, false.into(), true.into());
    let month = "2592000s".into();
    assert_eq!(run(&["get", "acme"]).await, (none.clone(), no, vec![], vec![]));
    run(&["update", "acme", "--max-lifetime", "30d"]).await;
    run(&[
        "update",
        "acme",
        "--allowed-scope",
        "project",
        "--allowed-cidr",
        "192.0.2.0/24",
    ])
    .await;
    run(&["update", "acme", "--require-expiry", "--allowed-scope", "repository"]).await;
    let (scopes, cidrs) = (vec!["repository".into()], vec!["192.0.2.0/24".into()]);
    assert_eq!(run(&["get", "acme"]).await, (month, yes, scopes.clone(), cidrs));
    let cleared = run(&[
        "update",
        "acme",
        "--clear",
        "max-lifetime",
        "--clear",
        "allowed-cidrs",
        "--require-expiry=false",
    ])
    .await;
    assert_eq!(cleared, (none, false.into(), scopes, vec![]));
}
