//! Workspaces, the organizations that they belong to, and their policies.

pub(crate) mod organization_reads;
pub(crate) mod organization_writes;
pub(crate) mod policy_impact;
pub(crate) mod reads;
pub(crate) mod row;
pub(crate) mod tables;
pub(crate) mod with_policy;
pub(crate) mod writes;
