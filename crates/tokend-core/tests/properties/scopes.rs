//! Scopes: the default catalog, implied scopes, and that no later catalog extends a grant.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tokend_core::scope::{CatalogError, GrantError, GrantedScopes, ScopeCatalog, ScopeSet};

use crate::samples::names;

/// The table of the contract: names, and what each implies directly.
const CONTRACT: [(&str, &[&str]); 15] = [
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

fn bitbucket() -> ScopeCatalog {
    ScopeCatalog::bitbucket().expect("well-formed")
}

fn set<S: AsRef<str>>(catalog: &ScopeCatalog, names: &[S]) -> ScopeSet {
    names.iter().fold(ScopeSet::EMPTY, |set, name| {
        set.union(catalog.scope(name.as_ref()).expect("of the catalogue"))
    })
}

fn listed(catalog: &ScopeCatalog, set: ScopeSet) -> Vec<&str> {
    catalog.names(set).map(|name| name.as_str()).collect()
}

/// Scopes by number, each with the numbers that it implies, and the order in which they are written.
#[derive(Clone, Debug)]
struct Graph {
    implies: Vec<BTreeSet<usize>>,
    order: Vec<usize>,
}

fn name(scope: usize) -> String {
    format!("s{scope}:x")
}

impl Graph {
    fn text(&self) -> String {
        let scopes = self.order.iter().map(|&scope| {
            let implies: Vec<_> = self.implies[scope].iter().map(|&implied| name(implied)).collect();
            format!(
                "[[scopes]]\nname = {:?}\ndescription = \"\"\nimplies = {implies:?}\n",
                name(scope)
            )
        });
        format!("version = 7\n{}", scopes.collect::<String>())
    }

    fn catalog(&self) -> ScopeCatalog {
        ScopeCatalog::from_toml(&self.text()).expect("no cycle")
    }

    /// Returns what `scope` reaches by one link or more, by walking the graph.
    fn reached(&self, scope: usize) -> BTreeSet<usize> {
        let (mut seen, mut ahead) = (BTreeSet::new(), vec![scope]);
        while let Some(from) = ahead.pop() {
            ahead.extend(self.implies[from].iter().filter(|&&next| seen.insert(next)));
        }
        seen
    }

    fn closed(&self, scopes: &BTreeSet<usize>) -> BTreeSet<usize> {
        scopes
            .iter()
            .flat_map(|&scope| self.reached(scope))
            .chain(scopes.iter().copied())
            .collect()
    }

    fn set(&self, catalog: &ScopeCatalog, scopes: &BTreeSet<usize>) -> ScopeSet {
        set(catalog, &scopes.iter().map(|&scope| name(scope)).collect::<Vec<_>>())
    }
}

/// Random links among up to 12 scopes. If `acyclic`, links lead to lower numbers only.
fn graphs(acyclic: bool) -> impl Strategy<Value = Graph> {
    (1..12usize).prop_flat_map(move |count| {
        let links = prop::collection::vec(prop::collection::btree_set(0..count, 0..3), count);
        (links, Just((0..count).collect::<Vec<_>>()).prop_shuffle()).prop_map(move |(mut implies, order)| {
            if acyclic {
                implies
                    .iter_mut()
                    .enumerate()
                    .for_each(|(scope, implied)| implied.retain(|&next| next < scope));
            }
            Graph { implies, order }
        })
    })
}

/// A catalog and two sets of its scopes.
fn graphs_with_sets() -> impl Strategy<Value = (Graph, BTreeSet<usize>, BTreeSet<usize>)> {
    graphs(true).prop_flat_map(|graph| {
        let scopes = || prop::collection::btree_set(0..graph.implies.len(), 0..=graph.implies.len());
        let (a, b) = (scopes(), scopes());
        (Just(graph), a, b)
    })
}

fn assert_closure_operator(catalog: &ScopeCatalog, a: ScopeSet, b: ScopeSet) -> Result<(), TestCaseError> {
    let (closed_a, closed_b) = (catalog.closure(a), catalog.closure(b));
    prop_assert!(a.is_subset(closed_a), "extensive");
    prop_assert_eq!(catalog.closure(closed_a), closed_a, "idempotent");
    prop_assert!(closed_a.is_subset(catalog.closure(a.union(b))), "monotone");
    prop_assert_eq!(
        catalog.closure(a.union(b)),
        closed_a.union(closed_b),
        "the closure of a union is the union of the closures"
    );
    Ok(())
}

#[test]
fn the_default_catalogue_is_the_contracts() {
    let catalog = bitbucket();
    let ours: Vec<_> = catalog
        .scopes()
        .iter()
        .map(|scope| (scope.name.as_str(), scope.implies.clone()))
        .collect();
    let theirs: Vec<_> = CONTRACT.iter().map(|(name, implies)| (*name, names(implies))).collect();
    assert_eq!(ours, theirs);
    assert_eq!(catalog.version(), 1);
    assert!(catalog.scopes().iter().all(|scope| !scope.description.is_empty()));
}

#[test]
fn what_the_default_scopes_grant() {
    let catalog = bitbucket();
    let closed = |name: &str| listed(&catalog, catalog.closure(set(&catalog, &[name])));
    assert_eq!(
        closed("pullrequest:write"),
        ["repository", "repository:write", "pullrequest", "pullrequest:write"]
    );
    assert_eq!(closed("project"), ["project", "repository"]);
    // Permission to administer does not include permission to read.
    assert_eq!(closed("project:admin"), ["project:admin"]);
    assert_eq!(closed("repository:admin"), ["repository:admin"]);
    assert_eq!(closed("pipeline:variable"), ["pipeline:variable"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_closure_matches_a_walk_of_the_graph((graph, a, b) in graphs_with_sets()) {
        let catalog = graph.catalog();
        let (set_a, set_b) = (graph.set(&catalog, &a), graph.set(&catalog, &b));
        prop_assert_eq!(catalog.closure(set_a), graph.set(&catalog, &graph.closed(&a)));
        assert_closure_operator(&catalog, set_a, set_b)?;
    }

    #[test]
    fn the_default_catalogue_has_the_same_closure(
        a in prop::sample::subsequence(CONTRACT.map(|(name, _)| name).to_vec(), 0..=15),
        b in prop::sample::subsequence(CONTRACT.map(|(name, _)| name).to_vec(), 0..=15),
    ) {
        let catalog = bitbucket();
        assert_closure_operator(&catalog, set(&catalog, &a), set(&catalog, &b))?;
    }

    /// A catalog with a cycle is rejected with a scope on the cycle; one without a cycle is accepted.
    #[test]
    fn cycles_are_refused(graph in graphs(false)) {
        let on_a_cycle: Vec<_> = (0..graph.implies.len())
            .filter(|&scope| graph.reached(scope).contains(&scope))
            .map(name)
            .collect();
        match ScopeCatalog::from_toml(&graph.text()) {
            Ok(_) => prop_assert!(on_a_cycle.is_empty()),
            Err(CatalogError::Cycle(named)) => prop_assert!(on_a_cycle.iter().any(|scope| scope == named.as_str())),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// A set keeps exactly the scopes that were put in, through conversion and set operations.
    #[test]
    fn a_set_keeps_exactly_its_scopes((graph, a, b) in graphs_with_sets()) {
        let catalog = graph.catalog();
        let (set_a, set_b) = (graph.set(&catalog, &a), graph.set(&catalog, &b));
        let in_order: Vec<_> = graph.order.iter().filter(|scope| a.contains(scope)).map(|&scope| name(scope)).collect();
        prop_assert_eq!(listed(&catalog, set_a), in_order);
        prop_assert_eq!(set_a.union(set_b), graph.set(&catalog, &(&a | &b)));
        prop_assert_eq!(set_a.difference(set_b), graph.set(&catalog, &(&a - &b)));
        prop_assert_eq!(set_a.is_subset(set_b), a.is_subset(&b));
        prop_assert_eq!(set_a.is_empty(), a.is_empty());
    }

    /// Under any later catalog, an old grant keeps its scopes, except those that were
    /// removed.
    #[test]
    fn a_later_catalogue_never_widens_an_old_grant((then, asked, _) in graphs_with_sets(), now in graphs(true)) {
        prop_assume!(!asked.is_empty());
        let (catalog, later) = (then.catalog(), now.catalog());
        let asked_names: Vec<_> = asked.iter().map(|&scope| name(scope)).collect();
        let granted = GrantedScopes::grant(&catalog, &asked_names).expect("known and once each");
        let had = then.closed(&asked);
        prop_assert_eq!(granted.compile(&catalog), then.set(&catalog, &had));
        let kept = had.into_iter().filter(|&scope| scope < now.implies.len()).collect();
        prop_assert_eq!(granted.compile(&later), now.set(&later, &kept));

        // So does a grant that was stored in the meantime.
        let stored = GrantedScopes::from_stored(
            granted.catalog_version(),
            granted.granted().to_vec(),
            granted.effective().to_vec(),
        );
        prop_assert_eq!(stored, Some(granted));
    }
}

#[test]
fn an_old_grant_is_not_widened_by_a_new_implication() {
    let old =
        ScopeCatalog::from_toml("version = 1\n[[scopes]]\nname = \"read\"\ndescription = \"\"\n").expect("well-formed");
    let new = ScopeCatalog::from_toml(
        "version = 2\n[[scopes]]\nname = \"write\"\ndescription = \"\"\n\
         [[scopes]]\nname = \"read\"\ndescription = \"\"\nimplies = [\"write\"]\n",
    )
    .expect("well-formed");
    let granted = GrantedScopes::grant(&old, &["read"]).expect("known");
    assert_eq!(granted.catalog_version(), 1);
    assert_eq!(listed(&new, granted.compile(&new)), ["read"]);
    assert_eq!(
        listed(
            &new,
            GrantedScopes::grant(&new, &["read"]).expect("known").compile(&new)
        ),
        ["write", "read"]
    );
}

/// One scope more than each word of a set holds, in the order that needs the most passes.
#[test]
fn the_largest_catalogue_has_a_closure() {
    let count = ScopeSet::CAPACITY;
    assert_eq!(count, 256);
    let implies = (0..count)
        .map(|scope| (scope > 0).then(|| scope - 1).into_iter().collect())
        .collect();
    let chain = Graph {
        implies,
        order: (0..count).rev().collect(),
    };
    let catalog = chain.catalog();
    assert_eq!(catalog.names(catalog.closure(set(&catalog, &[name(255)]))).count(), 256);
    assert_eq!(
        listed(&catalog, catalog.closure(set(&catalog, &[name(1)]))),
        [name(1), name(0)]
    );
    assert_eq!(catalog.closure(set(&catalog, &[name(0)])), set(&catalog, &[name(0)]));
}

#[test]
fn every_fault_of_a_catalogue_has_its_error() {
    let one = |name: &str, implies: &str| {
        format!("[[scopes]]\nname = \"{name}\"\ndescription = \"\"\nimplies = [{implies}]\n")
    };
    let read = |scopes: &str| ScopeCatalog::from_toml(&format!("version = 1\n{scopes}")).map(|_| ());
    let scope = |text: &str| names(&[text]).remove(0);

    assert_eq!(read(&one("a", "")), Ok(()));
    assert_eq!(read("scopes = []"), Err(CatalogError::Size(0)));
    let many = |count: usize| (0..count).map(|scope| one(&name(scope), "")).collect::<String>();
    assert_eq!(read(&many(256)), Ok(()));
    assert_eq!(read(&many(257)), Err(CatalogError::Size(257)));

    assert_eq!(
        read(&[one("a", ""), one("b", ""), one("a", "")].concat()),
        Err(CatalogError::Duplicate(scope("a")))
    );
    for bad in [
        "",
        "A",
        "a b",
        "a:",
        ":a",
        "a::b",
        "1a",
        "a:1",
        "\u{e4}",
        &"a".repeat(65),
    ] {
        assert_eq!(read(&one(bad, "")), Err(CatalogError::Name(bad.to_owned())), "{bad}");
    }
    let unknown = |implied: &str| {
        Err(CatalogError::UnknownImplied {
            scope: scope("a"),
            implied: implied.to_owned(),
        })
    };
    assert_eq!(read(&one("a", "\"b\"")), unknown("b"));
    assert_eq!(read(&one("a", "\"A\"")), unknown("A"));
    assert_eq!(read(&one("a", "\"a\"")), Err(CatalogError::Cycle(scope("a"))));
    let ring = [one("c", "\"a\""), one("a", "\"b\""), one("b", "\"a\"")].concat();
    assert_eq!(
        read(&ring),
        Err(CatalogError::Cycle(scope("a"))),
        "c leads to the cycle but is not part of it"
    );

    for text in [
        "",
        "scopes = 1",
        "[[scopes]]\nname = \"a\"",
        "[[scopes]]\nname = \"a\"\ndescription = \"\"\nimplied = []",
        "\0",
    ] {
        assert!(matches!(read(text), Err(CatalogError::Syntax(_))), "{text}");
    }
    let no_version = ScopeCatalog::from_toml(&one("a", "")).map(|_| ());
    assert!(matches!(no_version, Err(CatalogError::Syntax(error)) if error.contains("version")));
}

#[test]
fn invalid_grants_are_rejected() {
    let catalog = bitbucket();
    let grant = |asked: &[&str]| GrantedScopes::grant(&catalog, asked);
    assert_eq!(grant(&[]), Err(GrantError::Empty));
    assert_eq!(
        grant(&["webhook", "nope"]),
        Err(GrantError::Unknown {
            index: 1,
            scope: "\"nope\"".to_owned()
        })
    );
    for near_miss in ["", "Webhook", "webhook ", "webhook:", "repository:*", "*"] {
        assert!(
            matches!(grant(&[near_miss]), Err(GrantError::Unknown { index: 0, .. })),
            "{near_miss:?}"
        );
    }
    assert_eq!(
        grant(&["webhook", "runner", "webhook"]),
        Err(GrantError::Duplicate {
            index: 2,
            scope: "\"webhook\"".to_owned()
        })
    );
    // A scope that another one implies is not a duplicate.
    let both = grant(&["repository:write", "repository"]).expect("known and once each");
    assert_eq!(both.granted(), names(&["repository", "repository:write"]));
    let long = grant(&["a".repeat(1 << 20).as_str()]).expect_err("unknown").to_string();
    assert!(long.len() < 160, "{long}");
}

#[test]
fn an_invalid_stored_grant_is_rejected() {
    let stored = |granted: &[&str], effective: &[&str]| GrantedScopes::from_stored(1, names(granted), names(effective));
    assert!(stored(&["a"], &["b", "a"]).is_some());
    assert!(stored(&[], &[]).is_none());
    assert!(stored(&[], &["a"]).is_none());
    assert!(stored(&["a"], &[]).is_none());
    assert!(stored(&["a", "b"], &["a"]).is_none());
}
