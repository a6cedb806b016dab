//! Makes a program under test leave out rules of the revocation protocol.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use tokend_core::rule::Rule;

/// The variable that names the rules to leave out, separated by commas.
pub const VARIABLE: &str = "TOKEND_TEST_BROKEN_RULES";

/// The value with which a program prints the rules that it can leave out, one in each line.
pub const LIST: &str = "?";

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `tokend` with all of its commands.
    Tokend,
    /// A backend with the SDK's guard.
    Guard,
}

impl Program {
    /// Leaves out the rules that the environment names. Returns the exit code of a program that has to end now: because it
    /// was asked what it can leave out, or to leave out something that is no rule.
    #[must_use]
    pub fn leave_out_rules(self) -> Option<ExitCode> {
        match env::var(VARIABLE).unwrap_or_default().as_str() {
            "" => None,
            LIST => Some(list(self)),
            names => leave_out(names).err(),
        }
    }
}

/// Leaves out rules, whichever program keeps them.
#[cfg(debug_assertions)]
fn leave_out(names: &str) -> Result<(), ExitCode> {
    for name in names.split(',') {
        let Some(rule) = Rule::ALL.iter().find(|rule| rule.name() == name) else {
            return Err(refuse(name));
        };
        #[expect(clippy::disallowed_methods, reason = "this is a program under test")]
        tokend_core::rule::leave_out(*rule);
    }
    Ok(())
}

/// A release build keeps every rule.
#[cfg(not(debug_assertions))]
fn leave_out(names: &str) -> Result<(), ExitCode> {
    Err(refuse(names))
}

fn refuse(name: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{VARIABLE}: no rule {name:?} can be left out");
    ExitCode::FAILURE
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program does nothing else than printing the list"
)]
fn list(program: Program) -> ExitCode {
    let printed = rules_of(program)
        .iter()
        .try_for_each(|name| writeln!(io::stdout(), "{name}"));
    printed.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

#[cfg(debug_assertions)]
fn rules_of(program: Program) -> Vec<&'static str> {
    let all = Rule::ALL.iter().filter(|rule| program.keeps(**rule));
    all.map(|rule| rule.name()).collect()
}

#[cfg(not(debug_assertions))]
fn rules_of(_: Program) -> Vec<&'static str> {
    Vec::new()
}

impl Program {
    /// Returns whether this program has a part in keeping the rule.
    #[cfg(debug_assertions)]
    fn keeps(self, rule: Rule) -> bool {
        let is_of_guard = matches!(
            rule,
            Rule::SdkLeaseFromSend
                | Rule::PongNamesPing
                | Rule::FreshStreamEndsLease
                | Rule::VerifyKeepsToOneStream
                | Rule::SdkRefusesBelowSlot
                | Rule::SdkRefusesBelowStreamStart
                | Rule::CacheableFromSend
                | Rule::SdkChecksLease
        );
        is_of_guard == (self == Self::Guard)
    }
}
