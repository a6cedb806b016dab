//! Several calls make their changes in one transaction. Each call's caller is checked again as if the transaction were
//! its own, and each change is recorded with the caller that made it.

use std::collections::{BTreeMap, BTreeSet};

use tokend_core::name::CallerId;
use tokend_store::{CallerHold, CallerRef, CurrentCaller, StoreError, WriteTx};

use super::Acting;
use crate::auth::{CallContext, Invalidated};

/// What a shared transaction does about a lock that another transaction has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    /// It goes on without the lock, and the calls that need it make their changes elsewhere.
    Skip,
    /// It waits.
    Wait,
}

/// A transaction that several calls share. It holds their callers.
pub(crate) struct SharedTx<'tx> {
    tx: &'tx WriteTx,
    callers: BTreeMap<CallerRef, Found>,
}

/// What the transaction found of a caller.
enum Found {
    Current(CurrentCaller),
    Busy,
    Unreadable(StoreError),
}

/// Why a call may not make its change in a shared transaction.
#[derive(Debug)]
pub(crate) enum NotServed {
    /// Another transaction holds its caller, most likely to take something away from it.
    Busy,
    /// Its caller is no longer served.
    Invalidated(Invalidated),
    /// The rows of its caller can't be read.
    Unreadable(StoreError),
}

impl<'tx> SharedTx<'tx> {
    /// Holds the callers of these calls, in the order of their ids and each once, and reads them.
    ///
    /// # Errors
    /// [`StoreError`] of the transaction as a whole.
    pub(crate) async fn hold(
        tx: &'tx WriteTx,
        callers: BTreeSet<CallerRef>,
        locking: Locking,
    ) -> Result<Self, StoreError> {
        let mut found = BTreeMap::new();
        let mut last: Option<(CallerId, bool)> = None;
        for by in callers {
            let is_held = match last {
                Some((id, is_held)) if id == by.caller => is_held,
                _ => hold(tx, &by.caller, locking).await?,
            };
            last = Some((by.caller.clone(), is_held));
            let caller = if is_held {
                match tx.current_caller(&by).await {
                    Ok(current) => Found::Current(current),
                    Err(error) if tx.has_failed() => return Err(error),
                    Err(error) => Found::Unreadable(error),
                }
            } else {
                Found::Busy
            };
            found.insert(by, caller);
        }
        Ok(Self { tx, callers: found })
    }

    /// Returns whether a call's caller is held and still served.
    ///
    /// # Errors
    /// [`NotServed`].
    pub(crate) fn check(&self, call: &CallContext) -> Result<(), NotServed> {
        let authenticated = call.authenticated();
        match self.callers.get(&authenticated.reference()) {
            Some(Found::Current(current)) => authenticated.check(current).map_err(NotServed::Invalidated),
            Some(Found::Unreadable(error)) => Err(NotServed::Unreadable(error.again())),
            Some(Found::Busy) | None => Err(NotServed::Busy),
        }
    }

    /// Makes the changes that follow those of this call, if its caller is still served.
    ///
    /// # Errors
    /// [`NotServed`].
    pub(crate) fn act_for<'a>(&'a self, call: &'a CallContext) -> Result<Acting<'a>, NotServed> {
        self.check(call)?;
        self.tx.attribute_to(call.initiator());
        Ok(Acting {
            tx: self.tx,
            call,
            admins: Vec::new(),
        })
    }
}

async fn hold(tx: &WriteTx, caller: &CallerId, locking: Locking) -> Result<bool, StoreError> {
    match locking {
        Locking::Skip => tx.try_hold_caller(caller).await,
        Locking::Wait => tx.hold_caller(caller, CallerHold::Shared).await.map(|()| true),
    }
}
