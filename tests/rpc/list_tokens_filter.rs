//! `TokenAdmin.ListTokens` with a `filter` returns the workspace's tokens that match it.

use std::{collections::BTreeMap, time::Duration};

use tokend_client::v1::{
    CreateCallerRequest, CreateTokenRequest, ErrorReason, ListTokensRequest, ListTokensResponse, Role, Selection,
    Token, create_token_request::Expiry,
};
use tokend_core::time::Timestamp;
use tokend_tests::{
    Installation, Process, Refused, Server, after, eventually, on_both_databases, question, refusal, token_in,
};
use tonic::Code;

on_both_databases!(
    each_field_finds_its_tokens,
    or_binds_tighter_than_and,
    states_are_evaluated_at_the_current_time,
    usage_filters_match_the_recorded_use,
    a_malformed_filter_is_refused_with_its_position,
    a_foreign_caller_gets_no_filter_error,
    the_command_line_accepts_filters,
);

const HOUR: Duration = Duration::from_secs(3_600);

async fn list(server: &Server, parent: &str, filter: &str) -> ListTokensResponse {
    let request = ListTokensRequest {
        parent: parent.to_owned(),
        filter: filter.to_owned(),
        ..Default::default()
    };
    server
        .admin()
        .token_admin()
        .list_tokens(request)
        .await
        .unwrap_or_else(|status| panic!("{filter}: {status}"))
        .into_inner()
}

/// Returns the display names of the tokens that match a filter, oldest first, separated by spaces.
async fn names(server: &Server, filter: &str) -> String {
    let page = list(server, "workspaces/acme", filter).await;
    assert_eq!(page.total_size, page.tokens.len() as i64, "{filter}");
    names_in(&page)
}

fn names_in(page: &ListTokensResponse) -> String {
    let names: Vec<_> = page
        .tokens
        .iter()
        .rev()
        .map(|token| token.display_name.as_str())
        .collect();
    names.join(" ")
}

pub(crate) fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn rfc3339(time: Option<&prost_types::Timestamp>) -> String {
    let time = time.expect("the time is set");
    Timestamp::from_unix_seconds(time.seconds, time.nanos.cast_unsigned())
        .expect("the timestamp is valid")
        .to_string()
}

/// Creates the tokens `a` to `e` in `acme`, and one in another workspace that no filter must find.
async fn fill(server: &Server) -> Vec<Token> {
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let base = |name: &str| CreateTokenRequest {
        display_name: name.to_owned(),
        ..token_in(&acme)
    };
    let scopes = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let below = |path: &str| format!("{acme}/projects/{path}");
    let mut created = Vec::new();
    for request in [
        CreateTokenRequest {
            labels: labels(&[("team", "web")]),
            ..base("a")
        },
        CreateTokenRequest {
            labels: labels(&[("team", "web \"1\"")]),
            resource: below("web"),
            ..base("b")
        },
        CreateTokenRequest {
            scopes: scopes(&["repository", "webhook"]),
            resource: below("web/repositories/x"),
            ..base("c")
        },
        CreateTokenRequest {
            labels: labels(&[("team", ""), ("x", "web")]),
            resource: below("web2"),
            ..base("d")
        },
        CreateTokenRequest {
            expiry: Some(Expiry::NoExpiry(true)),
            ..base("e")
        },
    ] {
        created.push(server.token(request).await.public);
    }
    let elsewhere = CreateTokenRequest {
        labels: labels(&[("team", "web")]),
        display_name: "z".to_owned(),
        ..token_in(&other)
    };
    server.token(elsewhere).await;
    created
}

async fn each_field_finds_its_tokens(installation: Installation) {
    let server = installation.start().await;
    let tokens = fill(&server).await;
    server.revoke(&tokens[1].name).await;
    let time = |index: usize| rfc3339(tokens[index].create_time.as_ref());
    let end = |index: usize| rfc3339(tokens[index].expire_time.as_ref());
    for (filter, found) in [
        ("state = ACTIVE", "a c d e"),
        ("state:STATE_REVOKED", "b"),
        ("state != 'STATE_ACTIVE'", "b"),
        ("state = SUSPENDED", ""),
        ("scopes:repository", "c"),
        ("scopes = repository:write", "a b d e"),
        ("scopes != webhook", "a b d e"),
        ("labels.team = web", "a"),
        (r#"labels.team:"web \"1\"""#, "b"),
        ("labels.team = ''", "d"),
        ("labels.team:*", "a b d"),
        ("labels.team != web", "b c d e"),
        ("labels.x = web", "d"),
        ("expire_time = never", "e"),
        ("expire_time:*", "a b c d"),
        ("expire_time > 9999-12-31T00:00:00Z", ""),
        ("expire_time < 9999-12-31T00:00:00Z", "a b c d"),
        ("expire_time != 9999-12-31T00:00:00Z", "a b c d e"),
        ("resource = workspaces/acme/projects/web", "b"),
        ("resource:workspaces/acme/projects/web", "b c"),
        ("resource:workspaces/acme", "a b c d e"),
        ("resource != workspaces/acme", "b c d"),
        ("resource:workspaces/other", ""),
        (&format!("creator = {}", tokens[0].creator), "a b c d e"),
        ("creator = callers/nobody", ""),
        (&format!("create_time > {}", time(2)), "d e"),
        (&format!("create_time <= {}", time(2)), "a b c"),
        (&format!("create_time = {}", time(2)), "c"),
        (&format!("create_time != \"{}\"", time(2)), "a b d e"),
        (&format!("expire_time >= {}", end(1)), "b c d"),
        (&format!("expire_time < {}", end(1)), "a"),
    ] {
        assert_eq!(names(&server, filter).await, found, "{filter}");
    }
}

async fn or_binds_tighter_than_and(installation: Installation) {
    let server = installation.start().await;
    fill(&server).await;
    for (filter, found) in [
        ("scopes:webhook AND expire_time = never", ""),
        ("scopes:webhook OR expire_time = never", "c e"),
        // If AND bound tighter, c would match, too.
        ("scopes:webhook OR labels.team:* AND labels.x:*", "d"),
        ("scopes:webhook OR (labels.team:* AND labels.x:*)", "c d"),
        ("(scopes:webhook OR labels.team:*) AND labels.x:*", "d"),
        (
            "labels.team=web OR scopes:webhook AND resource=workspaces/acme OR labels.x=web",
            "a",
        ),
    ] {
        assert_eq!(names(&server, filter).await, found, "{filter}");
    }
}

async fn states_are_evaluated_at_the_current_time(installation: Installation) {
    let server = installation.start().await;
    let tokens = fill(&server).await;
    server.revoke(&tokens[0].name).await;
    assert_eq!(names(&server, "state = EXPIRED").await, "");
    // All tokens with an expiry expire after an hour.
    installation.clock().set_ahead(HOUR * 2);
    for (filter, found) in [
        ("state = EXPIRED", "b c d"),
        ("state = ACTIVE", "e"),
        ("state = REVOKED", "a"),
    ] {
        assert_eq!(names(&server, filter).await, found, "{filter}");
    }
}

async fn usage_filters_match_the_recorded_use(installation: Installation) {
    let server = installation.start().await;
    let tokens = fill(&server).await;
    let secret = server
        .token(CreateTokenRequest {
            display_name: "f".to_owned(),
            ..token_in("workspaces/acme")
        })
        .await
        .secret;
    assert_eq!(names(&server, "unused = true").await, "a b c d e f");
    assert_eq!(names(&server, "last_used_time:* OR unused = false").await, "");
    server.verdict(question(&secret, "workspaces/acme", &[])).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    // The page and its total are separate reads. A use that is recorded between them is in only one of them.
    let unused = async || names_in(&list(&server, "workspaces/acme", "unused = true").await);
    eventually("the use is recorded", async || {
        (unused().await == "a b c d e").then_some(())
    })
    .await;

    let created = rfc3339(tokens[0].create_time.as_ref());
    let used = list(&server, "workspaces/acme", "unused = false").await.tokens;
    let [used] = &used[..] else {
        panic!("one token, not {used:?}")
    };
    let used = rfc3339(used.last_used_time.as_ref());
    for (filter, found) in [
        ("unused = false", "f"),
        ("unused != true", "f"),
        ("unused:false", "f"),
        ("last_used_time:*", "f"),
        ("last_used_time = never", "a b c d e"),
        (&format!("last_used_time = {used}"), "f"),
        (&format!("last_used_time != {used}"), "a b c d e"),
        (&format!("last_used_time > {created}"), "f"),
        (&format!("last_used_time > {used}"), ""),
        (&format!("last_used_time >= {used}"), "f"),
        (&format!("last_used_time < {created}"), ""),
        (&format!("last_used_time <= {used} AND scopes:repository:write"), "f"),
        (&format!("unused = true AND create_time > {created}"), "b c d e"),
    ] {
        assert_eq!(names(&server, filter).await, found, "{filter}");
    }
}

async fn a_malformed_filter_is_refused_with_its_position(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for (filter, message) in [
        (
            "state = ALIVE",
            "filter is malformed at character 9: expected ACTIVE, EXPIRED, REVOKED or SUSPENDED, found \"ALIVE\"",
        ),
        (
            "(labels.team = 'grün'",
            "filter is malformed at character 22: expected AND, OR or ), found the end",
        ),
        (
            "state = ACTIVE AND unused = x",
            "filter is malformed at character 29: expected true or false, found \"x\"",
        ),
    ] {
        let request = ListTokensRequest {
            parent: acme.clone(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        let status = server
            .admin()
            .token_admin()
            .list_tokens(request)
            .await
            .expect_err("the filter is malformed");
        let failure = refusal(&status, Code::InvalidArgument, ErrorReason::InvalidField);
        assert_eq!(
            (failure.message.as_str(), failure.fields[0].field.as_str()),
            (message, "filter")
        );
    }
}

/// A caller without access to the workspace does not learn what is wrong with the filter.
async fn a_foreign_caller_gets_no_filter_error(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let stranger = CreateCallerRequest {
        caller_id: "stranger".to_owned(),
        role: Role::WorkspaceAdmin.into(),
        workspaces: Some(Selection {
            all: false,
            only: vec![other],
        }),
        certificate_sans: Vec::new(),
    };
    let stranger = server.client(&server.caller_as(stranger).await.secret).await;
    for filter in ["state = ACTIVE", "nonsense"] {
        let request = ListTokensRequest {
            parent: acme.clone(),
            filter: filter.to_owned(),
            ..Default::default()
        };
        stranger
            .token_admin()
            .list_tokens(request)
            .await
            .refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
    }
}

async fn the_command_line_accepts_filters(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let named = |name: &str, expiry| CreateTokenRequest {
        display_name: name.to_owned(),
        expiry,
        ..token_in(&acme)
    };
    server.token(named("ends", after(HOUR))).await;
    server.token(named("endless", Some(Expiry::NoExpiry(true)))).await;
    let list = async |filter: &str| {
        let mut command = installation.command([
            "token",
            "list",
            "--workspace",
            "acme",
            "--address",
            server.grpc_address(),
        ]);
        command
            .args(["--filter", filter])
            .env("TOKEND_CALLER_KEY", server.admin_key());
        Process::spawn(command, "").finish().await
    };
    let found = list("expire_time = never").await;
    assert!(
        found.stdout.contains("endless") && !found.stdout.contains("ends "),
        "{}",
        found.stdout
    );
    let refused = list("expire_time = newer").await;
    assert_eq!(refused.code(), 1, "{refused:#?}");
    assert!(refused.stderr.contains("at character 15"), "{}", refused.stderr);
}
