//! Messages that arrive late or in pieces, or that are too large.

use prost::Message;
use tokend_client::v1::{BatchVerifyRequest, ErrorReason};
use tokend_tests::{Installation, on_sqlite, question, refusal};
use tonic::Code;

use crate::{peer::Peer, serve};

on_sqlite!(
    a_message_has_a_deadline_of_its_own,
    a_message_may_arrive_in_pieces,
    a_message_with_an_excessive_length_is_refused_at_once,
    data_after_the_message_is_refused,
);

const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const BATCH: &str = "/tokend.v1.TokenVerify/BatchVerify";

async fn a_message_has_a_deadline_of_its_own(installation: Installation) {
    let server = serve(&installation, "admin_deadline_ms = 60000\nbody_deadline_ms = 200").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    for begun in [&b""[..], b"\0\0", b"\0\0\0\0\x07abc"] {
        let mut call = peer.begin(LIST, server.admin_key(), &[]).await;
        call.send_part(begun);
        let status = call.outcome().await.expect_err("the call has no message");
        let failure = refusal(&status, Code::DeadlineExceeded, ErrorReason::DeadlineExceeded);
        assert!(failure.message.contains("the message did not arrive"), "{failure}");
    }
    peer.begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect("the connection still works");
}

async fn a_message_may_arrive_in_pieces(installation: Installation) {
    let server = serve(&installation, "verify_deadline_ms = 60000\nbody_deadline_ms = 60000").await;
    let acme = server.workspace("acme").await;
    let requests = (0..256).map(|_| question(&"x".repeat(1_000), &acme, &[])).collect();
    let message = BatchVerifyRequest { requests }.encode_to_vec();
    let length = u32::try_from(message.len())
        .expect("the length fits into 32 bits")
        .to_be_bytes();
    let bytes = [&[0][..], &length, &message].concat();
    let mut peer = Peer::connect(server.grpc_address()).await;
    let mut call = peer.begin(BATCH, server.admin_key(), &[]).await;
    let mut pieces: Vec<_> = [&bytes[..3], &bytes[3..100]]
        .into_iter()
        .chain(bytes[100..].chunks(50_000))
        .collect();
    let last = pieces.pop().expect("there are pieces");
    for piece in pieces {
        call.send_part(piece);
        // The answer to another call shows that the piece has arrived.
        peer.begin(LIST, server.admin_key(), &[])
            .await
            .finish()
            .await
            .expect("the call succeeds");
    }
    call.send_rest(last).await.expect("BatchVerify succeeds");
}

async fn a_message_with_an_excessive_length_is_refused_at_once(installation: Installation) {
    let server = serve(&installation, "admin_deadline_ms = 60000\nbody_deadline_ms = 60000").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let mut call = peer.begin(LIST, server.admin_key(), &[]).await;
    call.send_part(b"\0\xff\xff\xff\xff");
    let status = call.outcome().await.expect_err("the message is too large");
    refusal(&status, Code::ResourceExhausted, ErrorReason::MessageTooLarge);
}

async fn data_after_the_message_is_refused(installation: Installation) {
    let server = serve(&installation, "admin_deadline_ms = 60000\nbody_deadline_ms = 60000").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let mut call = peer.begin(LIST, server.admin_key(), &[]).await;
    call.send_part(&[0; 5]);
    call.send_part(&[0; 65_000]);
    call.send_part(&[0; 10_000]);
    let status = call.outcome().await.expect_err("the data is too large");
    refusal(&status, Code::ResourceExhausted, ErrorReason::MessageTooLarge);
}
