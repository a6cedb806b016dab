//! What the tokens of a load are like: their scopes, resources, names, labels and networks.

use std::collections::BTreeMap;

use rand::{Rng, RngExt, SeedableRng, distr::weighted::WeightedIndex, rngs::ChaCha8Rng, seq::IndexedRandom};
use tokend_core::{
    address::{AllowedAddresses, Networks, parse_network},
    credential::SecretDigest,
    labels::Labels,
    name::{CallerId, TokenName, WorkspaceId},
    resource::Resource,
    scope::{GrantedScopes, ScopeCatalog},
    text::{Description, DisplayName},
    time::Timestamp,
    token::Token,
};

use super::{
    life::{Life, Lives, Times, revocation},
    plan::Planned,
};
use crate::BoxError;

/// Scopes that are granted together, and how many of 100 tokens have them.
const SCOPES: [(u32, &[&str]); 8] = [
    (25, &["repository:write", "pipeline:write"]),
    (22, &["repository"]),
    (13, &["repository", "pullrequest"]),
    (12, &["pullrequest:write", "repository:write"]),
    (10, &["runner:write", "pipeline"]),
    (8, &["repository:write", "pipeline:variable", "webhook"]),
    (6, &["project", "account"]),
    (
        4,
        &["project:admin", "repository:admin", "repository:delete", "webhook"],
    ),
];
/// How many of 100 tokens are bound to the whole workspace, a project, a repository.
const RESOURCES: [u32; 3] = [50, 20, 30];
/// How many of 100 tokens have 0, 1, 2, 3 labels.
const LABELS: [u32; 4] = [60, 20, 15, 5];
/// How many of 100 tokens may be used from everywhere, from 1, 2, 3 networks.
const NETWORKS: [u32; 4] = [85, 9, 4, 2];
/// The chance that a token has a description.
const DESCRIBED: f64 = 0.3;

const NAMES: [&str; 10] = [
    "ci",
    "deploy",
    "release bot",
    "nightly backup",
    "dependency updates",
    "mirror",
    "terraform",
    "code search",
    "status page",
    "migration",
];
const TEAMS: [&str; 6] = ["payments", "platform", "search", "mobile", "data", "web"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "test"];
const TOOLS: [&str; 4] = ["jenkins", "renovate", "argo", "custom"];
const CREATORS: [&str; 3] = ["admin", "self-service", "provisioner"];

/// Draws tokens.
pub(super) struct Mix {
    seed: u64,
    lives: Lives,
    grants: Vec<GrantedScopes>,
    scopes: WeightedIndex<u32>,
    resources: WeightedIndex<u32>,
    labels: WeightedIndex<u32>,
    networks: WeightedIndex<u32>,
}

/// A token without its name, its secret and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    resource: Resource,
    display_name: DisplayName,
    description: Description,
    scopes: GrantedScopes,
    allowed_addresses: AllowedAddresses,
    labels: Labels,
    creator: CallerId,
    life: Life,
}

impl Mix {
    pub(super) fn new(seed: u64) -> Result<Self, BoxError> {
        let catalog = ScopeCatalog::bitbucket()?;
        let grant = |(_, scopes): &(u32, &[&str])| GrantedScopes::grant(&catalog, scopes);
        Ok(Self {
            seed,
            lives: Lives::new()?,
            grants: SCOPES.iter().map(grant).collect::<Result<_, _>>()?,
            scopes: WeightedIndex::new(SCOPES.map(|(weight, _)| weight))?,
            resources: WeightedIndex::new(RESOURCES)?,
            labels: WeightedIndex::new(LABELS)?,
            networks: WeightedIndex::new(NETWORKS)?,
        })
    }

    /// Draws the token with this number in a workspace. The result does not depend on which tokens were drawn before.
    pub(super) fn draft(&self, workspace: &Planned, number: u64) -> Result<Draft, BoxError> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        // Each token has a stream of the cipher for itself. No workspace has 2^32 tokens.
        random.set_stream((u64::from(workspace.number) << 32) | number);
        Ok(Draft {
            resource: self.resource(&workspace.id, &mut random)?,
            display_name: display_name(&mut random)?,
            description: description(&mut random)?,
            scopes: self.grants[random.sample(&self.scopes)].clone(),
            allowed_addresses: self.allowed_addresses(&mut random)?,
            labels: self.labels(&mut random)?,
            creator: pick(&CREATORS, &mut random)?.parse()?,
            life: self.lives.draw(&mut random),
        })
    }

    fn resource(&self, workspace: &WorkspaceId, random: &mut ChaCha8Rng) -> Result<Resource, BoxError> {
        let project = random.random_range(1..=20);
        let repository = random.random_range(1..=200);
        let workspace = workspace.name();
        let resource = match random.sample(&self.resources) {
            0 => workspace,
            1 => format!("{workspace}/projects/project-{project}"),
            _ => format!("{workspace}/projects/project-{project}/repositories/repository-{repository}"),
        };
        Ok(Resource::new(resource)?)
    }

    fn allowed_addresses(&self, random: &mut ChaCha8Rng) -> Result<AllowedAddresses, BoxError> {
        let count = random.sample(&self.networks);
        let network = |random: &mut ChaCha8Rng| {
            let [one, two, three, ..] = random.next_u32().to_le_bytes();
            parse_network(&if random.random_bool(0.8) {
                format!("10.{one}.{two}.0/24")
            } else {
                format!("fd00:{one:x}:{two:x}:{three:x}::/64")
            })
        };
        let networks = (0..count).map(|_| network(random)).collect::<Result<_, _>>()?;
        Ok(Networks::new(networks).map_or(AllowedAddresses::Any, AllowedAddresses::Only))
    }

    fn labels(&self, random: &mut ChaCha8Rng) -> Result<Labels, BoxError> {
        let count = random.sample(&self.labels);
        let all = [
            ("team", pick(&TEAMS, random)?),
            ("environment", pick(&ENVIRONMENTS, random)?),
            ("tool", pick(&TOOLS, random)?),
        ];
        let labels = all[..count]
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Ok(Labels::new(labels.collect::<BTreeMap<_, _>>())?)
    }
}

impl Draft {
    /// Returns the token that is stored at `now`.
    pub(super) fn token(self, name: TokenName, digest: SecretDigest, now: Timestamp) -> Result<Token, BoxError> {
        let Times { create, expiry, revoke } = self.life.times(now);
        let revocation = revoke.map(|at| revocation(at, self.creator.clone())).transpose()?;
        Ok(Token {
            name,
            digest,
            resource: self.resource,
            display_name: self.display_name,
            description: self.description,
            scopes: self.scopes,
            allowed_addresses: self.allowed_addresses,
            labels: self.labels,
            create_time: create,
            creator: self.creator,
            own_expiry: expiry,
            requested_expiry: expiry,
            revocation,
            rotated_from: None,
            rotated_to: None,
        })
    }
}

fn display_name(random: &mut ChaCha8Rng) -> Result<DisplayName, BoxError> {
    let (name, number) = (pick(&NAMES, random)?, random.random_range(1..=99));
    Ok(DisplayName::new(format!("{name} {number}"))?)
}

fn description(random: &mut ChaCha8Rng) -> Result<Description, BoxError> {
    let (team, ticket) = (pick(&TEAMS, random)?, random.random_range(100..100_000));
    Ok(Description::new(if random.random_bool(DESCRIBED) {
        format!("For the {team} team, see ticket {ticket}.")
    } else {
        String::new()
    })?)
}

fn pick<'a>(from: &[&'a str], random: &mut ChaCha8Rng) -> Result<&'a str, BoxError> {
    Ok(from.choose(random).copied().ok_or("there is nothing to choose from")?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::plan::{Load, Plan},
        *,
    };

    fn plan() -> Plan {
        Plan::new(Load::of(1_000), 0).expect("it is valid")
    }

    fn drafts(seed: u64) -> Vec<Draft> {
        let (mix, plan) = (Mix::new(seed).expect("the scopes are in the catalog"), plan());
        let draft = |number| mix.draft(&plan.workspaces()[0], number).expect("it is valid");
        (0..2_000).map(draft).collect()
    }

    #[test]
    fn a_token_depends_on_the_seed_the_workspace_and_its_number() {
        let drafts = [1, 1, 2].map(drafts);
        assert_eq!(drafts[0], drafts[1]);
        assert_ne!(drafts[0], drafts[2]);
        let (mix, plan) = (Mix::new(1).expect("the scopes are in the catalog"), plan());
        let draft = |index: usize| mix.draft(&plan.workspaces()[index], 7).expect("it is valid");
        assert_eq!(draft(0), drafts[0][7], "whatever was drawn before");
        assert_ne!(draft(1).life, draft(0).life);
    }

    #[test]
    fn tokens_differ_in_everything() {
        let drafts = drafts(1);
        let count = |key: fn(&Draft) -> String| drafts.iter().map(key).collect::<BTreeSet<_>>().len();
        assert_eq!(count(|draft| format!("{:?}", draft.scopes.granted())), SCOPES.len());
        assert_eq!(count(|draft| draft.labels.iter().count().to_string()), LABELS.len());
        let networks = |draft: &Draft| draft.allowed_addresses.networks().len().to_string();
        assert_eq!(count(networks), NETWORKS.len());
        assert_eq!(count(|draft| draft.resource.as_str().split('/').count().to_string()), 3);
        assert!(count(|draft| draft.display_name.to_string()) > 500);
    }
}
