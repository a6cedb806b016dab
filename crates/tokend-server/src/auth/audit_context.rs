//! What the audit log needs to know of a call, should the call be refused.

use std::sync::{Arc, OnceLock};

use tokend_core::{audit::known_name_prefix, caller::Caller};

/// What is known of one call of an administrative service. It is filled while the call passes through the server, and
/// read when the call is answered.
#[derive(Debug, Default)]
pub(crate) struct AuditContext {
    caller: OnceLock<Arc<Caller>>,
    subject: OnceLock<String>,
}

impl AuditContext {
    /// Records who calls.
    pub(crate) fn set_caller(&self, caller: &Arc<Caller>) {
        // A call whose caller is authenticated twice keeps the first one.
        let _ = self.caller.set(Arc::clone(caller));
    }

    /// Records what the call is about: the longest valid part of the name in its message.
    pub(crate) fn set_subject(&self, name: &str) {
        let _ = self.subject.set(known_name_prefix(name).to_owned());
    }

    /// Returns the caller, if one authenticated.
    pub(crate) fn caller(&self) -> Option<&Arc<Caller>> {
        self.caller.get()
    }

    /// Returns the name of what the call is about. It is empty if the message names nothing, or was not read.
    pub(crate) fn subject(&self) -> &str {
        self.subject.get().map_or("", String::as_str)
    }
}
