//! What the clients of a run do: verify all the time, and change something now and then.

mod change;
mod create;
mod ending;
mod sighting;
mod verifying;

use std::sync::Arc;

pub(crate) use self::change::Act;
pub(crate) use self::create::furnish;
use crate::{faults::Kind, lab::Lab, random::Random};

/// What a run does, and how often relative to the rest.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    pub(crate) acts: Vec<(usize, Act)>,
    pub(crate) faults: Vec<(usize, Kind)>,
    /// Whether all faults happen in each round, instead of some that are drawn.
    pub(crate) is_together: bool,
}

impl Mix {
    /// Everything that ends something, under every fault.
    pub(crate) fn everything() -> Self {
        Self {
            acts: vec![
                (30, Act::Revoke),
                (8, Act::BatchRevoke),
                (5, Act::BatchRevokeGroup),
                (5, Act::RevokeLeaked),
                (14, Act::Rotate),
                (4, Act::RotateChain),
                (4, Act::RotateSoon),
                (8, Act::Suspend),
                (6, Act::Limit),
                (3, Act::LimitSoon),
                (3, Act::LimitOrganization),
                (3, Act::Delete),
                (5, Act::RevokeKey),
                (2, Act::DeleteCaller),
            ],
            faults: Kind::ALL.to_vec(),
            is_together: false,
        }
    }

    /// Only these acts, and in each round these faults.
    pub(crate) fn only(acts: &[Act], faults: &[Kind]) -> Self {
        Self {
            acts: acts.iter().map(|act| (1, *act)).collect(),
            faults: faults.iter().map(|fault| (1, *fault)).collect(),
            is_together: true,
        }
    }
}

/// Starts all clients. They run until the lab ends.
pub(crate) fn start(lab: &Arc<Lab>, random: &mut Random) {
    verifying::start(lab, random);
    for _ in 0..lab.settings.changers {
        lab.spawn(change::keep_changing(Arc::clone(lab), random.fork()));
    }
    lab.spawn(sighting::keep_measuring(Arc::clone(lab), random.fork()));
}
