//! `tokend policy update`: changes some rules of a policy.

use clap::{ValueEnum, builder::BoolishValueParser};
use prost_types::Duration;
use tokend_client::v1::{
    GetTokenPolicyRequest, Selection, TokenPolicy, UpdateTokenPolicyRequest, UpdateTokenPolicyResponse, token_policy,
};

use super::view::{self, Saved};
use crate::{
    client::{
        connection::Connection,
        names::{Named, PolicyName},
        output::{Output, first_shown, tokens_in_words},
        parse,
        single::NoWait,
    },
    command_error::CommandError,
    terminal::note,
};

/// Reads the policy, changes it, and writes it back. If the policy is changed in between, nothing is written.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    policy: PolicyName,
    #[command(flatten)]
    changes: Changes,
    /// Show which tokens would end earlier, and when, without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Fail unless the policy still has this etag, as `tokend policy get` shows it
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    no_wait: NoWait,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// The changes to a policy. At least one is required.
#[derive(Debug, Default, clap::Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Whether every token must expire
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    require_expiry: Option<bool>,
    /// The longest lifetime of a token, counted from its creation, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    max_lifetime: Option<Duration>,
    /// The lifetime of a token that is created without an expiry, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    default_lifetime: Option<Duration>,
    /// A scope that tokens may have; repeatable. The scopes given replace the previous list
    #[arg(long, value_name = "SCOPE")]
    allowed_scope: Vec<String>,
    /// A network that tokens may be used from; repeatable. The networks given replace the previous list
    #[arg(long, value_name = "CIDR")]
    allowed_cidr: Vec<String>,
    /// How many active tokens a workspace may have
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_active_tokens: Option<i32>,
    /// Whether existing tokens keep their expiry, or expire within the longest lifetime, counted from now
    #[arg(long, value_name = "CHOICE")]
    existing_tokens: Option<ExistingTokens>,
    /// Remove a rule; repeatable
    #[arg(long, value_name = "RULE")]
    clear: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExistingTokens {
    /// Keep the expiry of existing tokens. A deadline that an earlier `apply` set is lifted unless it has passed
    Keep,
    /// Make existing tokens expire within the longest lifetime, counted from now
    Apply,
}

/// A rule that can be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rule {
    RequireExpiry,
    MaxLifetime,
    DefaultLifetime,
    AllowedScopes,
    AllowedCidrs,
    MaxActiveTokens,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> Result<(), CommandError> {
    let Args {
        policy,
        changes,
        dry_run,
        etag,
        no_wait: NoWait { no_wait },
        output,
        connection,
    } = args;
    changes.check()?;
    let name = policy.into_name();
    let mut admin = connection.open().await?.workspace_admin();
    let read = admin
        .get_token_policy(GetTokenPolicyRequest { name: name.clone() })
        .await?
        .into_inner()
        .policy
        .unwrap_or_default();
    let etag = etag.unwrap_or_else(|| read.etag.clone());
    let done = format!("{name} is updated");
    let policy = Some(TokenPolicy {
        name,
        etag,
        ..changes.apply(read)
    });
    let request = UpdateTokenPolicyRequest {
        policy,
        validate_only: dry_run,
        no_wait,
    };
    let answer = admin.update_token_policy(request).await?.into_inner();
    note(&outcome(&answer, dry_run));
    if dry_run {
        output.print_as(&view::updated(&answer, Saved::No), &answer)
    } else {
        output.print_done(&answer, &done)
    }
}

fn outcome(answer: &UpdateTokenPolicyResponse, is_dry_run: bool) -> String {
    let tokens = tokens_in_words(answer.affected_count);
    let shown = first_shown(answer.affected.len(), answer.affected_count);
    if is_dry_run {
        format!("This would make {tokens} end earlier{shown}. Nothing was changed.")
    } else {
        format!("This makes {tokens} end earlier{shown}.")
    }
}

impl Changes {
    /// Rejects changes that set and remove the same rule.
    fn check(&self) -> Result<(), CommandError> {
        let both = |rule: &&Rule| match rule {
            Rule::RequireExpiry => self.require_expiry.is_some(),
            Rule::MaxLifetime => self.max_lifetime.is_some(),
            Rule::DefaultLifetime => self.default_lifetime.is_some(),
            Rule::AllowedScopes => !self.allowed_scope.is_empty(),
            Rule::AllowedCidrs => !self.allowed_cidr.is_empty(),
            Rule::MaxActiveTokens => self.max_active_tokens.is_some(),
        };
        match self.clear.iter().find(both).and_then(|rule| rule.to_possible_value()) {
            Some(rule) => Err(CommandError::Usage(format!(
                "{} is both set and cleared",
                rule.get_name()
            ))),
            None => Ok(()),
        }
    }

    fn apply(self, mut policy: TokenPolicy) -> TokenPolicy {
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
    (!names.is_empty()).then_some(Selection {
        all: false,
        only: names,
    })
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
    fn rules_that_are_not_named_stay() {
        assert_eq!(Changes::default().apply(policy()), policy());
        let span = Some(Duration { seconds: 30, nanos: 0 });
        let changed = Changes {
            default_lifetime: span,
            ..Default::default()
        }
        .apply(policy());
        assert_eq!(
            changed,
            TokenPolicy {
                default_lifetime: span,
                ..policy()
            }
        );
        let lists = Changes {
            allowed_scope: vec!["project".to_owned()],
            require_expiry: Some(false),
            ..Default::default()
        };
        let changed = lists.apply(policy());
        let expected = TokenPolicy {
            allowed_scopes: only(vec!["project".to_owned()]),
            require_expiry: false,
            ..policy()
        };
        assert_eq!(changed, expected);
    }

    #[test]
    fn cleared_rules_are_removed() {
        let all = Rule::value_variants().to_vec();
        let changed = Changes {
            clear: all,
            existing_tokens: Some(ExistingTokens::Keep),
            ..Default::default()
        }
        .apply(policy());
        let existing_tokens = token_policy::ExistingTokens::Keep.into();
        assert_eq!(
            changed,
            TokenPolicy {
                existing_tokens,
                etag: "1".to_owned(),
                ..Default::default()
            }
        );
    }

    #[test]
    fn a_rule_can_not_be_both_set_and_cleared() {
        let both = Changes {
            clear: vec![Rule::MaxActiveTokens],
            max_active_tokens: Some(1),
            ..Default::default()
        };
        assert!(matches!(both.check(), Err(CommandError::Usage(sentence)) if sentence.contains("max-active-tokens")));
        assert!(
            Changes {
                clear: vec![Rule::MaxLifetime],
                max_active_tokens: Some(1),
                ..Default::default()
            }
            .check()
            .is_ok()
        );
    }
}
