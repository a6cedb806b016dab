//! The names of RPCs in what the service says, as the commands that make these calls.

use std::borrow::Cow;

/// Each RPC that a command makes, and the command.
const COMMANDS: [(&str, &str); 31] = [
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
    // No command makes it.
    ("BatchVerify", "verify"),
];

/// `text` with commands in place of RPCs: `tokend caller key revoke` for `RevokeCallerKey` and for `CallerAdmin/RevokeCallerKey`.
pub(crate) fn in_commands(text: &str) -> String {
    let is_of_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '/' | '.' | '_');
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = &rest[..rest.find(|char| !is_of_word(char)).unwrap_or(rest.len())];
        let between = &rest[word.len()..];
        let between = &between[..between.find(is_of_word).unwrap_or(between.len())];
        told += &command(word);
        told += between;
        rest = &rest[word.len() + between.len()..];
    }
    told
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_call_has_its_command() {
        let contract = DescriptorPool::decode(tokend_proto::FILE_DESCRIPTOR_SET).expect("the contract");
        let services = contract.services().filter(|service| service.package_name() == "tokend.v1");
        let rpcs: Vec<_> =
            services.flat_map(|service| service.methods().map(|rpc| rpc.name().to_owned()).collect::<Vec<_>>()).collect();
        assert_eq!(rpcs.len(), COMMANDS.len());
        let program = crate::Cli::command();
        for rpc in rpcs {
            let (_, command) = COMMANDS.iter().find(|(name, _)| *name == rpc).unwrap_or_else(|| panic!("{rpc} has no command"));
            let mut found = &program;
            for word in command.split(' ') {
                found = found.find_subcommand(word).unwrap_or_else(|| panic!("there is no `tokend {command}`"));
            }
        }
    }

    #[test]
    fn what_the_service_says_is_told_in_commands() {
        assert_eq!(in_commands("revoke it with RevokeCallerKey"), "revoke it with `tokend caller key revoke`");
        assert_eq!(in_commands("does not allow TokenAdmin/GetToken."), "does not allow `tokend token get`.");
        assert_eq!(in_commands("no method tokend.v1.TokenAdmin/GetToken (X)"), "no method `tokend token get` (X)");
        let other = "there is no token workspaces/acme/tokens/GetTokens (TOKEN_NOT_FOUND)\n  names[0] ä";
        assert_eq!(in_commands(other), other);
    }
}
