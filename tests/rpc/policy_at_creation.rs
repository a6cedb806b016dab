//! `TokenAdmin.CreateToken` under policies: what they do not allow is refused, every broken rule at once; what was left open they fill in.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateTokenResponse, DenyReason, ErrorReason, Selection, Token, TokenPolicy, VerifyRequest,
    create_token_request::Expiry,
};
use tokend_tests::{Installation, Records, Refused, Server, after, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};

on_both_databases!(
    each_rule_is_obeyed,
    every_broken_rule_is_told_at_once,
    the_strictest_of_organization_and_workspace_counts,
    policies_with_nothing_in_common_let_nothing_be_made,
    the_shortest_default_is_taken_if_no_end_is_chosen,
    a_token_without_networks_gets_the_policies,
    a_rehearsal_tells_the_same,
    a_replay_answers_as_before,
    what_is_refused_leaves_nothing_but_its_record,
);

const HOUR: Duration = Duration::from_secs(3_600);
const MICROSECOND: Duration = Duration::from_micros(1);

fn only(values: &[&str]) -> Option<Selection> {
    Some(Selection { all: false, only: values.iter().map(ToString::to_string).collect() })
}

fn span(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().expect("a span"))
}

const FOREVER: Option<Expiry> = Some(Expiry::NoExpiry(true));

async fn create(server: &Server, request: CreateTokenRequest) -> Result<Response<CreateTokenResponse>, Status> {
    server.admin().token_admin().create_token(request).await
}

/// Sets a policy, and tells its name.
async fn set(server: &Server, policy: TokenPolicy) -> String {
    server.set_policy(policy).await.policy.expect("told").name
}

/// The rules that a request breaks, and whose they are.
async fn broken(server: &Server, request: CreateTokenRequest) -> Vec<[String; 2]> {
    let told = create(server, request).await.refused(Code::FailedPrecondition, ErrorReason::PolicyViolated);
    assert!(told.fields.is_empty(), "{told:?}");
    assert!(told.message.contains(&told.preconditions[0].description), "{told:?}");
    told.preconditions.into_iter().map(|broken| [broken.kind, broken.subject]).collect()
}

/// An organization and a workspace in it, by name.
async fn organization_and_workspace(server: &Server) -> (String, String) {
    let initech = server.organization("initech").await;
    (initech.clone(), server.workspace_in("acme", &initech).await)
}

fn policy_of(parent: &str) -> TokenPolicy {
    TokenPolicy { name: format!("{parent}/tokenPolicy"), ..Default::default() }
}

async fn each_rule_is_obeyed(installation: Installation) {
    type Set = fn(&mut TokenPolicy);
    type Ask = fn(&mut CreateTokenRequest);
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let rules: [(&str, Set, &[Ask], &[Ask]); 6] = [
        (
            "require_expiry",
            |policy| policy.require_expiry = true,
            &[|_| (), |request| request.expiry = after(10_000 * HOUR)],
            &[|request| request.expiry = FOREVER],
        ),
        (
            "max_lifetime",
            |policy| policy.max_lifetime = span(HOUR),
            &[|request| request.expiry = after(HOUR), |request| request.expiry = after(MICROSECOND)],
            &[
                |request| request.expiry = after(HOUR + MICROSECOND),
                |request| request.expiry = FOREVER,
                |request| {
                    request.expiry = Some(Expiry::ExpireTime(prost_types::Timestamp { seconds: 253_402_300_799, nanos: 0 }));
                },
            ],
        ),
        (
            "allowed_scopes",
            |policy| policy.allowed_scopes = only(&["repository:write", "runner"]),
            &[
                |request| request.scopes = vec!["repository:write".to_owned(), "runner".to_owned()],
                // What an allowed scope implies.
                |request| request.scopes = vec!["repository".to_owned()],
            ],
            &[
                |request| request.scopes = vec!["repository:write".to_owned(), "webhook".to_owned()],
                // Implies one that is not allowed.
                |request| request.scopes = vec!["pullrequest:write".to_owned()],
                |request| request.scopes = vec!["runner:write".to_owned()],
            ],
        ),
        (
            "allowed_cidrs",
            |policy| policy.allowed_cidrs = only(&["10.0.0.0/9", "10.128.0.0/9", "2001:db8::/32"]),
            &[
                |request| request.allowed_cidrs = vec!["10.1.0.0/16".to_owned(), "2001:db8:1::/48".to_owned()],
                // The two halves of it.
                |request| request.allowed_cidrs = vec!["10.0.0.0/8".to_owned()],
            ],
            &[
                |request| request.allowed_cidrs = vec!["10.1.0.0/16".to_owned(), "192.0.2.0/24".to_owned()],
                |request| request.allowed_cidrs = vec!["8.0.0.0/6".to_owned()],
                |request| request.allowed_cidrs = vec!["::/0".to_owned()],
            ],
        ),
        (
            "allowed_scopes",
            |policy| policy.allowed_scopes = only(&["project:admin"]),
            &[|request| request.scopes = vec!["project:admin".to_owned()]],
            &[|request| request.scopes = vec!["project".to_owned()]],
        ),
        ("", |policy| policy.allowed_scopes = Some(Selection { all: true, only: Vec::new() }), &[|_| ()], &[]),
    ];
    for (rule, set, allowed, refused) in rules {
        let mut policy = policy_of(&acme);
        set(&mut policy);
        server.set_policy(policy.clone()).await;
        for (index, change) in allowed.iter().enumerate() {
            let mut request = token_in(&acme);
            change(&mut request);
            let made = server.token(request.clone()).await.public;
            assert_eq!(made.scopes.len(), request.scopes.len(), "nothing is narrowed");
            if !request.allowed_cidrs.is_empty() {
                assert_eq!(made.allowed_cidrs, request.allowed_cidrs, "{rule} {index}");
            }
        }
        for (index, change) in refused.iter().enumerate() {
            let mut request = token_in(&acme);
            change(&mut request);
            assert_eq!(broken(&server, request).await, [[rule, &policy.name]], "{rule} {index}");
        }
    }
    // A rule that is taken back binds nothing.
    server.set_policy(policy_of(&acme)).await;
    server.token(CreateTokenRequest { expiry: FOREVER, scopes: vec!["webhook".to_owned()], ..token_in(&acme) }).await;
}

fn breaking_all(parent: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        expiry: FOREVER,
        scopes: vec!["repository:admin".to_owned()],
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..token_in(parent)
    }
}

fn strict(parent: &str) -> TokenPolicy {
    TokenPolicy {
        require_expiry: true,
        max_lifetime: span(2 * HOUR),
        allowed_scopes: only(&["repository:write", "pipeline"]),
        allowed_cidrs: only(&["10.0.0.0/8"]),
        max_active_tokens: Some(1),
        ..policy_of(parent)
    }
}

async fn every_broken_rule_is_told_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = set(&server, strict(&acme)).await;
    // The cap is reached, too: it is told where nothing else is wrong.
    server.token(token_in(&acme)).await;
    let told = create(&server, breaking_all(&acme)).await.refused(Code::FailedPrecondition, ErrorReason::PolicyViolated);
    let told: Vec<_> =
        told.preconditions.iter().map(|broken| [&broken.kind, &broken.subject, &broken.description].map(String::as_str)).collect();
    let name = name.as_str();
    let expected = [
        ["require_expiry", name, "a token must have an end: choose ttl or expire_time"],
        [
            "max_lifetime",
            name,
            "a token may live for 7200s at most, not without an end: choose a ttl or an expire_time within that",
        ],
        [
            "allowed_scopes",
            name,
            "a token may not permit repository:admin: choose among pipeline, repository:write and what they imply",
        ],
        ["allowed_cidrs", name, "a token may not be used from 192.0.2.0/24: choose networks within 10.0.0.0/8"],
    ];
    assert_eq!(told, expected);
}

async fn the_strictest_of_organization_and_workspace_counts(installation: Installation) {
    let server = installation.start().await;
    let (initech, acme) = organization_and_workspace(&server).await;
    let elsewhere = server.workspace("elsewhere").await;
    let whole = set(
        &server,
        TokenPolicy {
            max_lifetime: span(2 * HOUR),
            allowed_scopes: only(&["repository:write", "runner"]),
            allowed_cidrs: only(&["10.0.0.0/8", "192.0.2.0/24"]),
            ..policy_of(&initech)
        },
    );
    let whole = whole.await;
    let own = set(
        &server,
        TokenPolicy {
            require_expiry: true,
            max_lifetime: span(3 * HOUR),
            allowed_scopes: only(&["repository:write", "webhook"]),
            allowed_cidrs: only(&["10.1.0.0/16", "192.0.2.128/25", "198.51.100.0/24"]),
            ..policy_of(&acme)
        },
    );
    let own = own.await;
    let both = format!("{whole}, {own}");
    let lasting = |span| CreateTokenRequest { expiry: after(span), ..token_in(&acme) };
    let permitting = |scope: &str| CreateTokenRequest { scopes: vec![scope.to_owned()], ..token_in(&acme) };
    let from = |network: &str| CreateTokenRequest { allowed_cidrs: vec![network.to_owned()], ..token_in(&acme) };
    let (lifetime, scopes, networks) = ("max_lifetime", "allowed_scopes", "allowed_cidrs");
    for (request, rule, policy) in [
        (lasting(2 * HOUR + MICROSECOND), lifetime, &whole),
        (lasting(3 * HOUR + MICROSECOND), lifetime, &both),
        (permitting("webhook"), scopes, &whole),
        (permitting("runner"), scopes, &own),
        (permitting("pipeline"), scopes, &both),
        (from("198.51.100.0/24"), networks, &whole),
        (from("10.0.0.0/8"), networks, &own),
        (from("203.0.113.0/24"), networks, &both),
    ] {
        assert_eq!(broken(&server, request).await, [[rule, policy]]);
    }
    let endless = CreateTokenRequest { expiry: FOREVER, ..token_in(&acme) };
    assert_eq!(broken(&server, endless.clone()).await, [["require_expiry", &own], [lifetime, &both]]);
    let made = server.token(lasting(2 * HOUR)).await.public;
    assert_eq!(made.allowed_cidrs, ["10.1.0.0/16", "192.0.2.128/25"], "from where both allow");
    // What binds one binds no other.
    server.token(CreateTokenRequest { parent: elsewhere, scopes: vec!["webhook".to_owned()], ..endless }).await;
}

async fn policies_with_nothing_in_common_let_nothing_be_made(installation: Installation) {
    let server = installation.start().await;
    let (initech, acme) = organization_and_workspace(&server).await;
    let policy = |parent, scope, network| TokenPolicy {
        allowed_scopes: only(&[scope]),
        allowed_cidrs: only(&[network]),
        ..policy_of(parent)
    };
    let whole = set(&server, policy(&initech, "webhook", "10.0.0.0/8")).await;
    let own = set(&server, policy(&acme, "repository:write", "192.0.2.0/24")).await;
    let both = format!("{whole}, {own}");
    assert_eq!(broken(&server, token_in(&acme)).await, [["allowed_scopes", &whole], ["allowed_cidrs", &both]]);
}

async fn the_shortest_default_is_taken_if_no_end_is_chosen(installation: Installation) {
    let server = installation.start().await;
    let (initech, acme) = organization_and_workspace(&server).await;
    let open = || CreateTokenRequest { expiry: None, ..token_in(&acme) };
    let lifetime = async || {
        let Token { create_time, expire_time, requested_expire_time, .. } = server.token(open()).await.public;
        assert_eq!(expire_time, requested_expire_time);
        micros(expire_time) - micros(create_time)
    };
    create(&server, open()).await.refused_field("expiry");
    // That an end is required does not choose one, and neither does the longest lifetime.
    let strict = TokenPolicy { require_expiry: true, max_lifetime: span(5 * HOUR), ..policy_of(&acme) };
    server.set_policy(strict.clone()).await;
    create(&server, open()).await.refused_field("expiry");
    let hours = |hours: i64| hours * 3_600 * 1_000_000;
    server.set_policy(TokenPolicy { default_lifetime: span(8 * HOUR), ..policy_of(&initech) }).await;
    assert_eq!(lifetime().await, hours(5), "held within the longest of both");
    server.set_policy(TokenPolicy { default_lifetime: span(4 * HOUR), ..strict.clone() }).await;
    assert_eq!(lifetime().await, hours(4));
    server.set_policy(TokenPolicy { default_lifetime: span(3 * HOUR), ..policy_of(&initech) }).await;
    assert_eq!(lifetime().await, hours(3));
    let chosen = server.token(CreateTokenRequest { expiry: after(5 * HOUR), ..token_in(&acme) }).await.public;
    assert_eq!(micros(chosen.expire_time) - micros(chosen.create_time), hours(5), "what is chosen stands");
}

fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("told");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

async fn a_token_without_networks_gets_the_policies(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.set_policy(TokenPolicy { allowed_cidrs: only(&["10.0.0.0/8", "2001:db8::/32"]), ..policy_of(&acme) }).await;
    let token = server.token(token_in(&acme)).await;
    assert_eq!(token.public.allowed_cidrs, ["10.0.0.0/8", "2001:db8::/32"]);
    assert_eq!(server.get_token(&token.public.name).await, token.public);
    let deny_reason = async |address: &str| {
        let question = VerifyRequest { client_address: address.to_owned(), ..question(&token.secret, &acme, &[]) };
        server.verdict(question).await.deny_reason()
    };
    assert_eq!(deny_reason("10.1.2.3").await, DenyReason::Unspecified);
    // They are the token's own: no later policy widens them.
    server.set_policy(policy_of(&acme)).await;
    for elsewhere in ["192.0.2.1", ""] {
        assert_eq!(deny_reason(elsewhere).await, DenyReason::AddressNotAllowed, "{elsewhere:?}");
    }
}

async fn a_rehearsal_tells_the_same(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(&server, TokenPolicy { default_lifetime: span(HOUR), ..strict(&acme) }).await;
    let rehearsed = |request| CreateTokenRequest { validate_only: true, ..request };
    let told = broken(&server, rehearsed(breaking_all(&acme))).await;
    assert_eq!(told, ["require_expiry", "max_lifetime", "allowed_scopes", "allowed_cidrs"].map(|rule| [rule, &policy]));
    let open = CreateTokenRequest { expiry: None, ..token_in(&acme) };
    let would_be = server.token(rehearsed(open.clone())).await.public;
    assert_eq!(would_be.allowed_cidrs, ["10.0.0.0/8"]);
    assert_eq!(micros(would_be.expire_time) - micros(would_be.create_time), 3_600 * 1_000_000);
    server.token(open.clone()).await;
    create(&server, rehearsed(open)).await.refused(Code::ResourceExhausted, ErrorReason::TooManyActiveTokens);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 1);
}

async fn a_replay_answers_as_before(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.set_policy(TokenPolicy { default_lifetime: span(HOUR), ..policy_of(&acme) }).await;
    let requests = [
        CreateTokenRequest { request_id: "once".to_owned(), ..breaking_all(&acme) },
        CreateTokenRequest { request_id: "with-the-default".to_owned(), expiry: None, ..token_in(&acme) },
    ];
    let mut made = Vec::new();
    for request in &requests {
        made.push(server.token(request.clone()).await);
    }
    server.set_policy(strict(&acme)).await;
    for (request, made) in requests.into_iter().zip(made) {
        let again = server.token(request.clone()).await;
        assert_eq!((again.public, again.secret.as_str()), (made.public, ""), "it was made, whatever the policy says now");
        create(&server, CreateTokenRequest { request_id: String::new(), ..request }).await.expect_err("another one is not made");
    }
}

async fn what_is_refused_leaves_nothing_but_its_record(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.set_policy(strict(&acme)).await;
    let mut records = Records::of_installation(&installation).await;
    let known = records.of("acme").await.len();
    let request = CreateTokenRequest { request_id: "again".to_owned(), ..breaking_all(&acme) };
    broken(&server, request.clone()).await;
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
    assert_eq!(records.of("acme").await.len(), known);
    let refused = records.of("-").await.pop().expect("refused calls are on record");
    assert!(refused.reason.contains("POLICY_VIOLATED"), "{refused:?}");
    // The id is not used up.
    server.set_policy(policy_of(&acme)).await;
    assert!(!server.token(request).await.secret.is_empty());
}
