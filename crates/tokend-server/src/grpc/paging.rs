//! Page tokens, and pages that end before the answer grows too large.

use prost::Message;
use tokend_core::{caller::Caller, keyring::KeyRing, page_token::Question};
use tokend_proto::{field::FieldViolations, request::page::Page};

/// The most bytes of entries in a page. With the rest of the answer they stay below the 1 MiB that an answer may have.
const MAX_PAGE_BYTES: usize = 1024 * 1024 - 16 * 1024;

/// One list as one caller sees it. Its page tokens are valid for this list only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    pub(crate) ring: &'a KeyRing,
    pub(crate) caller: &'a Caller,
    /// The RPC's name.
    pub(crate) rpc: &'static str,
    /// The parent's resource name; empty where the list has none.
    pub(crate) parent: &'a str,
    /// The filter in canonical spelling; empty without one.
    pub(crate) filter: &'a str,
}

impl List<'_> {
    /// Returns the position after which the page starts, or `None` for the first page.
    pub(crate) fn position<T>(
        &self,
        page: &Page,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, FieldViolations> {
        if page.token.is_empty() {
            return Ok(None);
        }
        let foreign = |error: &dyn std::fmt::Display| FieldViolations::one("page_token", error);
        let position = self
            .ring
            .open_page_token(&self.question(), &page.token)
            .map_err(|error| foreign(&error))?;
        parse(&position)
            .map(Some)
            .ok_or_else(|| foreign(&"was issued by another version of the service; start the list again"))
    }

    /// Returns the token of the page that starts after `position`. It is empty if there is no such page.
    pub(crate) fn next_page_token(&self, position: Option<&[u8]>) -> String {
        position
            .map(|position| self.ring.seal_page_token(&self.question(), position))
            .unwrap_or_default()
    }

    fn question(&self) -> Question<'_> {
        Question {
            caller: self.caller.id.as_str(),
            list: self.rpc,
            parent: self.parent,
            filter: self.filter,
        }
    }
}

/// Returns the position in a list that is ordered by chosen ids: the last id.
pub(crate) fn id_position(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// Returns as many of `entries` as an answer can hold, and whether some were left out.
pub(crate) fn fit<M: Message>(entries: impl IntoIterator<Item = M>) -> (Vec<M>, bool) {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        bytes += entry.encoded_len();
        if bytes > MAX_PAGE_BYTES && !page.is_empty() {
            return (page, true);
        }
        page.push(entry);
    }
    (page, false)
}

#[cfg(test)]
mod tests {
    use tokend_proto::v1::Token;

    use super::*;

    #[test]
    fn a_page_ends_before_it_is_too_large_and_never_empty() {
        let token = |bytes| Token {
            description: "a".repeat(bytes),
            ..Default::default()
        };
        let (page, was_cut) = fit((0..100).map(|_| token(100_000)));
        assert_eq!((page.len(), was_cut), (10, true));
        let (page, was_cut) = fit((0..3).map(|_| token(100_000)));
        assert_eq!((page.len(), was_cut), (3, false));
        let (page, was_cut) = fit([token(2_000_000), token(1)]);
        assert_eq!((page.len(), was_cut), (1, true));
    }
}
