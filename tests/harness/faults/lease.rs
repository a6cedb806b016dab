//! Changes of the lease while servers run.

use tokio::time::sleep;

use crate::{lab::Lab, random::Random};

/// The leases to choose from: all shorter than the time after which the checker expects a resumed workspace to work.
const LEASES: [&str; 5] = ["1s", "100ms", "300ms", "2s", "1s"];

/// Sets another lease. Returns whether that was possible.
pub(super) async fn set(lab: &Lab, random: &mut Random) -> bool {
    match random.of(&LEASES) {
        Some(lease) => lab.cluster.set_lease(lease).await,
        None => false,
    }
}

/// Lowers the lease, and sets it again while the first command waits until it may shorten the wait, too. Returns whether
/// that was possible.
pub(super) async fn set_twice(lab: &Lab, random: &mut Random) -> bool {
    let again = random.weighted(&[(2, "2s"), (1, "1s"), (1, "100ms")]);
    if !lab.cluster.set_lease("2s").await {
        return false;
    }
    let lower = lab.cluster.set_lease("300ms");
    let set_again = async {
        sleep(random.millis(300, 1_200)).await;
        lab.cluster.set_lease(again).await
    };
    // The first command fails if the second one comes first.
    let (_, is_set) = tokio::join!(lower, set_again);
    is_set
}
