use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::{collection::btree_map, option, prelude::*, sample::subsequence};
use prost::Message;
use tokend_core::{
    address::{AllowedAddresses, Networks},
    credential::{CredentialId, SecretDigest},
    feed::Revision,
    labels::Labels,
    name::TokenName,
    resource::Resource,
    scope::{GrantedScopes, ScopeCatalog},
    text::{Description, DisplayName},
    time::Timestamp,
    token::{Expiry, Token},
    verdict::Verdict,
};

use super::*;
use crate::view::Verification;

const NETWORKS: [&str; 3] = ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"];
const SCOPES: [&str; 4] = ["repository", "repository:write", "pullrequest", "webhook"];

fn at(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros).expect("a time")
}

fn tokens() -> impl Strategy<Value = Token> {
    let names = (
        "[a-z][a-z0-9]{2,39}",
        any::<[u8; CredentialId::BYTES]>(),
        option::of("[a-z]{1,60}"),
        "[a-z]([a-z ]{0,98}[a-z])?",
    );
    let sets = (
        subsequence(SCOPES.to_vec(), 1..=SCOPES.len()),
        subsequence(NETWORKS.to_vec(), 0..=NETWORKS.len()),
        btree_map("[a-z]{1,20}", "[a-z0-9]{0,40}", 0..5),
    );
    (names, sets).prop_map(|((workspace, id, project, display_name), (scopes, networks, labels))| {
        let resource = match project {
            Some(project) => format!("workspaces/{workspace}/projects/{project}"),
            None => format!("workspaces/{workspace}"),
        };
        let scopes: Vec<_> = scopes.iter().map(|scope| scope.parse().expect("a scope")).collect();
        let networks: Vec<_> = networks
            .iter()
            .map(|network| network.parse().expect("a network"))
            .collect();
        Token {
            name: TokenName {
                workspace: workspace.parse().expect("an id"),
                id: CredentialId::from_bytes(id),
            },
            digest: SecretDigest::from_stored("0".parse().expect("a kid"), [0; SecretDigest::BYTES]),
            resource: Resource::new(resource).expect("a resource"),
            display_name: DisplayName::new(display_name).expect("a name"),
            description: Description::new("not in the answer".to_owned()).expect("a text"),
            scopes: GrantedScopes::from_stored(1, scopes.clone(), scopes).expect("scopes"),
            allowed_addresses: Networks::new(networks).map_or(AllowedAddresses::Any, AllowedAddresses::Only),
            labels: Labels::new(labels.into_iter().collect::<BTreeMap<_, _>>()).expect("labels"),
            create_time: at(0),
            creator: "ci".parse().expect("an id"),
            own_expiry: Expiry::Never,
            requested_expiry: Expiry::Never,
            revocation: None,
            rotated_from: None,
            rotated_to: None,
        }
    })
}

proptest! {
    #[test]
    fn it_is_the_message_of_the_other_way(
        token in tokens(),
        (end, now) in (option::of(1_i64..4_000_000_000_000_000), 0_i64..4_000_000_000_000_000),
        (epoch, number) in (any::<u64>(), any::<u64>()),
        lease in 0_u64..40_000_000,
    ) {
        let known = || KnownToken {
            token: Arc::new(token.clone()),
            expiry: end.map_or(Expiry::Never, |end| Expiry::At(at(end))),
            now: at(now),
            revision: Revision { epoch, number },
            cacheable_for: Duration::from_micros(lease),
        };
        let expected = Verification { verdict: Verdict::Allow, known: Some(known()) }
            .into_message(&ScopeCatalog::bitbucket().expect("a catalog"));
        let mut bytes = b"before".to_vec();
        known().encode_allow(&mut bytes);
        let bytes = bytes.strip_prefix(b"before").expect("nothing before it is touched");
        prop_assert_eq!(v1::VerifyResponse::decode(bytes).expect("a message"), expected.clone());
        prop_assert_eq!(bytes, expected.encode_to_vec());

        let mut bytes = Vec::new();
        known().encode_allow_of_batch(&mut bytes);
        known().encode_allow_of_batch(&mut bytes);
        let responses = vec![expected.clone(), expected];
        prop_assert_eq!(bytes, v1::BatchVerifyResponse { responses }.encode_to_vec());
    }
}
