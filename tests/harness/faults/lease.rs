//! Changes of the lease while servers run.

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
