//! Paging, the same for every list (AIP-158).

use crate::field::{Checked, Fields};

/// The default number of entries in a page.
pub const DEFAULT_PAGE_SIZE: u16 = 50;
/// The most entries in a page. A larger `page_size` is reduced to this.
pub const MAX_PAGE_SIZE: u16 = 1_000;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The most entries, 1 to [`MAX_PAGE_SIZE`].
    pub size: u16,
    /// The `next_page_token` of the previous page; empty for the first page.
    pub token: String,
}

impl Page {
    pub(super) fn from_fields(fields: &mut Fields, page_size: i32, page_token: String) -> Checked<Self> {
        let size = match u16::try_from(page_size) {
            _ if page_size < 0 => {
                return Err(fields.refuse("page_size", "must not be negative; zero means the default"));
            }
            Ok(0) => DEFAULT_PAGE_SIZE,
            Ok(size) => size.min(MAX_PAGE_SIZE),
            Err(_) => MAX_PAGE_SIZE,
        };
        Ok(Self {
            size,
            token: page_token,
        })
    }
}
