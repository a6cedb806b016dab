//! `TokenAdmin.IdentifyToken`, and strings that resemble tokens.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{ErrorReason, IdentifyTokenRequest, IdentifyTokenResponse};
use tokend_core::credential::Kind;
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, refused, too_large},
    run::{World, run, same},
    values::{Values, foreign_secret},
};

on_both_databases!(secrets, every_unknown_secret_gets_the_same_answer);

const IDENTIFY: &str = "TokenAdmin/IdentifyToken";

async fn secrets(installation: Installation) {
    run(installation, cases, read_back).await;
}

/// Returns the token truncated to every length, at either end.
pub(crate) fn truncated(secret: &str) -> impl Iterator<Item = (String, String)> {
    let cut_short =
        (1..secret.len()).map(|length| (format!("its first {length} characters"), secret[..length].to_owned()));
    let without_start = (1..secret.len()).map(|start| {
        (
            format!("without its first {start} characters"),
            secret[start..].to_owned(),
        )
    });
    cut_short.chain(without_start)
}

/// Returns the token with another character at every position, and with an additional character.
pub(crate) fn altered(secret: &str) -> impl Iterator<Item = (String, String)> {
    let with = |position: usize, char: &str| [&secret[..position], char, &secret[position + 1..]].concat();
    let changed = (0..secret.len()).flat_map(move |position| {
        let other = if &secret[position..=position] == "7" { "8" } else { "7" };
        let swapped_case = secret[position..=position].chars().map(swap_case).collect::<String>();
        let swapped_case = if swapped_case == secret[position..=position] {
            "\u{ff10}".to_owned()
        } else {
            swapped_case
        };
        [
            (format!("another character {position}"), with(position, other)),
            (
                format!("character {position} in other letters"),
                with(position, &swapped_case),
            ),
        ]
    });
    let longer = (0..=secret.len()).map(|position| {
        (
            format!("one more before {position}"),
            format!("{}0{}", &secret[..position], &secret[position..]),
        )
    });
    changed.chain(longer)
}

fn swap_case(char: char) -> char {
    if char.is_ascii_lowercase() {
        char.to_ascii_uppercase()
    } else {
        char.to_ascii_lowercase()
    }
}

/// Returns secrets of other services, and tokens with text around them.
pub(crate) fn foreign(secret: &str) -> impl Iterator<Item = (String, String)> {
    let rest = &secret["tkd".len()..];
    [
        ("of another installation", foreign_secret("tkd", Kind::WorkspaceToken)),
        (
            "of another installation with another prefix",
            foreign_secret("acme", Kind::WorkspaceToken),
        ),
        (
            "of another installation with the longest prefix",
            foreign_secret("abcdefghijkl", Kind::WorkspaceToken),
        ),
        (
            "a caller key of another installation",
            foreign_secret("tkd", Kind::CallerKey),
        ),
        ("ours under another prefix", format!("tke{rest}")),
        ("ours under a longer prefix", format!("tkdx{rest}")),
        ("ours in upper case", secret.to_uppercase()),
        ("with a scheme", format!("Bearer {secret}")),
        ("quoted", format!("\"{secret}\"")),
        ("twice", secret.repeat(2)),
        ("a thousand times", secret.repeat(200)),
        ("with a NUL behind it", format!("{secret}\0")),
        ("with a dot behind it", format!("{secret}.")),
        ("GitHub's", "ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned()),
        ("a JWT", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.".to_owned()),
        ("all zeros", format!("tkdw_{}_{}", "0".repeat(18), "0".repeat(50))),
        (
            "limbs past their range",
            format!("tkdw_0{}_{}", "z".repeat(17), "z".repeat(50)),
        ),
    ]
    .map(|(what, text)| (what.to_owned(), text))
    .into_iter()
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let secret = &values.token.secret;
    let unknown = || refused(Code::NotFound, ErrorReason::TokenNotFound);
    let mut rows = Rows::of(IDENTIFY, IdentifyTokenRequest { secret: secret.clone() });
    let mut field = rows.field("secret", |request, value: String| request.secret = value);
    field.row(Aspect::Empty, "empty", String::new(), unknown());
    field.row(Aspect::Empty, "blank", " \t\r\n".to_owned(), unknown());
    field.row(Aspect::Smallest, "one character", "t".to_owned(), unknown());
    field.row(
        Aspect::Largest,
        "as long as a message may be",
        "x".repeat(64 * 1024 - 4),
        unknown(),
    );
    field.row(
        Aspect::TooLarge,
        "longer than a message may be",
        "x".repeat(64 * 1024),
        too_large(),
    );
    for (what, text) in truncated(secret).chain(altered(secret)).chain(foreign(secret)) {
        field.row(Aspect::IllFormed, what, text, unknown());
    }
    field.row(
        Aspect::IllFormed,
        "white space inside",
        format!("{} {}", &secret[..40], &secret[40..]),
        unknown(),
    );
    field.row(
        Aspect::IllFormed,
        "a line break inside",
        format!("{}\n{}", &secret[..40], &secret[40..]),
        unknown(),
    );
    for around in [
        "{}",
        " {}",
        "{} ",
        "\t{}\r\n",
        "\n\n{}\n\n",
        "\u{a0}{}\u{3000}",
        "\u{2028}{}\u{85}",
    ] {
        field.good(Aspect::Secret, format!("in {around:?}"), around.replace("{}", secret));
    }
    field.good(
        Aspect::Largest,
        "much white space around",
        format!("{}{secret}{}", " ".repeat(30_000), "\n".repeat(30_000)),
    );
    let key = Expect::Refused {
        code: Code::InvalidArgument,
        reason: ErrorReason::SecretIsACallerKey,
        fields: vec!["secret".to_owned()],
    };
    for (what, text) in [
        ("a caller key", values.admin_key.clone()),
        ("a caller key on a line", format!("  {}\r\n", values.admin_key)),
        ("another caller's key", values.caller_key.secret.clone()),
    ] {
        field.row(Aspect::Secret, what, text, key.clone());
    }
    field.row(
        Aspect::Secret,
        "a caller key cut short",
        values.admin_key[..73].to_owned(),
        unknown(),
    );
    field.hostile(&["{}", &format!("{secret}{{}}")], |value, _| {
        if value.trim() == secret {
            Expect::Accepted
        } else {
            unknown()
        }
    });
    field.twice("garbage", secret, Expect::Accepted);
    field.twice(secret, "garbage", unknown());
    rows.finish()
}

async fn read_back(world: &World, _: &Case, answer: Bytes) -> Result<(), String> {
    let returned = IdentifyTokenResponse::decode(answer)
        .expect("the response decodes")
        .token
        .ok_or("the response has no token")?;
    same(
        "the token",
        returned,
        world.server.get_token(&world.values.token.name).await,
    )
}

async fn every_unknown_secret_gets_the_same_answer(installation: Installation) {
    let world = World::of(&installation).await;
    let secret = &world.values.token.secret;
    let identify = async |secret: String| {
        let request = IdentifyTokenRequest { secret }.encode_to_vec();
        let status = world
            .send(IDENTIFY, request.into())
            .await
            .expect_err("the secret is unknown");
        (status.code(), status.message().to_owned(), status.details().to_vec())
    };
    let of_nothing = identify(String::new()).await;
    for (what, text) in truncated(secret)
        .step_by(9)
        .chain(altered(secret).step_by(9))
        .chain(foreign(secret))
    {
        assert_eq!(identify(text).await, of_nothing, "{what}");
    }
}
