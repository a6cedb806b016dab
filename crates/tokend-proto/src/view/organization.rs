use tokend_core::organization::Organization;

use crate::{field::time_message, v1};

/// An organization.
#[must_use]
pub fn organization_message(organization: Organization) -> v1::Organization {
    let Organization { id, display_name, create_time, policy: _ } = organization;
    v1::Organization { name: id.name(), display_name: display_name.into(), create_time: Some(time_message(create_time)) }
}
