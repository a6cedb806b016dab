//! `TokenVerify/Watch`: the first message of a stream. Each row sends one message and ends its side of the stream.

use std::time::Duration;

use bytes::Bytes;
use prost::{Message, encoding::WireType};
use tokend_client::v1::{Ping, Revision, WatchRequest, WatchResponse};
use tokend_tests::{Installation, eventually, on_both_databases};

use crate::{
    case::{Aspect, Case, Expect, Rows, undecodable},
    descriptors,
    run::{World, run_in, same},
    values::Values,
};

mod uses;

on_both_databases!(messages_of_a_watch);

const WATCH: &str = "TokenVerify/Watch";

/// The first second of the year 1, since the Unix epoch.
const YEAR_1: i64 = -62_135_596_800;

async fn messages_of_a_watch(installation: Installation) {
    let world = World::of(&installation).await;
    run_in(&installation, &world, cases, read_back).await;
    // No accepted row stops the job that writes the uses of all of them.
    let Values { token, fenced, .. } = &world.values;
    let used = async |name: &str| {
        eventually("the uses are written", async || {
            installation.clock().set_ahead(Duration::from_secs(60));
            let found = world.server.get_token(name).await;
            found.last_used_time.is_some().then_some(found)
        })
        .await
    };
    let found = used(&token.name).await;
    let last = found.last_used_time.expect("a time").seconds;
    assert!(last < found.create_time.expect("a time").seconds + 3_600, "{found:?}");
    // The only use of this token.
    let found = used(&fenced.name).await;
    same("the time", found.last_used_time.map(|time| time.seconds), Some(YEAR_1)).expect("as reported");
    assert!(found.last_used_addresses.is_empty(), "{found:?}");
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let ping = WatchRequest {
        ping: Some(Ping {
            number: 1,
            applied_revision: None,
        }),
        ..Default::default()
    };
    let mut rows = Rows::of(WATCH, ping.clone());
    pings(&mut rows, values);
    resumptions(&mut rows, values);
    [rows.finish(), uses::cases(ping, values)].concat()
}

/// Returns revisions of the database with this epoch, and of others.
fn revisions(epoch: u64) -> [(&'static str, Aspect, Revision); 8] {
    let of = |epoch, number| Revision { epoch, number };
    [
        ("epoch", Aspect::Empty, of(0, 0)),
        ("epoch", Aspect::Smallest, of(1, u64::MAX)),
        ("epoch", Aspect::Smallest, of(epoch.wrapping_add(1), 1)),
        ("epoch", Aspect::Largest, of(u64::MAX, u64::MAX)),
        ("number", Aspect::Empty, of(epoch, 0)),
        ("number", Aspect::Smallest, of(epoch, 1)),
        ("number", Aspect::Largest, of(epoch, 1 << 62)),
        ("number", Aspect::Largest, of(epoch, u64::MAX)),
    ]
}

fn pings(rows: &mut Rows<'_, WatchRequest>, values: &Values) {
    let mut number = rows.field("ping.number", |request, number| {
        request.ping = Some(Ping {
            number,
            applied_revision: None,
        });
    });
    number.good(Aspect::Smallest, "one", 1_u64);
    number.good(Aspect::Empty, "zero", 0_u64);
    for value in [u64::MAX - 1, u64::MAX] {
        number.good(Aspect::Largest, value, value);
    }
    past_the_largest(rows, "ping.number");

    let mut ping = rows.field("ping", |request, value| request.ping = value);
    ping.row(Aspect::Empty, "none", None, Expect::Silence);
    ping.good(Aspect::Empty, "an empty one", Some(Ping::default()));

    let mut applied = rows.field("ping.applied_revision", |request, applied_revision| {
        request.ping = Some(Ping {
            number: 2,
            applied_revision,
        });
    });
    applied.row(Aspect::Empty, "none", None, Expect::Accepted);
    applied.good(Aspect::Empty, "an empty one", Some(Revision::default()));
    for (field, aspect, revision) in revisions(values.epoch) {
        let path = if field == "epoch" {
            "ping.applied_revision.epoch"
        } else {
            "ping.applied_revision.number"
        };
        let set = |request: &mut WatchRequest| {
            request.ping = Some(Ping {
                number: 3,
                applied_revision: Some(revision),
            });
        };
        rows.row(path, aspect, described(revision), set, Expect::Accepted);
    }
    past_the_largest(rows, "ping.applied_revision.epoch");
    past_the_largest(rows, "ping.applied_revision.number");
}

fn resumptions(rows: &mut Rows<'_, WatchRequest>, values: &Values) {
    let mut resume = rows.field("resume_revision", |request, value| request.resume_revision = value);
    resume.row(Aspect::Empty, "none", None, Expect::Accepted);
    resume.good(Aspect::Empty, "an empty one", Some(Revision::default()));
    for (field, aspect, revision) in revisions(values.epoch) {
        let path = if field == "epoch" {
            "resume_revision.epoch"
        } else {
            "resume_revision.number"
        };
        let set = |request: &mut WatchRequest| request.resume_revision = Some(revision);
        rows.row(path, aspect, described(revision), set, Expect::Accepted);
    }
    let without_a_ping = |request: &mut WatchRequest| {
        request.resume_revision = Some(Revision::default());
        request.ping = None;
    };
    let what = "an empty one without a ping";
    rows.row("resume_revision", Aspect::Empty, what, without_a_ping, Expect::Accepted);
    past_the_largest(rows, "resume_revision.epoch");
    past_the_largest(rows, "resume_revision.number");
}

fn described(Revision { epoch, number }: Revision) -> String {
    format!("{epoch}:{number}")
}

/// Adds a row with 2^64 and more, which protobuf implementations truncate or refuse.
fn past_the_largest(rows: &mut Rows<'_, WatchRequest>, field: &'static str) {
    let past = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let bytes = descriptors::field(WATCH, field).encode_as(WireType::Varint, &past);
    let request = [rows.good().encode_to_vec(), bytes].concat();
    rows.raw(field, Aspect::TooLarge, "past 2^64", request, undecodable());
}

async fn read_back(world: &World, Case { request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let asked = WatchRequest::decode(request.clone()).expect("the request decodes");
    let told = WatchResponse::decode(answer).expect("the response decodes");
    let number = |ping: Ping| ping.number;
    same(
        "the number of the pong",
        told.pong.map(|pong| pong.number),
        asked.ping.map(number),
    )?;
    if let Some(pong) = told.pong {
        let epoch = pong.revision.ok_or("the pong has no revision")?.epoch;
        same("the epoch of the pong", epoch, world.values.epoch)?;
        let lease = pong.lease_remaining.ok_or("the pong has no lease")?;
        let is_none = lease.seconds == 0 && lease.nanos == 0;
        same(
            "whether a client that begins anew has a lease",
            told.resync_required && !is_none,
            false,
        )?;
    }
    let resync = asked
        .resume_revision
        .map(|Revision { epoch, .. }| epoch != world.values.epoch);
    match resync {
        // A client that resumes none has nothing to drop, and what it resumes may lie before its own creation.
        None => same("whether it must begin anew", told.resync_required, false),
        Some(true) => same("whether it must begin anew", told.resync_required, true),
        Some(false) => Ok(()),
    }
}
