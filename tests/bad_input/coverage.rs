//! The matrix is complete: every request field has rows of every kind that its type requires.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    case::{Aspect, Case, Expect},
    descriptors::{Field, Kind, rpcs},
    good_request::{LISTS_OF_FIELDS, List},
    run::print,
    sizes,
    values::Values,
    wire,
};

/// Every list of rows for whole messages.
const LISTS_OF_MESSAGES: [(&str, List); 2] = [("sizes", sizes::cases), ("wire", wire::cases)];

/// The kinds of rows that a field lacks on purpose, and why.
const EXEMPT: [(&str, Aspect, &str); 2] = [
    (
        "AuditLog/WatchAuditEvents after_sequence",
        Aspect::Largest,
        "a watch after the last event has no event to return yet",
    ),
    (
        "TokenAdmin/CreateToken labels",
        Aspect::Duplicate,
        "the rows of the labels cover a repeated key",
    ),
];

#[test]
fn every_request_field_has_rows() {
    let values = Values::example();
    let (mut covered, mut total, mut accepted) = (BTreeMap::<String, BTreeSet<Aspect>>::new(), 0, 0);
    for (list, cases) in LISTS_OF_FIELDS.into_iter().chain(LISTS_OF_MESSAGES) {
        let cases = cases(&values);
        print(&format!("bad-input matrix: {list:>12} {:>5} rows", cases.len()));
        total += cases.len();
        for Case {
            rpc,
            field,
            aspect,
            expect,
            ..
        } in cases
        {
            accepted += usize::from(!matches!(expect, Expect::Refused { .. }));
            covered.entry(format!("{rpc} {field}")).or_default().insert(aspect);
        }
    }
    let rpcs = rpcs();
    let fields: Vec<_> = rpcs
        .iter()
        .flat_map(|rpc| {
            rpc.fields
                .iter()
                .map(|field| (format!("{} {}", rpc.name, field.path), field))
        })
        .collect();
    let wholes: Vec<_> = rpcs.iter().map(|rpc| format!("{} ", rpc.name)).collect();
    print(&format!(
        "bad-input matrix: {total} rows, {} refused and {accepted} accepted, \
         of {} fields of {} requests, on each database",
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
        missing.extend(
            whole
                .into_iter()
                .filter(|aspect| lacks(name, *aspect))
                .map(|aspect| format!("{name}has no row {aspect:?}")),
        );
    }
    let known: BTreeSet<_> = fields.iter().map(|(name, _)| name).chain(&wholes).collect();
    missing.extend(
        covered
            .keys()
            .filter(|name| !known.contains(name))
            .map(|name| format!("there is no field {name}")),
    );
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The kinds of rows that a field needs.
fn wanted(field: &Field) -> Vec<Aspect> {
    use Aspect::{Duplicate, Empty, Hostile, IllFormed, Largest, NotUtf8, Secret, Smallest, TooLarge, Undecodable};
    let of_the_type = match field.kind {
        Kind::Text => vec![
            Empty,
            Smallest,
            Largest,
            TooLarge,
            IllFormed,
            NotUtf8,
            Undecodable,
            Duplicate,
            Hostile,
            Secret,
        ],
        Kind::Bool => vec![Smallest, Largest, Undecodable],
        Kind::Number => vec![Empty, Smallest, Largest, TooLarge, Undecodable],
        Kind::Enum => vec![Empty, Smallest, Largest, TooLarge, IllFormed, Undecodable],
        Kind::Message => vec![Empty, Undecodable],
        Kind::Map => vec![Empty, Smallest, Largest, TooLarge, Duplicate, Undecodable],
    };
    let of_a_list = if field.is_repeated {
        vec![Empty, Smallest, Largest, TooLarge, Duplicate]
    } else {
        Vec::new()
    };
    of_the_type.into_iter().chain(of_a_list).collect()
}
