//! `TokenAdmin.RevokeLeakedTokens` accepts any string as a secret. The other fields of a report must be valid.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    RevokeLeakedTokensRequest, RevokeLeakedTokensResponse,
    revoke_leaked_tokens_request::Leak,
    revoke_leaked_tokens_response::{Kind, Label},
    token,
};
use tokend_tests::{Installation, on_both_databases};

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, too_large},
    presented::{foreign, truncated},
    refusal::may_hold,
    run::{World, run, same},
    values::{Values, foreign_secrets},
};

on_both_databases!(reports);

const REPORT: &str = "TokenAdmin/RevokeLeakedTokens";

/// Length of the longest secret that fits into a message with the other fields of a report.
const LONGEST: usize = 1024 * 1024 - 64;

async fn reports(installation: Installation) {
    run(installation, cases, read_back).await;
}

fn junk() -> Leak {
    Leak {
        secret: "junk".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let secret = &values.token.secret;
    let ours = Leak {
        secret: secret.clone(),
        url: "https://example.com/gist".to_owned(),
        source: "gist".to_owned(),
    };
    let mut rows = Rows::of(
        REPORT,
        RevokeLeakedTokensRequest {
            leaks: vec![junk(), ours.clone()],
            no_wait: false,
        },
    );

    let mut leaks = rows.field("leaks", |request, value: Vec<Leak>| request.leaks = value);
    leaks.bad(Aspect::Empty, "none", Vec::<Leak>::new());
    leaks.good(Aspect::Empty, "an empty one", vec![Leak::default()]);
    leaks.good(Aspect::Smallest, "one", vec![ours.clone()]);
    leaks.good(
        Aspect::Largest,
        "1,000",
        [vec![junk(); 999], vec![ours.clone()]].concat(),
    );
    leaks.bad(Aspect::TooLarge, "1,001", vec![junk(); 1_001]);
    leaks.bad(
        Aspect::TooLarge,
        "1,001 that do not fit either",
        vec![
            Leak {
                url: "\n".to_owned(),
                ..junk()
            };
            1_001
        ],
    );
    leaks.good(Aspect::Duplicate, "the same twice", vec![ours.clone(), ours.clone()]);
    let bad = Leak {
        url: "\u{1b}".to_owned(),
        source: "\u{1b}".to_owned(),
        ..ours.clone()
    };
    let named = fields(&["leaks[0].url", "leaks[0].source", "leaks[2].url", "leaks[2].source"]);
    leaks.row(
        Aspect::IllFormed,
        "two that do not fit",
        vec![bad.clone(), ours, bad],
        named,
    );

    let mut no_wait = rows.field("no_wait", |request, value| request.no_wait = value);
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);

    let mut string = rows.field("leaks.secret", |request, value: String| request.leaks[1].secret = value);
    string.good(Aspect::Empty, "empty", "");
    string.good(Aspect::Smallest, "one character", "t");
    string.good(Aspect::Largest, "as long as a message may be", "x".repeat(LONGEST));
    string.row(
        Aspect::TooLarge,
        "longer than a message may be",
        "x".repeat(1024 * 1024),
        too_large(),
    );
    for (what, text) in truncated(secret).step_by(7).chain(foreign(secret)) {
        string.good(Aspect::IllFormed, what, text);
    }
    let foreign_secrets = foreign_secrets("tkd", 1_001);
    string.good(Aspect::Largest, "1,000 credentials", foreign_secrets[..1_000].join(" "));
    string.good(
        Aspect::Duplicate,
        "one credential 5,000 times",
        foreign_secrets[0].repeat(5_000),
    );
    let too_many = fields(&["leaks[1].secret"]);
    string.row(
        Aspect::TooLarge,
        "1,001 credentials",
        foreign_secrets.join(","),
        too_many,
    );
    for around in [
        "https://x:{}@example.com/?a=b",
        "{\"token\":\"{}\"}",
        "TOKEN={}; rm -rf",
        "\u{feff}'{}'\0",
        "a{}b",
        "{}\n{}",
    ] {
        string.good(
            Aspect::Secret,
            format!("a token in {around}"),
            around.replace("{}", secret),
        );
    }
    string.good(Aspect::Secret, "a caller key", values.admin_key.as_str());
    string.hostile(&["{}", &format!("{secret}{{}}")], |value, _| {
        if value.len() > LONGEST {
            too_large()
        } else {
            Expect::Accepted
        }
    });
    // In a repeated field, each value is a separate report.
    string.twice("garbage", secret, Expect::Accepted);

    report_text(&mut rows, "leaks.url", "leaks[1].url", 2_048, |leak, value| {
        leak.url = value
    });
    report_text(&mut rows, "leaks.source", "leaks[1].source", 100, |leak, value| {
        leak.source = value
    });
    rows.finish()
}

/// Rows of a text that describes a secret.
fn report_text(
    rows: &mut Rows<'_, RevokeLeakedTokensRequest>,
    path: &'static str,
    named: &str,
    most: usize,
    set: impl Fn(&mut Leak, String),
) {
    let mut text = rows
        .field(path, |request, value: String| set(&mut request.leaks[1], value))
        .named(named);
    text.good(Aspect::Empty, "none", "");
    text.good(Aspect::Smallest, "one character", "x");
    text.good(Aspect::Largest, "the longest", "x".repeat(most));
    text.good(Aspect::Largest, "the longest of four bytes each", "🚀".repeat(most));
    text.bad(Aspect::TooLarge, "one character more", "x".repeat(most + 1));
    text.bad(Aspect::TooLarge, "50,000 characters", "x".repeat(50_000));
    text.bad(
        Aspect::IllFormed,
        "a control character behind others",
        format!("{}\u{1b}", "x".repeat(most - 1)),
    );
    text.good(
        Aspect::Secret,
        "a token",
        "tkdw_000000000000000000_00000000000000000000000000000000000000000000000000",
    );
    text.twice("x", "y", Expect::Accepted);
    text.hostile(&["{}"], |value, hostile| {
        if may_hold(hostile.class, false) && value.chars().count() <= most {
            Expect::Accepted
        } else {
            fields(&[named])
        }
    });
}

/// Checks that each result is as for `IdentifyToken`: a token or a caller key of this server, or a false positive.
async fn read_back(world: &World, Case { request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let RevokeLeakedTokensResponse { results, revision } =
        RevokeLeakedTokensResponse::decode(answer).expect("the response decodes");
    let asked = RevokeLeakedTokensRequest::decode(request.clone()).expect("the request decodes");
    same("whether there is a revision", revision.is_some(), true)?;
    same("the number of results", results.len(), asked.leaks.len())?;
    let values = &world.values;
    for (result, leak) in results.into_iter().zip(asked.leaks) {
        let outcome = (result.label(), result.kind(), result.token.as_str());
        match &leak.secret {
            text if text.contains(&values.token.secret) => {
                same(
                    "the token",
                    outcome,
                    (Label::TruePositive, Kind::WorkspaceToken, values.token.name.as_str()),
                )?;
                same(
                    "the token's state",
                    world.server.get_token(&values.token.name).await.state(),
                    token::State::Revoked,
                )?;
            }
            text if text.contains(&values.admin_key) => {
                same("the key", outcome, (Label::TruePositive, Kind::CallerKey, ""))?
            }
            _ => same(
                "a foreign secret",
                outcome,
                (Label::FalsePositive, Kind::Unspecified, ""),
            )?,
        }
    }
    Ok(())
}
