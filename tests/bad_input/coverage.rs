//! The matrix is complete: no field of a request is without rows, of every kind that its type asks for.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    audit_log, bulk, callers,
    case::{Aspect, Case, Expect},
    create_token,
    descriptors::{Field, Kind, rpcs},
    filters, leaks, names, organizations, paging, policies, presented, rotate_token,
    run::tell,
    sizes,
    values::Values,
    verify, wire, workspace_states, workspaces,
};

/// Makes rows.
type List = fn(&Values) -> Vec<Case>;

/// Every list of rows.
const LISTS: [(&str, List); 17] = [
    ("audit_log", audit_log::cases),
    ("bulk", bulk::cases),
    ("callers", callers::cases),
    ("create_token", create_token::cases),
    ("filters", filters::cases),
    ("leaks", leaks::cases),
    ("names", names::cases),
    ("organizations", organizations::cases),
    ("paging", paging::cases),
    ("policies", policies::cases),
    ("presented", presented::cases),
    ("rotate_token", rotate_token::cases),
    ("sizes", sizes::cases),
    ("verify", verify::cases),
    ("wire", wire::cases),
    ("workspace_states", workspace_states::cases),
    ("workspaces", workspaces::cases),
];

/// What a field has no rows for, and why.
const EXEMPT: [(&str, Aspect, &str); 2] = [
    ("AuditLog/WatchAuditEvents after_sequence", Aspect::Largest, "after the last event there is nothing to tell yet"),
    ("TokenAdmin/CreateToken labels", Aspect::Duplicate, "a key twice on the wire is told by its rows"),
];

#[test]
fn every_field_of_every_request_has_its_rows() {
    let values = Values::example();
    let (mut covered, mut total, mut accepted) = (BTreeMap::<String, BTreeSet<Aspect>>::new(), 0, 0);
    for (list, cases) in LISTS {
        let cases = cases(&values);
        tell(&format!("bad-input matrix: {list:>12} {:>5} rows", cases.len()));
        total += cases.len();
        for Case { rpc, field, aspect, expect, .. } in cases {
            accepted += usize::from(!matches!(expect, Expect::Refused { .. }));
            covered.entry(format!("{rpc} {field}")).or_default().insert(aspect);
        }
    }
    let rpcs = rpcs();
    let fields: Vec<_> =
        rpcs.iter().flat_map(|rpc| rpc.fields.iter().map(|field| (format!("{} {}", rpc.name, field.path), field))).collect();
    let wholes: Vec<_> = rpcs.iter().map(|rpc| format!("{} ", rpc.name)).collect();
    tell(&format!(
        "bad-input matrix: {total} rows, {} refused and {accepted} accepted, of {} fields of {} requests, on each database",
        total - accepted,
        fields.len(),
        rpcs.len()
    ));

    let lacks = |name: &str, aspect: Aspect| !covered.get(name).is_some_and(|aspects| aspects.contains(&aspect));
    let mut missing = Vec::new();
    for (name, field) in &fields {
        for aspect in wanted(field) {
            let is_exempt = EXEMPT.iter().any(|(exempt, what, _)| exempt == name && *what == aspect);
            match (lacks(name, aspect), is_exempt) {
                (true, false) => missing.push(format!("{name} has no row {aspect:?}")),
                (false, true) => missing.push(format!("{name} has a row {aspect:?} and needs no exemption")),
                _ => {}
            }
        }
    }
    for name in &wholes {
        let whole = [Aspect::Empty, Aspect::Largest, Aspect::TooLarge, Aspect::Undecodable];
        missing
            .extend(whole.into_iter().filter(|aspect| lacks(name, *aspect)).map(|aspect| format!("{name}has no row {aspect:?}")));
    }
    let known: BTreeSet<_> = fields.iter().map(|(name, _)| name).chain(&wholes).collect();
    missing.extend(covered.keys().filter(|name| !known.contains(name)).map(|name| format!("there is no field {name}")));
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The kinds of rows that a field needs.
fn wanted(field: &Field) -> Vec<Aspect> {
    use Aspect::{Duplicate, Empty, Hostile, IllFormed, Largest, NotUtf8, Secret, Smallest, TooLarge, Undecodable};
    let of_the_type = match field.kind {
        Kind::Text => vec![Empty, Smallest, Largest, TooLarge, IllFormed, NotUtf8, Undecodable, Duplicate, Hostile, Secret],
        Kind::Bool => vec![Smallest, Largest, Undecodable],
        Kind::Number => vec![Empty, Smallest, Largest, TooLarge, Undecodable],
        Kind::Enum => vec![Empty, Smallest, Largest, TooLarge, IllFormed, Undecodable],
        Kind::Message => vec![Empty, Undecodable],
        Kind::Map => vec![Empty, Smallest, Largest, TooLarge, Duplicate, Undecodable],
    };
    let of_a_list = if field.is_repeated { vec![Empty, Smallest, Largest, TooLarge, Duplicate] } else { Vec::new() };
    of_the_type.into_iter().chain(of_a_list).collect()
}
