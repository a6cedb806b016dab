//! Resources: what a request accesses, and what a token is bound to.

use std::fmt;

use crate::name::{WorkspaceId, is_chosen_id};

/// A workspace or anything below it, such as `workspaces/acme/projects/web/repositories/site`.
///
/// A token bound to a resource covers that resource and its descendants. Resources are compared segment by segment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Resource(String);

/// Why a text is not a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedResource {
    /// It does not start with a workspace.
    #[error("must start with workspaces/{{workspace}}")]
    NoWorkspace,
    /// It has too many bytes.
    #[error("must have at most {max} bytes; it has {0}", max = Resource::MAX_LEN)]
    TooLong(usize),
    /// It has too many segments.
    #[error("must have at most {max} segments; it has {0}", max = Resource::MAX_SEGMENTS)]
    TooDeep(usize),
    /// A segment is empty, too long, `.` or `..`, or has other characters.
    #[error(
        "must have segments of 1 to 128 characters from A-Z a-z 0-9 . _ ~ % + @ : -, none of them . or ..; segment \
         {0} is invalid"
    )]
    Segment(usize),
}

impl Resource {
    /// The most bytes.
    pub const MAX_LEN: usize = 1_024;
    /// The most segments, including `workspaces` and the workspace's id.
    pub const MAX_SEGMENTS: usize = 16;
    /// The most bytes in a segment.
    pub const MAX_SEGMENT_LEN: usize = 128;

    /// Validates a resource. Allocates nothing.
    ///
    /// # Errors
    /// [`MalformedResource`] for the first fault.
    pub fn new(text: String) -> Result<Self, MalformedResource> {
        if text.len() > Self::MAX_LEN {
            return Err(MalformedResource::TooLong(text.len()));
        }
        let mut segments = 0;
        for segment in text.as_bytes().split(|byte| *byte == b'/') {
            segments += 1;
            if !is_segment(segment) {
                return Err(if segments <= 2 {
                    MalformedResource::NoWorkspace
                } else {
                    MalformedResource::Segment(segments)
                });
            }
        }
        if segments > Self::MAX_SEGMENTS {
            return Err(MalformedResource::TooDeep(segments));
        }
        let mut start = text.split('/');
        match (start.next(), start.next()) {
            (Some(WorkspaceId::COLLECTION), Some(workspace)) if is_chosen_id(workspace) => Ok(Self(text)),
            _ => Err(MalformedResource::NoWorkspace),
        }
    }

    /// Returns the resource that is the workspace itself.
    #[must_use]
    pub fn workspace_itself(workspace: &WorkspaceId) -> Self {
        Self(workspace.name())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the resource is `workspace` or lies in it.
    #[must_use]
    pub fn is_in(&self, workspace: &WorkspaceId) -> bool {
        self.0.split('/').nth(1) == Some(workspace.as_str())
    }

    /// Returns whether `other` is this resource or one of its descendants.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .0
            .strip_prefix(&self.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Returns whether `text` has the general form of a resource name in any collection, with the limits of a [`Resource`].
pub(crate) fn is_path(text: &str) -> bool {
    text.len() <= Resource::MAX_LEN
        && text.split('/').count() <= Resource::MAX_SEGMENTS
        && text.as_bytes().split(|byte| *byte == b'/').all(is_segment)
}

fn is_segment(segment: &[u8]) -> bool {
    (1..=Resource::MAX_SEGMENT_LEN).contains(&segment.len())
        && segment != b"."
        && segment != b".."
        && segment
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._~%+@:-".contains(byte))
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resource(text: &str) -> Resource {
        Resource::new(text.to_owned()).expect("well-formed")
    }

    #[test]
    fn limits_are_inclusive() {
        let deepest = format!("workspaces/acme{}", "/a".repeat(14));
        assert!(Resource::new(deepest.clone()).is_ok());
        assert_eq!(Resource::new(deepest + "/a"), Err(MalformedResource::TooDeep(17)));
        assert!(Resource::new(format!("workspaces/acme/{}", "a".repeat(128))).is_ok());
        assert_eq!(
            Resource::new(format!("workspaces/acme/{}", "a".repeat(129))),
            Err(MalformedResource::Segment(3))
        );
        assert_eq!(Resource::new("a".repeat(1025)), Err(MalformedResource::TooLong(1025)));
    }

    #[test]
    fn ill_formed() {
        for bad in [
            "",
            "/",
            "acme",
            "workspaces",
            "workspaces/",
            "workspaces/A",
            "projects/web",
            "/workspaces/acme",
        ] {
            assert_eq!(
                Resource::new(bad.to_owned()),
                Err(MalformedResource::NoWorkspace),
                "{bad}"
            );
        }
        for bad in ["", ".", "..", "a b", "a\u{0}", "ä", "a\\b", "a?b", "a#b", "a\n"] {
            assert_eq!(
                Resource::new(format!("workspaces/acme/{bad}")),
                Err(MalformedResource::Segment(3)),
                "{bad:?}"
            );
        }
    }

    fn segments() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[a-z0-9%:-]{1,6}", 0..6)
    }

    fn path(segments: &[String]) -> Resource {
        resource(
            &["workspaces/acme"]
                .into_iter()
                .chain(segments.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join("/"),
        )
    }

    proptest! {
        /// Containment compares whole segments: the text comparison agrees with one of segment lists.
        #[test]
        fn containment_never_crosses_a_segment(above in segments(), below in segments(), tail in "[a-z0-9]{1,4}") {
            let whole = path(&above);
            prop_assert_eq!(whole.covers(&path(&below)), below.starts_with(&above));
            prop_assert!(whole.covers(&whole));
            let child = resource(&format!("{whole}/{tail}"));
            prop_assert!(whole.covers(&child));
            prop_assert!(!child.covers(&whole));
            // `web` does not cover `web2`.
            let sibling = resource(&format!("{whole}{tail}"));
            prop_assert!(!whole.covers(&sibling));
            prop_assert!(!sibling.covers(&whole));
        }
    }
}
