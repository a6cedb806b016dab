//! Verifications in the background: they keep memories warm and ask about what ended.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{
    history::{Asks, Consistency, Verdict},
    lab::Lab,
    random::Random,
};

/// The number of clients of each endpoint.
const CLIENTS: usize = 6;
/// After an ALLOW, a question that the token does not fit follows so many times of a hundred.
const UNGRANTED_PERCENT: usize = 8;

/// Starts the clients of every endpoint.
pub(crate) fn start(lab: &Arc<Lab>, random: &mut Random) {
    let clients = lab.endpoints.len() * CLIENTS;
    let pause_millis = (1_000 * clients / lab.settings.rate).max(1);
    for endpoint in 0..lab.endpoints.len() {
        for _ in 0..CLIENTS {
            lab.spawn(keep_verifying(Arc::clone(lab), endpoint, pause_millis, random.fork()));
        }
    }
}

async fn keep_verifying(lab: Arc<Lab>, endpoint: usize, pause_millis: usize, mut random: Random) {
    while !lab.is_ending() {
        verify_any(&lab, endpoint, &mut random).await;
        sleep(random.millis(pause_millis / 2, pause_millis + pause_millis / 2)).await;
    }
}

/// Asks about any token.
async fn verify_any(lab: &Lab, endpoint: usize, random: &mut Random) {
    let (token, key) = {
        let world = lab.world();
        let token = world.any_token(random);
        (token, token.and_then(|token| world.key_for(token, random)))
    };
    let (Some(token), Some(key)) = (token, key) else {
        // Everything was just ended.
        return sleep(Duration::from_millis(10)).await;
    };
    let consistency = random.weighted(&[(97, Consistency::Ordinary), (3, Consistency::Newest)]);
    let server = lab.any_server(random).index;
    let verdict = lab
        .verify(endpoint, server, token, key, Asks::Granted, consistency)
        .await;
    if verdict == Some(Verdict::Allow) && random.percent(UNGRANTED_PERCENT) {
        // A memory that mistakes this question for the last one allows it.
        let asks = random.weighted(&[(1, Asks::OtherScope), (1, Asks::OtherResource)]);
        lab.verify(endpoint, server, token, key, asks, Consistency::Ordinary)
            .await;
    }
}
