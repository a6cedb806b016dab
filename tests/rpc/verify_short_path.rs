//! Verify answers alike, whether a call passes the layers or memory answers it before them.

use prost::Message;
use tokend_client::v1::{CreateTokenRequest, Decision, VerifyRequest, VerifyResponse};
use tokend_tests::{Installation, http, on_both_databases, question, raw, token_in};
use tonic::{Response, transport::Channel};

use bytes::Bytes;

on_both_databases!(both_ways_answer_alike, both_ways_are_counted);

const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
/// A header that occurs twice takes the way through the layers.
const THROUGH_THE_LAYERS: [(&str, &[u8]); 2] = [("x-note", b"a"), ("x-note", b"b")];

/// A caller who asks one question over one connection.
struct Asker {
    channel: Channel,
    key: Vec<u8>,
    question: Bytes,
}

impl Asker {
    async fn ask(&self, headers: &[(&'static str, &[u8])]) -> Response<Bytes> {
        let mut all = vec![("authorization", &self.key[..])];
        all.extend_from_slice(headers);
        let answered = raw::call(&self.channel, VERIFY, &all, std::slice::from_ref(&self.question)).await;
        answered.expect("Verify succeeds")
    }
}

/// Starts a server, and asks once, so that memory has the token and its caller.
async fn asked_once(installation: &Installation) -> (tokend_tests::Server, Asker) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = CreateTokenRequest {
        resource: format!("{acme}/projects/site"),
        allowed_cidrs: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
        labels: [("team", "web"), ("empty", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..token_in(&acme)
    };
    let issued = server.token(token).await;
    let question = VerifyRequest {
        client_address: "192.0.2.7".to_owned(),
        ..question(&issued.secret, &format!("{acme}/projects/site"), &["repository:write"])
    };
    let asker = Asker {
        channel: raw::connect(server.grpc_address()).await,
        key: raw::bearer(server.admin_key()),
        question: question.encode_to_vec().into(),
    };
    asker.ask(&[]).await;
    (server, asker)
}

/// Returns the header and the message of an answer, without what depends on when it was given.
fn lasting(answer: Response<Bytes>) -> (Vec<(String, String)>, VerifyResponse) {
    let (metadata, bytes, _) = answer.into_parts();
    let mut headers: Vec<_> = metadata
        .into_headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| (name.to_string(), format!("{value:?}")))
        .collect();
    headers.sort();
    let mut message = VerifyResponse::decode(bytes).expect("the answer is a message");
    message.cacheable_for = message.cacheable_for.map(|_| prost_types::Duration::default());
    if let Some(token) = &mut message.token {
        token.expires_in = token.expires_in.map(|_| prost_types::Duration::default());
    }
    (headers, message)
}

async fn both_ways_answer_alike(installation: Installation) {
    let (_server, asker) = asked_once(&installation).await;
    let through_the_layers = lasting(asker.ask(&THROUGH_THE_LAYERS).await);
    assert_eq!(through_the_layers.1.decision(), Decision::Allow);
    assert_eq!(lasting(asker.ask(&[]).await), through_the_layers);
}

async fn both_ways_are_counted(installation: Installation) {
    let (server, asker) = asked_once(&installation).await;
    let count = |line: &str| -> u64 {
        let metrics = http::get(server.ops_address(), "/metrics").1;
        let value = metrics
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    };
    let counts = || {
        let look_ups =
            ["memory", "database"].map(|source| format!("tokend_token_look_ups_total{{source=\"{source}\"}}"));
        [
            count("tokend_requests_total{method=\"tokend.v1.TokenVerify/Verify\",code=\"OK\"}"),
            count("tokend_request_duration_seconds_count{method=\"tokend.v1.TokenVerify/Verify\"}"),
            look_ups.iter().map(|line| count(line)).sum(),
        ]
    };
    let before = counts();
    for _ in 0..20 {
        asker.ask(&[]).await;
        asker.ask(&THROUGH_THE_LAYERS).await;
    }
    assert_eq!(counts(), before.map(|count| count + 40));
}
