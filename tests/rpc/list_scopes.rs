//! `TokenAdmin.ListScopes` returns the catalogue of scopes.

use tokend_client::v1::ListScopesRequest;
use tokend_tests::{Installation, on_both_databases};

on_both_databases!(the_default_catalogue_matches_bitbuckets);

async fn the_default_catalogue_matches_bitbuckets(installation: Installation) {
    let server = installation.start().await;
    let catalogue = server
        .admin()
        .token_admin()
        .list_scopes(ListScopesRequest {})
        .await
        .expect("ListScopes succeeds")
        .into_inner();
    let scopes: Vec<(&str, Vec<&str>)> = catalogue
        .scopes
        .iter()
        .map(|scope| (scope.name.as_str(), scope.implies.iter().map(String::as_str).collect()))
        .collect();
    let expected: [(&str, &[&str]); 15] = [
        ("project", &["repository"]),
        ("project:admin", &[]),
        ("repository", &[]),
        ("repository:write", &["repository"]),
        ("repository:admin", &[]),
        ("repository:delete", &[]),
        ("pullrequest", &["repository"]),
        ("pullrequest:write", &["pullrequest", "repository:write"]),
        ("webhook", &[]),
        ("account", &[]),
        ("pipeline", &[]),
        ("pipeline:write", &["pipeline"]),
        ("pipeline:variable", &[]),
        ("runner", &[]),
        ("runner:write", &["runner"]),
    ];
    assert_eq!(scopes, expected.map(|(name, implies)| (name, implies.to_vec())));
    assert!(catalogue.scopes.iter().all(|scope| !scope.description.is_empty()));
    assert!(catalogue.catalog_version > 0);
}
