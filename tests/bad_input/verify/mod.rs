//! `TokenVerify` answers every token with a verdict. The other fields of a request must be valid.

use bytes::Bytes;
use prost::Message;
pub(crate) use resources::is_resource;
use tokend_client::v1::{
    BatchVerifyRequest, BatchVerifyResponse, Decision, DenyReason, ErrorReason, Revision, VerifyRequest, VerifyResponse,
};
use tokend_tests::{Installation, on_both_databases, question};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused, too_large},
    run::{World, run, same},
    values::Values,
};

mod batches;
mod client_addresses;

mod resources;

on_both_databases!(questions);

pub(crate) const VERIFY: &str = "TokenVerify/Verify";

const BATCH: &str = "TokenVerify/BatchVerify";

const ALLOW: Expect = Expect::Verdict(Decision::Allow, DenyReason::Unspecified);

const UNRECOGNIZED: Expect = deny(DenyReason::Unrecognized);

const NOT_COVERED: Expect = deny(DenyReason::ResourceNotCovered);

const NOT_FROM_THERE: Expect = deny(DenyReason::AddressNotAllowed);

/// Length of the longest token that fits into a message with the other fields.
const LONGEST_TOKEN: usize = 16 * 1024 - 64;

const fn deny(reason: DenyReason) -> Expect {
    Expect::Verdict(Decision::Deny, reason)
}

async fn questions(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let good = question(&values.token.secret, &values.acme, &["repository"]);
    let mut verify = Rows::of(VERIFY, good.clone());
    one_question(&mut verify, values, "", |request| request);
    let limit = "x".repeat(16 * 1024);
    verify.row(
        "token",
        Aspect::TooLarge,
        "longer than a message may be",
        |request| request.token = limit.clone(),
        too_large(),
    );
    let longest = "x".repeat(LONGEST_TOKEN);
    verify.row(
        "token",
        Aspect::Largest,
        "as long as a message may be",
        |request| request.token = longest,
        UNRECOGNIZED,
    );

    let of = |requests: Vec<VerifyRequest>| BatchVerifyRequest { requests };
    let mut batch = Rows::of(BATCH, of(vec![question("garbage", &values.acme, &[]), good.clone()]));
    one_question(&mut batch, values, "requests", |request: &mut BatchVerifyRequest| {
        &mut request.requests[1]
    });
    let limit = "x".repeat(2 * 1024 * 1024);
    batch.row(
        "requests.token",
        Aspect::TooLarge,
        "longer than a message may be",
        |r| r.requests[1].token = limit,
        too_large(),
    );
    let longest = "x".repeat(2 * 1024 * 1024 - 128);
    batch.row(
        "requests.token",
        Aspect::Largest,
        "as long as a message may be",
        |r| r.requests[1].token = longest,
        UNRECOGNIZED,
    );
    let bad = VerifyRequest {
        resource: "nowhere".to_owned(),
        client_address: "localhost".to_owned(),
        ..good.clone()
    };
    for (aspect, what, requests, expect) in [
        (Aspect::Empty, "none", vec![], fields(&["requests"])),
        (Aspect::Smallest, "one", vec![good.clone()], ALLOW),
        (Aspect::Largest, "256", vec![good.clone(); 256], ALLOW),
        (Aspect::TooLarge, "257", vec![good.clone(); 257], fields(&["requests"])),
        (
            Aspect::TooLarge,
            "257 that do not fit either",
            vec![bad.clone(); 257],
            fields(&["requests"]),
        ),
        (
            Aspect::TooLarge,
            "20,000",
            vec![VerifyRequest::default(); 20_000],
            fields(&["requests"]),
        ),
        (
            Aspect::Duplicate,
            "the same twice",
            vec![good.clone(), good.clone()],
            ALLOW,
        ),
        (
            Aspect::IllFormed,
            "an empty one",
            vec![good.clone(), VerifyRequest::default()],
            fields(&["requests[1].resource"]),
        ),
        (
            Aspect::IllFormed,
            "two that do not fit",
            vec![bad.clone(), good.clone(), bad.clone()],
            fields(&[
                "requests[0].resource",
                "requests[0].client_address",
                "requests[2].resource",
                "requests[2].client_address",
            ]),
        ),
        (
            Aspect::IllFormed,
            "the last of 256",
            [vec![good.clone(); 255], vec![bad]].concat(),
            fields(&["requests[255].resource", "requests[255].client_address"]),
        ),
    ] {
        batch.row("requests", aspect, what, |request| request.requests = requests, expect);
    }
    [verify.finish(), batch.finish()].concat()
}

/// Rows of the fields of a `VerifyRequest`, alone or in a batch.
fn one_question<R: Message + Clone>(
    rows: &mut Rows<'_, R>,
    values: &Values,
    within: &str,
    at: fn(&mut R) -> &mut VerifyRequest,
) {
    let of = |field: &str| -> &'static str {
        let path = if within.is_empty() {
            field.to_owned()
        } else {
            format!("{within}.{field}")
        };
        path.leak()
    };
    let named = |field: &str| {
        if within.is_empty() {
            field.to_owned()
        } else {
            format!("{within}[1].{field}")
        }
    };
    tokens(rows, values, of("token"), at);
    resources::resources(rows, values, of("resource"), &named("resource"), at);
    required_scopes(rows, values, of("required_scopes"), &named("required_scopes"), at);
    client_addresses::client_addresses(rows, values, of("client_address"), &named("client_address"), at);
    revisions(rows, values, of, at);
    let mut consistent = rows.field(of("fully_consistent"), |r, value| at(r).fully_consistent = value);
    consistent.row(Aspect::Smallest, "no", false, ALLOW);
    consistent.row(Aspect::Largest, "yes", true, ALLOW);
}

fn tokens<R: Message + Clone>(
    rows: &mut Rows<'_, R>,
    values: &Values,
    path: &'static str,
    at: fn(&mut R) -> &mut VerifyRequest,
) {
    use crate::presented::{altered, foreign, truncated};
    let secret = &values.token.secret;
    let mut token = rows.field(path, |r, value| at(r).token = value);
    token.row(Aspect::Empty, "empty", String::new(), UNRECOGNIZED);
    token.row(Aspect::Smallest, "one character", "t".to_owned(), UNRECOGNIZED);
    token.row(Aspect::Secret, "a caller key", values.admin_key.clone(), UNRECOGNIZED);
    for (what, text) in foreign(secret) {
        token.row(Aspect::IllFormed, what, text, UNRECOGNIZED);
    }
    if path == "token" {
        for (what, text) in truncated(secret).chain(altered(secret)) {
            token.row(Aspect::IllFormed, what, text, UNRECOGNIZED);
        }
    }
    token.hostile(&["{}", &format!("{secret}{{}}")], |value, _| {
        if path == "token" && value.len() > LONGEST_TOKEN {
            too_large()
        } else {
            UNRECOGNIZED
        }
    });
    if path == "token" {
        token.twice("garbage", secret, ALLOW);
        token.twice(secret, "garbage", UNRECOGNIZED);
    } else {
        // In the batch's repeated field, each value is a separate request, without a resource.
        token.twice(
            "garbage",
            secret,
            fields(&["requests[2].resource", "requests[3].resource"]),
        );
    }
}

pub(crate) fn required_scopes<R: Message + Clone>(
    rows: &mut Rows<'_, R>,
    Values { token, .. }: &Values,
    path: &'static str,
    named: &str,
    at: fn(&mut R) -> &mut VerifyRequest,
) {
    let (first, second) = (format!("{named}[0]"), format!("{named}[1]"));
    let list = |scopes: &[&str]| -> Vec<String> { scopes.iter().map(ToString::to_string).collect() };
    let mut scopes = rows
        .field(path, |r, value: Vec<String>| at(r).required_scopes = value)
        .named(named);
    scopes.row(Aspect::Empty, "none", Vec::new(), ALLOW);
    scopes.row(Aspect::Smallest, "one", list(&["repository"]), ALLOW);
    scopes.row(Aspect::Largest, "64", vec!["repository".to_owned(); 64], ALLOW);
    scopes.bad(Aspect::TooLarge, "65", vec!["repository".to_owned(); 65]);
    scopes.bad(Aspect::TooLarge, "65 of which none exists", vec!["x".to_owned(); 65]);
    scopes.row(
        Aspect::Duplicate,
        "the same twice",
        list(&["repository", "repository"]),
        ALLOW,
    );
    scopes.row(
        Aspect::Smallest,
        "one that the token lacks",
        list(&["webhook"]),
        deny(DenyReason::InsufficientScope),
    );
    scopes.row(
        Aspect::IllFormed,
        "an empty one",
        list(&["repository", ""]),
        fields(&[&second]),
    );
    scopes.row(
        Aspect::IllFormed,
        "two that do not exist",
        list(&["x", "y", "repository"]),
        fields(&[&first, &second]),
    );

    let mut scope = rows
        .field(path, |r, value: String| at(r).required_scopes = vec![value])
        .named(&first);
    scope.bad(Aspect::Empty, "an empty one", "");
    for (aspect, text) in [
        (Aspect::Smallest, "x".to_owned()),
        (Aspect::Largest, "x".repeat(64)),
        (Aspect::TooLarge, "x".repeat(65)),
        (Aspect::Secret, token.secret.clone()),
    ] {
        scope.bad(aspect, format!("one of {}", text.len()), text);
    }
    for text in [
        "Repository",
        "repository:",
        ":write",
        "repository::write",
        "repository:*",
        "repository write",
        " repository",
        "1x",
    ] {
        scope.bad(Aspect::IllFormed, text, text);
    }
    scope.hostile_is_bad(&["{}", "repository:{}", "repository{}"]);
}

pub(crate) fn revisions<R: Message + Clone>(
    rows: &mut Rows<'_, R>,
    values: &Values,
    of: impl Fn(&str) -> &'static str,
    at: fn(&mut R) -> &mut VerifyRequest,
) {
    let not_yet = || refused(Code::Unavailable, ErrorReason::StorageUnavailable);
    let mut revision = rows.field(of("min_revision"), |r, value| at(r).min_revision = value);
    revision.row(Aspect::Empty, "none", None, ALLOW);
    let here = values.epoch;
    for (field, aspect, epoch, number, expect) in [
        ("epoch", Aspect::Empty, 0, 0, ALLOW),
        ("epoch", Aspect::Smallest, 0, u64::MAX, ALLOW),
        ("epoch", Aspect::Largest, u64::MAX, u64::MAX, ALLOW),
        ("epoch", Aspect::Smallest, here.wrapping_add(1), u64::MAX, ALLOW),
        ("number", Aspect::Empty, here, 0, ALLOW),
        ("number", Aspect::Smallest, here, 0, ALLOW),
        ("number", Aspect::Largest, here, 1 << 62, not_yet()),
        ("number", Aspect::Largest, here, u64::MAX, not_yet()),
    ] {
        let set = |r: &mut R| at(r).min_revision = Some(Revision { epoch, number });
        rows.row(
            of(&format!("min_revision.{field}")),
            aspect,
            format!("{epoch}:{number}"),
            set,
            expect,
        );
    }
    for field in ["epoch", "number"] {
        // 2^64 and more: protobuf implementations truncate the number, or refuse it.
        let field = of(&format!("min_revision.{field}"));
        let past = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let bytes = crate::descriptors::field(rows.rpc(), field).encode_as(prost::encoding::WireType::Varint, &past);
        let request = [rows.good().encode_to_vec(), bytes].concat();
        rows.raw(
            field,
            Aspect::TooLarge,
            "past 2^64",
            request,
            crate::case::undecodable(),
        );
    }
}

async fn read_back(world: &World, case: &Case, answer: Bytes) -> Result<(), String> {
    let Expect::Verdict(decision, reason) = case.expect else {
        return Err("was decided".to_owned());
    };
    let verdict = if case.rpc == VERIFY {
        VerifyResponse::decode(answer.clone()).expect("the response decodes")
    } else {
        let asked = BatchVerifyRequest::decode(case.request.clone())
            .expect("the request decodes")
            .requests;
        let answers = BatchVerifyResponse::decode(answer.clone())
            .expect("the response decodes")
            .responses;
        same("the number of verdicts", answers.len(), asked.len())?;
        answers.last().expect("the batch has a verdict").clone()
    };
    same(
        "the verdict",
        (verdict.decision(), verdict.deny_reason()),
        (decision, reason),
    )?;
    if reason == DenyReason::Unrecognized {
        let without_details = VerifyResponse {
            decision: Decision::Deny.into(),
            deny_reason: DenyReason::Unrecognized.into(),
            cacheable_for: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        same("the verdict on an unrecognized token", &verdict, &without_details)?;
        if case.rpc == VERIFY {
            same(
                "the bytes of the answer",
                answer.to_vec(),
                without_details.encode_to_vec(),
            )?;
        }
    } else {
        let asked = verdict.token.ok_or("the verdict has no token")?.name;
        let Values {
            token,
            fenced,
            fenced_mapped,
            ..
        } = &world.values;
        same(
            "the token",
            [token, fenced, fenced_mapped].iter().any(|known| known.name == asked),
            true,
        )?;
    }
    Ok(())
}
