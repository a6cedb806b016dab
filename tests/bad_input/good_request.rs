//! Returns an accepted request for every RPC of the contract.

use crate::{
    audit_log, bulk, callers,
    case::{Case, Expect},
    create_token, filters, leaks, names, organizations, paging, policies, presented, rotate_token,
    values::Values,
    verify, watch, workspace_states, workspaces,
};

/// Returns rows for these values.
pub(crate) type List = fn(&Values) -> Vec<Case>;

/// Every list of rows for single fields.
pub(crate) const LISTS_OF_FIELDS: [(&str, List); 16] = [
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
    ("verify", verify::cases),
    ("watch", watch::cases),
    ("workspace_states", workspace_states::cases),
    ("workspaces", workspaces::cases),
];

/// Returns a request that is accepted. An RPC for which [`Values`] has none gets the request of its first row that is
/// accepted.
pub(crate) fn good_request(values: &Values, rpc: &str) -> Vec<u8> {
    values.good_request(rpc).unwrap_or_else(|| {
        let rows = LISTS_OF_FIELDS.iter().flat_map(|(_, cases)| cases(values));
        rows.into_iter()
            .find(|case| case.rpc == rpc && matches!(case.expect, Expect::Accepted))
            .unwrap_or_else(|| panic!("{rpc} is new: give it rows of which one is accepted"))
            .request
            .to_vec()
    })
}
