//! Verify answers alike, whether a call passes the layers or memory answers it before them.

use prost::Message;
use tokend_client::v1::{
    BatchVerifyRequest, BatchVerifyResponse, CreateTokenRequest, Decision, VerifyRequest, VerifyResponse,
};
use tokend_tests::{Installation, http, on_both_databases, question, raw, token_in};
use tonic::{Response, transport::Channel};

use bytes::Bytes;

on_both_databases!(
    both_ways_answer_alike,
    both_ways_are_counted,
    batches_are_answered_alike,
    batches_are_counted_once,
);

const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
const BATCH_VERIFY: &str = "/tokend.v1.TokenVerify/BatchVerify";
/// A header that occurs twice takes the way through the layers.
const THROUGH_THE_LAYERS: [(&str, &[u8]); 2] = [("x-note", b"a"), ("x-note", b"b")];

/// A caller who asks one question over one connection.
struct Asker {
    channel: Channel,
    key: Vec<u8>,
    question: VerifyRequest,
}

impl Asker {
    async fn ask(&self, headers: &[(&'static str, &[u8])]) -> Response<Bytes> {
        self.call(VERIFY, &self.question, headers).await
    }

    /// Asks these questions, through the layers or by the short path if they can be.
    async fn ask_each(&self, questions: &[VerifyRequest], headers: &[(&'static str, &[u8])]) -> Vec<VerifyResponse> {
        let requests = questions.to_vec();
        let answer = self.call(BATCH_VERIFY, &BatchVerifyRequest { requests }, headers).await;
        let answer = BatchVerifyResponse::decode(answer.into_inner()).expect("the answer is a message");
        answer.responses.into_iter().map(without_times).collect()
    }

    async fn call(&self, path: &str, message: &impl Message, headers: &[(&'static str, &[u8])]) -> Response<Bytes> {
        let mut all = vec![("authorization", &self.key[..])];
        all.extend_from_slice(headers);
        let message = message.encode_to_vec().into();
        raw::call(&self.channel, path, &all, &[message])
            .await
            .expect("the call succeeds")
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
        question,
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
    let message = VerifyResponse::decode(bytes).expect("the answer is a message");
    (headers, without_times(message))
}

fn without_times(mut answer: VerifyResponse) -> VerifyResponse {
    answer.cacheable_for = answer.cacheable_for.map(|_| prost_types::Duration::default());
    if let Some(token) = &mut answer.token {
        token.expires_in = token.expires_in.map(|_| prost_types::Duration::default());
    }
    answer
}

async fn batches_are_answered_alike(installation: Installation) {
    let (server, asker) = asked_once(&installation).await;
    let other = server.token(token_in("workspaces/acme")).await.secret;
    let other = question(&other, "workspaces/acme/projects/any", &[]);
    let allowed = [&asker.question, &other, &asker.question].map(Clone::clone);
    let denied = question("tkdw_garbage", "workspaces/acme", &[]);
    let mixed = [&other, &denied, &asker.question].map(Clone::clone);
    // Many, so that they do not fit into one frame.
    let many = vec![asker.question.clone(); 256];
    for questions in [&allowed[..], &mixed, &allowed[..1], &many] {
        let through_the_layers = asker.ask_each(questions, &THROUGH_THE_LAYERS).await;
        assert_eq!(through_the_layers.len(), questions.len());
        for _ in 0..2 {
            assert_eq!(asker.ask_each(questions, &[]).await, through_the_layers);
        }
        let decisions = through_the_layers.iter().map(VerifyResponse::decision);
        let expected = questions.iter().map(|question| match question == &denied {
            true => Decision::Deny,
            false => Decision::Allow,
        });
        assert!(decisions.eq(expected));
    }
}

async fn batches_are_counted_once(installation: Installation) {
    let (server, asker) = asked_once(&installation).await;
    let denied = question("tkdw_garbage", "workspaces/acme", &[]);
    let questions = [&asker.question, &denied, &asker.question].map(Clone::clone);
    let before = counts(&server, "BatchVerify");
    for _ in 0..5 {
        asker.ask_each(&questions[..1], &[]).await;
        // The first verdict of the short path does not count, because the layers answer.
        asker.ask_each(&questions, &[]).await;
    }
    let [calls, durations, look_ups] = before;
    assert_eq!(
        counts(&server, "BatchVerify"),
        [calls + 10, durations + 10, look_ups + 15]
    );
}

/// Returns how many calls of a method succeeded, how many were timed, and how many tokens were looked up.
fn counts(server: &tokend_tests::Server, method: &str) -> [u64; 3] {
    let metrics = http::get(server.ops_address(), "/metrics").1;
    let count = |line: &str| -> u64 {
        let value = metrics
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    };
    let method = format!("method=\"tokend.v1.TokenVerify/{method}\"");
    let look_ups = ["memory", "database"].map(|source| format!("tokend_token_look_ups_total{{source=\"{source}\"}}"));
    [
        count(&format!("tokend_requests_total{{{method},code=\"OK\"}}")),
        count(&format!("tokend_request_duration_seconds_count{{{method}}}")),
        look_ups.iter().map(|line| count(line)).sum(),
    ]
}

async fn both_ways_answer_alike(installation: Installation) {
    let (_server, asker) = asked_once(&installation).await;
    let through_the_layers = lasting(asker.ask(&THROUGH_THE_LAYERS).await);
    assert_eq!(through_the_layers.1.decision(), Decision::Allow);
    assert_eq!(lasting(asker.ask(&[]).await), through_the_layers);
}

async fn both_ways_are_counted(installation: Installation) {
    let (server, asker) = asked_once(&installation).await;
    let before = counts(&server, "Verify");
    for _ in 0..20 {
        asker.ask(&[]).await;
        asker.ask(&THROUGH_THE_LAYERS).await;
    }
    assert_eq!(counts(&server, "Verify"), before.map(|count| count + 40));
}
