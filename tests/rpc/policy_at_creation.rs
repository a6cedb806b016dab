//! `TokenAdmin.CreateToken` under policies: a request that breaks rules is refused with all of them, and a policy fills
//! in what the request left open.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateTokenResponse, DenyReason, ErrorReason, Selection, TokenPolicy, VerifyRequest,
    create_token_request::Expiry,
};
use tokend_tests::{Installation, Records, Refused, Server, after, on_both_databases, question, token_in};
use tonic::{Code, Response, Status};

on_both_databases!(
    each_rule_is_enforced,
    every_broken_rule_is_reported_at_once,
    a_token_without_networks_gets_those_of_the_policy,
    a_dry_run_reports_the_same,
    a_retry_is_answered_as_before,
    a_refused_request_leaves_only_its_audit_record,
);

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) const MICROSECOND: Duration = Duration::from_micros(1);

pub(crate) fn only(values: &[&str]) -> Option<Selection> {
    Some(Selection {
        all: false,
        only: values.iter().map(ToString::to_string).collect(),
    })
}

pub(crate) fn span(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().expect("a span"))
}

pub(crate) const FOREVER: Option<Expiry> = Some(Expiry::NoExpiry(true));

pub(crate) async fn create(
    server: &Server,
    request: CreateTokenRequest,
) -> Result<Response<CreateTokenResponse>, Status> {
    server.admin().token_admin().create_token(request).await
}

/// Sets a policy and returns its name.
pub(crate) async fn set(server: &Server, policy: TokenPolicy) -> String {
    server.set_policy(policy).await.policy.expect("a policy").name
}

/// Returns the rules that a request breaks, each with the policy it belongs to.
pub(crate) async fn broken(server: &Server, request: CreateTokenRequest) -> Vec<[String; 2]> {
    let error = create(server, request)
        .await
        .refused(Code::FailedPrecondition, ErrorReason::PolicyViolated);
    assert!(error.fields.is_empty(), "{error:?}");
    assert!(error.message.contains(&error.preconditions[0].description), "{error:?}");
    error
        .preconditions
        .into_iter()
        .map(|broken| [broken.kind, broken.subject])
        .collect()
}

pub(crate) fn policy_of(parent: &str) -> TokenPolicy {
    TokenPolicy {
        name: format!("{parent}/tokenPolicy"),
        ..Default::default()
    }
}

async fn each_rule_is_enforced(installation: Installation) {
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
            &[
                |request| request.expiry = after(HOUR),
                |request| request.expiry = after(MICROSECOND),
            ],
            &[
                |request| request.expiry = after(HOUR + MICROSECOND),
                |request| request.expiry = FOREVER,
                |request| {
                    request.expiry = Some(Expiry::ExpireTime(prost_types::Timestamp {
                        seconds: 253_402_300_799,
                        nanos: 0,
                    }));
                },
            ],
        ),
        (
            "allowed_scopes",
            |policy| policy.allowed_scopes = only(&["repository:write", "runner"]),
            &[
                |request| request.scopes = vec!["repository:write".to_owned(), "runner".to_owned()],
                // An allowed scope implies this one.
                |request| request.scopes = vec!["repository".to_owned()],
            ],
            &[
                |request| request.scopes = vec!["repository:write".to_owned(), "webhook".to_owned()],
                // This scope implies one that is not allowed.
                |request| request.scopes = vec!["pullrequest:write".to_owned()],
                |request| request.scopes = vec!["runner:write".to_owned()],
            ],
        ),
        (
            "allowed_cidrs",
            |policy| policy.allowed_cidrs = only(&["10.0.0.0/9", "10.128.0.0/9", "2001:db8::/32"]),
            &[
                |request| request.allowed_cidrs = vec!["10.1.0.0/16".to_owned(), "2001:db8:1::/48".to_owned()],
                // The policy allows both halves of this network.
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
        (
            "",
            |policy| {
                policy.allowed_scopes = Some(Selection {
                    all: true,
                    only: Vec::new(),
                })
            },
            &[|_| ()],
            &[],
        ),
    ];
    for (rule, set, allowed, refused) in rules {
        let mut policy = policy_of(&acme);
        set(&mut policy);
        server.set_policy(policy.clone()).await;
        for (index, change) in allowed.iter().enumerate() {
            let mut request = token_in(&acme);
            change(&mut request);
            let created = server.token(request.clone()).await.public;
            assert_eq!(
                created.scopes.len(),
                request.scopes.len(),
                "the scopes are not narrowed"
            );
            if !request.allowed_cidrs.is_empty() {
                assert_eq!(created.allowed_cidrs, request.allowed_cidrs, "{rule} {index}");
            }
        }
        for (index, change) in refused.iter().enumerate() {
            let mut request = token_in(&acme);
            change(&mut request);
            assert_eq!(broken(&server, request).await, [[rule, &policy.name]], "{rule} {index}");
        }
    }
    // A removed rule no longer applies.
    server.set_policy(policy_of(&acme)).await;
    server
        .token(CreateTokenRequest {
            expiry: FOREVER,
            scopes: vec!["webhook".to_owned()],
            ..token_in(&acme)
        })
        .await;
}

fn breaking_all(parent: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        expiry: FOREVER,
        scopes: vec!["repository:admin".to_owned()],
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..token_in(parent)
    }
}

pub(crate) fn strict(parent: &str) -> TokenPolicy {
    TokenPolicy {
        require_expiry: true,
        max_lifetime: span(2 * HOUR),
        allowed_scopes: only(&["repository:write", "pipeline"]),
        allowed_cidrs: only(&["10.0.0.0/8"]),
        max_active_tokens: Some(1),
        ..policy_of(parent)
    }
}

async fn every_broken_rule_is_reported_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = set(&server, strict(&acme)).await;
    // The cap is reached, too, but it is reported only if no rule is broken.
    server.token(token_in(&acme)).await;
    let error = create(&server, breaking_all(&acme))
        .await
        .refused(Code::FailedPrecondition, ErrorReason::PolicyViolated);
    let reported: Vec<_> = error
        .preconditions
        .iter()
        .map(|broken| [&broken.kind, &broken.subject, &broken.description].map(String::as_str))
        .collect();
    let name = name.as_str();
    let expected = [
        ["require_expiry", name, "a token must expire: set ttl or expire_time"],
        [
            "max_lifetime",
            name,
            "a token's lifetime must be at most 7200s, not unlimited: set ttl or expire_time within that",
        ],
        [
            "allowed_scopes",
            name,
            "a token may not have the scopes repository:admin: choose among pipeline, repository:write and the scopes \
             that they imply",
        ],
        [
            "allowed_cidrs",
            name,
            "a token may not be used from 192.0.2.0/24: set allowed_cidrs within 10.0.0.0/8",
        ],
    ];
    assert_eq!(reported, expected);
}

pub(crate) fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("a time");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

async fn a_token_without_networks_gets_those_of_the_policy(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server
        .set_policy(TokenPolicy {
            allowed_cidrs: only(&["10.0.0.0/8", "2001:db8::/32"]),
            ..policy_of(&acme)
        })
        .await;
    let token = server.token(token_in(&acme)).await;
    assert_eq!(token.public.allowed_cidrs, ["10.0.0.0/8", "2001:db8::/32"]);
    assert_eq!(server.get_token(&token.public.name).await, token.public);
    let deny_reason = async |address: &str| {
        let question = VerifyRequest {
            client_address: address.to_owned(),
            ..question(&token.secret, &acme, &[])
        };
        server.verdict(question).await.deny_reason()
    };
    assert_eq!(deny_reason("10.1.2.3").await, DenyReason::Unspecified);
    // The networks are stored with the token: a later policy does not widen them.
    server.set_policy(policy_of(&acme)).await;
    for elsewhere in ["192.0.2.1", ""] {
        assert_eq!(
            deny_reason(elsewhere).await,
            DenyReason::AddressNotAllowed,
            "{elsewhere:?}"
        );
    }
}

async fn a_dry_run_reports_the_same(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let policy = set(
        &server,
        TokenPolicy {
            default_lifetime: span(HOUR),
            ..strict(&acme)
        },
    )
    .await;
    let dry_run = |request| CreateTokenRequest {
        validate_only: true,
        ..request
    };
    let reported = broken(&server, dry_run(breaking_all(&acme))).await;
    assert_eq!(
        reported,
        ["require_expiry", "max_lifetime", "allowed_scopes", "allowed_cidrs"].map(|rule| [rule, &policy])
    );
    let open = CreateTokenRequest {
        expiry: None,
        ..token_in(&acme)
    };
    let would_be = server.token(dry_run(open.clone())).await.public;
    assert_eq!(would_be.allowed_cidrs, ["10.0.0.0/8"]);
    assert_eq!(
        micros(would_be.expire_time) - micros(would_be.create_time),
        3_600 * 1_000_000
    );
    server.token(open.clone()).await;
    create(&server, dry_run(open))
        .await
        .refused(Code::ResourceExhausted, ErrorReason::TooManyActiveTokens);
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 1);
}

async fn a_retry_is_answered_as_before(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server
        .set_policy(TokenPolicy {
            default_lifetime: span(HOUR),
            ..policy_of(&acme)
        })
        .await;
    let requests = [
        CreateTokenRequest {
            request_id: "once".to_owned(),
            ..breaking_all(&acme)
        },
        CreateTokenRequest {
            request_id: "with-the-default".to_owned(),
            expiry: None,
            ..token_in(&acme)
        },
    ];
    let mut created = Vec::new();
    for request in &requests {
        created.push(server.token(request.clone()).await);
    }
    server.set_policy(strict(&acme)).await;
    for (request, first) in requests.into_iter().zip(created) {
        let again = server.token(request.clone()).await;
        assert_eq!(
            (again.public, again.secret.as_str()),
            (first.public, ""),
            "the current policy does not matter"
        );
        create(
            &server,
            CreateTokenRequest {
                request_id: String::new(),
                ..request
            },
        )
        .await
        .expect_err("a second token is refused");
    }
}

async fn a_refused_request_leaves_only_its_audit_record(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.set_policy(strict(&acme)).await;
    let mut records = Records::of_installation(&installation).await;
    let before = records.of("acme").await.len();
    let request = CreateTokenRequest {
        request_id: "again".to_owned(),
        ..breaking_all(&acme)
    };
    broken(&server, request.clone()).await;
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
    assert_eq!(records.of("acme").await.len(), before);
    let refused = records.of("-").await.pop().expect("the refused call is recorded");
    assert!(refused.reason.contains("POLICY_VIOLATED"), "{refused:?}");
    // The request id can be used again.
    server.set_policy(policy_of(&acme)).await;
    assert!(!server.token(request).await.secret.is_empty());
}
