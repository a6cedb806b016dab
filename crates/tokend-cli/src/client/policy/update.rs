use clap::{ValueEnum, builder::BoolishValueParser};
use prost_types::Duration;
use tokend_client::v1::{
    GetTokenPolicyRequest, Selection, TokenPolicy, UpdateTokenPolicyRequest, UpdateTokenPolicyResponse, token_policy,
};

use super::view;
use crate::{
    client::{connection::Connection, names, output::Output, parse},
    failure::Failure,
    terminal::note,
};

/// Whose policy to change, and how. It is read, changed and written back: if somebody else changes it meanwhile, nothing is written.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose: workspaces/WORKSPACE or its id alone, or organizations/ORGANIZATION
    #[arg(value_parser = names::policy)]
    name: String,
    #[command(flatten)]
    changes: Changes,
    /// Show which tokens would end earlier, and when, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write only over the policy of this etag, as `tokend policy get` shows it, instead of over whichever there is now
    #[arg(long)]
    etag: Option<String>,
    /// Don't wait until every replica knows
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// What to change; at least one of it.
#[derive(Debug, Default, clap::Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Whether every token must have an end
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    require_expiry: Option<bool>,
    /// How far a token's end may lie from its making, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    max_lifetime: Option<Duration>,
    /// How long a token lives whose end was not chosen, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    default_lifetime: Option<Duration>,
    /// A scope that tokens may have; can be given several times. All of them: together they replace those of before
    #[arg(long, value_name = "SCOPE")]
    allowed_scope: Vec<String>,
    /// A network that tokens may be used from; can be given several times, likewise
    #[arg(long, value_name = "CIDR")]
    allowed_cidr: Vec<String>,
    /// How many tokens of a workspace may work at once
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_active_tokens: Option<i32>,
    /// Whether tokens that are there already keep their ends, or end no later than the longest lifetime from now
    #[arg(long, value_name = "CHOICE")]
    existing_tokens: Option<ExistingTokens>,
    /// Drop a rule; can be given several times
    #[arg(long, value_name = "RULE")]
    clear: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExistingTokens {
    /// They keep their ends; what an earlier `apply` has left is lifted, as far as it is still ahead
    Keep,
    /// They end no later than the longest lifetime from now
    Apply,
}

/// A rule that can be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rule {
    RequireExpiry,
    MaxLifetime,
    DefaultLifetime,
    AllowedScopes,
    AllowedCidrs,
    MaxActiveTokens,
}

/// Reads the policy, changes it and writes it back.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { name, changes, dry_run, etag, no_wait, output, connection } = args;
    changes.check()?;
    let mut admin = connection.open().await?.workspace_admin();
    let read = admin.get_token_policy(GetTokenPolicyRequest { name: name.clone() }).await?.into_inner().policy.unwrap_or_default();
    let etag = etag.unwrap_or_else(|| read.etag.clone());
    let done = name.clone();
    let policy = Some(TokenPolicy { name, etag, ..changes.made_to(read) });
    let request = UpdateTokenPolicyRequest { policy, validate_only: dry_run, no_wait };
    let answer = admin.update_token_policy(request).await?.into_inner();
    note(&outcome(&answer, dry_run));
    match dry_run {
        true => output.print_as(&view::proposed(&answer), &answer),
        false => output.print_done(&answer, &format!("{done} is updated")),
    }
}

fn outcome(answer: &UpdateTokenPolicyResponse, is_rehearsal: bool) -> String {
    let UpdateTokenPolicyResponse { affected_count, affected, .. } = answer;
    let tokens = if *affected_count == 1 { "1 token".to_owned() } else { format!("{affected_count} tokens") };
    let shown = match affected.len() {
        shown if usize::try_from(*affected_count).is_ok_and(|all| all > shown) => format!("; the first {shown} are shown"),
        _ => String::new(),
    };
    match is_rehearsal {
        true => format!("This would make {tokens} end earlier{shown}. Nothing was changed."),
        false => format!("This makes {tokens} end earlier{shown}."),
    }
}

impl Changes {
    /// Refuses to set and to drop the same rule.
    fn check(&self) -> Result<(), Failure> {
        let both = |rule: &&Rule| match rule {
            Rule::RequireExpiry => self.require_expiry.is_some(),
            Rule::MaxLifetime => self.max_lifetime.is_some(),
            Rule::DefaultLifetime => self.default_lifetime.is_some(),
            Rule::AllowedScopes => !self.allowed_scope.is_empty(),
            Rule::AllowedCidrs => !self.allowed_cidr.is_empty(),
            Rule::MaxActiveTokens => self.max_active_tokens.is_some(),
        };
        match self.clear.iter().find(both).and_then(|rule| rule.to_possible_value()) {
            Some(rule) => Err(Failure::Usage(format!("{} is both set and cleared", rule.get_name()))),
            None => Ok(()),
        }
    }

    fn made_to(self, mut policy: TokenPolicy) -> TokenPolicy {
        let Self {
            require_expiry,
            max_lifetime,
            default_lifetime,
            allowed_scope,
            allowed_cidr,
            max_active_tokens,
            existing_tokens,
            clear,
        } = self;
        for rule in clear {
            match rule {
                Rule::RequireExpiry => policy.require_expiry = false,
                Rule::MaxLifetime => policy.max_lifetime = None,
                Rule::DefaultLifetime => policy.default_lifetime = None,
                Rule::AllowedScopes => policy.allowed_scopes = None,
                Rule::AllowedCidrs => policy.allowed_cidrs = None,
                Rule::MaxActiveTokens => policy.max_active_tokens = None,
            }
        }
        policy.require_expiry = require_expiry.unwrap_or(policy.require_expiry);
        policy.max_lifetime = max_lifetime.or(policy.max_lifetime);
        policy.default_lifetime = default_lifetime.or(policy.default_lifetime);
        policy.allowed_scopes = only(allowed_scope).or(policy.allowed_scopes);
        policy.allowed_cidrs = only(allowed_cidr).or(policy.allowed_cidrs);
        policy.max_active_tokens = max_active_tokens.or(policy.max_active_tokens);
        if let Some(choice) = existing_tokens {
            policy.set_existing_tokens(choice.into());
        }
        policy
    }
}

fn only(names: Vec<String>) -> Option<Selection> {
    (!names.is_empty()).then_some(Selection { all: false, only: names })
}

impl From<ExistingTokens> for token_policy::ExistingTokens {
    fn from(choice: ExistingTokens) -> Self {
        match choice {
            ExistingTokens::Keep => Self::Keep,
            ExistingTokens::Apply => Self::Apply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> TokenPolicy {
        TokenPolicy {
            require_expiry: true,
            max_lifetime: Some(Duration { seconds: 60, nanos: 0 }),
            allowed_scopes: only(vec!["repository".to_owned()]),
            max_active_tokens: Some(7),
            existing_tokens: token_policy::ExistingTokens::Apply.into(),
            etag: "1".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        assert_eq!(Changes::default().made_to(policy()), policy());
        let span = Some(Duration { seconds: 30, nanos: 0 });
        let changed = Changes { default_lifetime: span, ..Default::default() }.made_to(policy());
        assert_eq!(changed, TokenPolicy { default_lifetime: span, ..policy() });
        let lists = Changes { allowed_scope: vec!["project".to_owned()], require_expiry: Some(false), ..Default::default() };
        let changed = lists.made_to(policy());
        let expected = TokenPolicy { allowed_scopes: only(vec!["project".to_owned()]), require_expiry: false, ..policy() };
        assert_eq!(changed, expected);
    }

    #[test]
    fn what_is_cleared_is_no_rule_any_more() {
        let all = Rule::value_variants().to_vec();
        let changed = Changes { clear: all, existing_tokens: Some(ExistingTokens::Keep), ..Default::default() }.made_to(policy());
        let existing_tokens = token_policy::ExistingTokens::Keep.into();
        assert_eq!(changed, TokenPolicy { existing_tokens, etag: "1".to_owned(), ..Default::default() });
    }

    #[test]
    fn a_rule_is_not_set_and_cleared_at_once() {
        let both = Changes { clear: vec![Rule::MaxActiveTokens], max_active_tokens: Some(1), ..Default::default() };
        assert!(matches!(both.check(), Err(Failure::Usage(sentence)) if sentence.contains("max-active-tokens")));
        assert!(Changes { clear: vec![Rule::MaxLifetime], max_active_tokens: Some(1), ..Default::default() }.check().is_ok());
    }
}
