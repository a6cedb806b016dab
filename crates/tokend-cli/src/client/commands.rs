//! Rewrites messages of the service in the words of the command line.

use std::borrow::Cow;

use prost_types::Duration;

use super::parse;

/// Each RPC of the contract, and the command that calls it.
const COMMANDS: [(&str, &str); 32] = [
    ("Verify", "verify"),
    ("CreateToken", "token create"),
    ("GetToken", "token get"),
    ("ListTokens", "token list"),
    ("RotateToken", "token rotate"),
    ("RevokeToken", "token revoke"),
    ("BatchRevokeTokens", "token revoke"),
    ("RevokeLeakedTokens", "token report-leaks"),
    ("IdentifyToken", "token identify"),
    ("ListScopes", "scopes list"),
    ("CreateWorkspace", "workspace create"),
    ("GetWorkspace", "workspace get"),
    ("ListWorkspaces", "workspace list"),
    ("SuspendWorkspace", "workspace suspend"),
    ("ResumeWorkspace", "workspace resume"),
    ("DeleteWorkspace", "workspace delete"),
    ("CreateOrganization", "organization create"),
    ("GetOrganization", "organization get"),
    ("ListOrganizations", "organization list"),
    ("GetTokenPolicy", "policy get"),
    ("UpdateTokenPolicy", "policy update"),
    ("CreateCaller", "caller create"),
    ("GetCaller", "caller get"),
    ("ListCallers", "caller list"),
    ("DeleteCaller", "caller delete"),
    ("CreateCallerKey", "caller key create"),
    ("RevokeCallerKey", "caller key revoke"),
    ("ListCallerKeys", "caller key list"),
    ("ListAuditEvents", "audit list"),
    ("WatchAuditEvents", "audit watch"),
    // No command calls it; `verify` is the closest.
    ("BatchVerify", "verify"),
    ("Watch", "verify"),
];

/// Rewrites a message of the service for people who use commands. RPCs become commands: `RevokeCallerKey` and
/// `CallerAdmin/RevokeCallerKey` become `tokend caller key revoke`. Durations get larger units: `7776000s` becomes
/// `90d`. Quoted values stay as they are.
pub(crate) fn in_commands(text: &str) -> String {
    let is_word_char = |char: char| char.is_ascii_alphanumeric() || matches!(char, '/' | '.' | '_');
    let mut rewritten = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = &rest[..rest.find(|char| !is_word_char(char)).unwrap_or(rest.len())];
        let between = &rest[word.len()..];
        let between = &between[..between.find(is_word_char).unwrap_or(between.len())];
        match duration(word).filter(|_| !rewritten.ends_with('"')) {
            Some(duration) => rewritten += &duration,
            None => rewritten += &command(word),
        }
        rewritten += between;
        rest = &rest[word.len() + between.len()..];
    }
    rewritten
}

fn command(word: &str) -> Cow<'_, str> {
    let stop = if word.ends_with('.') { "." } else { "" };
    let path = word.strip_suffix('.').unwrap_or(word);
    let name = path.rsplit(['/', '.']).next().unwrap_or(path);
    match COMMANDS.iter().find(|(rpc, _)| *rpc == name) {
        Some((_, command)) => Cow::Owned(format!("`tokend {command}`{stop}")),
        None => Cow::Borrowed(word),
    }
}

/// Formats a word such as `7776000s` with larger units.
fn duration(word: &str) -> Option<String> {
    let digits = word.strip_suffix('s').filter(|digits| !digits.contains('.'))?;
    let seconds = digits.parse().ok().filter(|seconds| *seconds >= 0)?;
    Some(parse::format_duration(&Duration { seconds, nanos: 0 }))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_rpc_has_a_command() {
        let contract = DescriptorPool::decode(tokend_proto::FILE_DESCRIPTOR_SET).expect("the contract");
        let services = contract
            .services()
            .filter(|service| service.package_name() == "tokend.v1");
        let rpcs: Vec<_> = services
            .flat_map(|service| service.methods().map(|rpc| rpc.name().to_owned()).collect::<Vec<_>>())
            .collect();
        assert_eq!(rpcs.len(), COMMANDS.len());
        let program = crate::Cli::command();
        for rpc in rpcs {
            let (_, command) = COMMANDS
                .iter()
                .find(|(name, _)| *name == rpc)
                .unwrap_or_else(|| panic!("{rpc} has no command"));
            let mut found = &program;
            for word in command.split(' ') {
                found = found
                    .find_subcommand(word)
                    .unwrap_or_else(|| panic!("there is no `tokend {command}`"));
            }
        }
    }

    #[test]
    fn durations_get_larger_units() {
        assert_eq!(
            in_commands("a token may live for 7776000s at most, not 7862400.5s"),
            "a token may live for 90d at most, not 7862400.5s"
        );
        for other in ["\"7776000s\" is not a scope", "workspaces/acme/tokens/60s", "s", "keys"] {
            assert_eq!(in_commands(other), other);
        }
    }

    #[test]
    fn rpcs_become_commands() {
        assert_eq!(
            in_commands("revoke it with RevokeCallerKey"),
            "revoke it with `tokend caller key revoke`"
        );
        assert_eq!(
            in_commands("does not allow TokenAdmin/GetToken."),
            "does not allow `tokend token get`."
        );
        assert_eq!(
            in_commands("no method tokend.v1.TokenAdmin/GetToken (X)"),
            "no method `tokend token get` (X)"
        );
        let other = "there is no token workspaces/acme/tokens/GetTokens (TOKEN_NOT_FOUND)\n  names[0] ä";
        assert_eq!(in_commands(other), other);
    }
}
