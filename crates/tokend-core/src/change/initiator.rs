use crate::audit::Origin;

/// Who or what makes a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// A caller, by an RPC.
    Caller(Origin),
    /// tokend, in a background job.
    System,
    /// An operator who manages the key ring.
    Operator,
    /// `tokend init`, which creates the installation.
    Initialization,
    /// `tokend init --recover`.
    Recovery,
    /// The restore of a database from a backup.
    Restore,
}

impl Initiator {
    /// Returns who did it and from where, for the audit log. Operators at the machine have no name there.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Caller(origin) => origin.clone(),
            Self::System | Self::Operator | Self::Initialization | Self::Recovery | Self::Restore => Origin::default(),
        }
    }

    /// Returns the detail of an event whose change has `own` to say. Some initiators say what they did instead.
    pub(super) fn detail(&self, own: String) -> String {
        match self {
            Self::Caller(_) | Self::System | Self::Operator => own,
            Self::Initialization => String::new(),
            Self::Recovery => "by tokend init --recover".to_owned(),
            Self::Restore => "restored from a backup".to_owned(),
        }
    }
}
