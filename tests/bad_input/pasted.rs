//! A secret that is pasted into any text field of any request is stored nowhere: not in the database, including the
//! audit log and the webhook's outbox, not in the log at its most verbose level, and not in the response.
//!
//! The fields come from the contract's descriptors, so a new field is tested as soon as it exists.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use tokend_client::{
    CallError,
    v1::{
        BatchRevokeTokensRequest, CreateTokenRequest, ErrorReason, RevokeLeakedTokensRequest, RevokeTokenRequest,
        RotateTokenRequest, revoke_leaked_tokens_request::Leak, token::State,
    },
};
use tokend_tests::{Installation, Issued, after, eventually, on_both_databases, token_in};
use tonic::{Code, Status};

use crate::{
    descriptors::{Field, Kind, rpcs},
    good_request::good_request,
    refusal::Secrets,
    run::World,
    values::Values,
};

on_both_databases!(a_secret_in_any_text_field_is_not_stored);

/// Fields that are meant for a secret.
const OF_SECRETS: [&str; 4] = ["token", "requests.token", "leaks.secret", "secret"];
/// Texts that are truncated instead of refused, because their call is urgent.
const CUT: [(&str, &str); 4] = [
    ("TokenAdmin/RevokeToken", "reason"),
    ("TokenAdmin/BatchRevokeTokens", "reason"),
    ("TokenAdmin/RevokeLeakedTokens", "leaks.url"),
    ("TokenAdmin/RevokeLeakedTokens", "leaks.source"),
];
/// A text that is stored and logged. The search must find it.
const CONTROL: &str = "a-name-that-is-seen";
const INVISIBLE: char = '\u{200b}';

/// Returns texts with the secret in them.
pub(crate) fn pasted(secret: &str) -> [String; 5] {
    let (head, tail) = secret.split_at(40);
    [
        secret.to_owned(),
        format!("see {secret}, please"),
        format!("{head}{INVISIBLE}{tail}"),
        format!("TOKEN={secret}&page=2"),
        // As long as the shortest text field allows.
        secret[..36].to_owned(),
    ]
}

/// Returns a text of [`pasted`] as it is stored after truncation: without the secret part.
pub(crate) fn cut(text: &str, secret: &str) -> String {
    let public = &secret[..24];
    match text.split_once(public) {
        None => text.to_owned(),
        Some((before, after)) => {
            let is_secret = |char: char| char.is_ascii_alphanumeric() || char == INVISIBLE;
            format!("{before}{public}...{}", after.trim_start_matches(is_secret))
        }
    }
}

/// Resources for requests that revoke or delete something.
struct Victim {
    name: String,
    secret: String,
}

async fn a_secret_in_any_text_field_is_not_stored(installation: Installation) {
    let secret_file = installation.directory().join("webhook-secret");
    fs::write(&secret_file, "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLW9uZQ==").expect("the file is written");
    fs::set_permissions(&secret_file, Permissions::from_mode(0o600)).expect("the mode is set");
    let secret_file = secret_file.to_str().expect("the value is text");
    // No receiver listens there, so messages stay in the outbox.
    let webhook = [
        "--webhook-url",
        "https://127.0.0.1:1/",
        "--webhook-secret-file",
        secret_file,
    ];
    let world = World::on(
        installation
            .start_with([&["--log", "trace"][..], &webhook].concat())
            .await,
    )
    .await;
    let (mut secrets, mut tried) = (Vec::new(), 0);
    for rpc in rpcs() {
        for field in rpc.fields.iter().filter(|field| field.kind == Kind::Text) {
            for variant in 0..pasted(&world.values.token.secret).len() {
                let [victim, living] = [victim(&world).await, victim(&world).await];
                let text = field_text(field, &pasted(&living.secret)[variant]);
                let request = field.paste(&request_about(&world.values, rpc.name, field, &victim, tried), &text);
                let answer = world.send(rpc.name, request.into()).await;
                check(&answer, rpc.name, field, &living.secret);
                if CUT.contains(&(rpc.name, &field.path)) {
                    let token = world.server.get_token(&victim.name).await;
                    assert_eq!(token.state(), State::Revoked, "{} {}", rpc.name, field.path);
                    assert!(
                        token.revoke_reason.contains("_..."),
                        "the rest of the text is kept: {}",
                        token.revoke_reason
                    );
                }
                secrets.push(living.secret);
                tried += 1;
            }
        }
        let living = victim(&world).await.secret;
        for text in pasted(&living).into_iter().filter(|text| text.is_ascii()) {
            let request = Bytes::from(good_request(&world.values, rpc.name));
            if !rpc.name.starts_with("TokenVerify") {
                let refused = world
                    .send_with("x-tokend-actor", &text, rpc.name, request.clone())
                    .await
                    .expect_err("the request is refused");
                assert_eq!(refused.code(), Code::InvalidArgument, "{}: {refused:?}", rpc.name);
                assert_no_secret(
                    &format!("the answer to an actor of {}", rpc.name),
                    &error_or_response(&Err(refused)),
                    &living,
                );
            }
            // The framework refuses this, with its own message.
            let refused = world.send_with("grpc-encoding", &text, rpc.name, request).await;
            assert_no_secret(
                &format!("the answer to an encoding of {}", rpc.name),
                &error_or_response(&refused),
                &living,
            );
        }
        secrets.push(living);
    }
    assert!(tried > 200, "too few text fields: {tried}");

    let expiry = after(Duration::from_secs(60 * 60));
    let request = CreateTokenRequest {
        expiry,
        display_name: CONTROL.to_owned(),
        ..token_in(&world.values.acme)
    };
    world.server.token(request).await;
    installation.clock().set_ahead(Duration::from_secs(2 * 60 * 60));
    let messages = "SELECT payload FROM webhook_outbox";
    let is_there = async || {
        installation
            .texts(messages)
            .await
            .iter()
            .any(|body| body.contains(CONTROL))
            .then_some(())
    };
    eventually("the expiry of a token waits for the webhook", is_there).await;
    search(&installation, world, &Secrets::of(secrets.iter().map(String::as_str))).await;
}

async fn search(installation: &Installation, world: World, secrets: &Secrets) {
    let assert_not_in = |place: &str, content: &[u8]| {
        let text = String::from_utf8_lossy(content).replace(INVISIBLE, "");
        secrets
            .are_not_in(&text)
            .unwrap_or_else(|problem| panic!("{place} {problem}"));
        text
    };
    let address = world.server.grpc_address().to_owned();
    let finished = world.server.stop().await;
    let log = assert_not_in("the log", (finished.stdout + &finished.stderr).as_bytes());
    assert!(log.contains(&address), "the search finds the address in the log");
    let database = match installation.postgres() {
        Some(database) => assert_not_in("the database", database.dump().await.as_bytes()),
        None => files(installation.directory(), &assert_not_in),
    };
    assert!(
        database.contains(CONTROL) && database.contains("token.revoked"),
        "the search does see the database"
    );
}

fn files(directory: &Path, assert_not_in: &impl Fn(&str, &[u8]) -> String) -> String {
    let paths = fs::read_dir(directory)
        .expect("the directory is readable")
        .flatten()
        .map(|entry| entry.path());
    paths
        .map(|path| match path.is_dir() {
            true => files(&path, assert_not_in),
            false => assert_not_in(
                &path.display().to_string(),
                &fs::read(&path).expect("the file is readable"),
            ),
        })
        .collect()
}

/// Asserts that the response has no part of the secret, and that the call is refused unless the field is truncated or
/// meant for a secret.
fn check(answer: &Result<Bytes, Status>, rpc: &str, field: &Field, secret: &str) {
    let place = format!("the answer to {rpc} with a secret in {}", field.path);
    assert_no_secret(&place, &error_or_response(answer), secret);
    let is_cut = CUT.contains(&(rpc, &field.path));
    match answer {
        Ok(_) => assert!(is_cut || OF_SECRETS.contains(&&*field.path), "{place} is not a refusal"),
        Err(status) => {
            assert!(!is_cut, "{place}: {status:?}");
            let reason = CallError::from(status.clone()).reason;
            let known = [
                ErrorReason::InvalidField,
                ErrorReason::EtagMismatch,
                ErrorReason::TokenNotFound,
            ];
            let known = known.map(|reason| reason.as_str_name().trim_start_matches("ERROR_REASON_").to_owned());
            assert!(known.contains(&reason), "{place}: {status:?}");
        }
    }
}

/// Returns the whole text of an error or a response.
fn error_or_response(answer: &Result<Bytes, Status>) -> String {
    match answer {
        Ok(message) => String::from_utf8_lossy(message).into_owned(),
        Err(status) => format!(
            "{} {} {:?}",
            status.message(),
            String::from_utf8_lossy(status.details()),
            status.metadata()
        ),
    }
}

fn assert_no_secret(place: &str, text: &str, secret: &str) {
    Secrets::of([secret])
        .are_not_in(&text.replace(INVISIBLE, ""))
        .unwrap_or_else(|problem| panic!("{place} {problem}: {text}"));
}

/// Returns the text for a field; in a filter, the text is part of an expression.
fn field_text(field: &Field, text: &str) -> String {
    if field.path == "filter" {
        format!("labels.team = \"{text}\"")
    } else {
        text.to_owned()
    }
}

async fn victim(world: &World) -> Victim {
    let Issued { public, secret } = world.server.token(token_in(&world.values.acme)).await;
    Victim {
        name: public.name,
        secret,
    }
}

/// Returns a request that is accepted without the secret, and that stores something new where possible.
fn request_about(values: &Values, rpc: &str, field: &Field, victim: &Victim, number: usize) -> Vec<u8> {
    let (parent, name, id) = (values.acme.clone(), victim.name.clone(), format!("fresh-{number}"));
    match rpc {
        "TokenAdmin/RotateToken" => RotateTokenRequest {
            name,
            ..Default::default()
        }
        .encode_to_vec(),
        "TokenAdmin/RevokeToken" => RevokeTokenRequest {
            name,
            ..Default::default()
        }
        .encode_to_vec(),
        "TokenAdmin/BatchRevokeTokens" => {
            let names = if field.path == "filter" { Vec::new() } else { vec![name] };
            BatchRevokeTokensRequest {
                parent,
                names,
                ..Default::default()
            }
            .encode_to_vec()
        }
        "TokenAdmin/RevokeLeakedTokens" => {
            let leak = Leak {
                secret: victim.secret.clone(),
                ..Default::default()
            };
            RevokeLeakedTokensRequest {
                leaks: vec![leak],
                no_wait: false,
            }
            .encode_to_vec()
        }
        "WorkspaceAdmin/CreateWorkspace" => Values::new_workspace(&id).encode_to_vec(),
        "WorkspaceAdmin/CreateOrganization" => Values::new_organization(&id).encode_to_vec(),
        "CallerAdmin/CreateCaller" => Values::new_caller(&id).encode_to_vec(),
        _ => good_request(values, rpc),
    }
}
