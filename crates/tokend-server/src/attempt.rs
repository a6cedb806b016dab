//! What is known of a call while it is made, for the record if it is refused.

use std::sync::{Arc, OnceLock};

use http::Extensions;
use tokend_core::{audit::known_part_of_name, caller::Caller};

/// One call of an administrative service: an extension of its request, as an `Arc`. Filled on the way in, read on the way out.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    caller: OnceLock<Arc<Caller>>,
    subject: OnceLock<String>,
}

impl Attempt {
    /// Notes who calls, if the call is one that may be put on record.
    pub(crate) fn note_caller(extensions: &Extensions, caller: &Arc<Caller>) {
        if let Some(attempt) = extensions.get::<Arc<Self>>() {
            // A call that was authenticated twice is the first caller's.
            let _ = attempt.caller.set(Arc::clone(caller));
        }
    }

    /// Notes what the call is about: the name in its message, as far as it is one.
    pub(crate) fn note_subject(extensions: &Extensions, name: &str) {
        if let Some(attempt) = extensions.get::<Arc<Self>>() {
            let _ = attempt.subject.set(known_part_of_name(name).to_owned());
        }
    }

    /// Who called; none if nobody authenticated.
    pub(crate) fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.get()
    }

    /// What the call was about; empty if it was about nothing that has a name, or was refused before that was read.
    pub(crate) fn subject(&self) -> &str {
        self.subject.get().map_or("", String::as_str)
    }
}
