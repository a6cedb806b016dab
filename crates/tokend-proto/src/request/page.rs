//! Paging, the same for every list (AIP-158).

use crate::field::Fields;

/// Entries in a page unless another number is asked for.
pub const DEFAULT_PAGE_SIZE: u16 = 50;
/// Most entries in a page; more asked for is this many.
pub const MAX_PAGE_SIZE: u16 = 1_000;

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Most entries, 1 to [`MAX_PAGE_SIZE`].
    pub size: u16,
    /// Where it starts, as the page before told. Empty: at the beginning.
    pub token: String,
}

impl Page {
    pub(super) fn from_fields(fields: &mut Fields, page_size: i32, page_token: String) -> Option<Self> {
        let size = match u16::try_from(page_size) {
            _ if page_size < 0 => {
                fields.refuse("page_size", "must not be negative; zero means the default");
                return None;
            }
            Ok(0) => DEFAULT_PAGE_SIZE,
            Ok(size) => size.min(MAX_PAGE_SIZE),
            Err(_) => MAX_PAGE_SIZE,
        };
        Some(Self { size, token: page_token })
    }
}
