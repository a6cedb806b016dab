//! Prints filters, in one canonical spelling.

use std::fmt;

use super::{Expression, Filter, Order, Restriction, Sign};

impl<R: fmt::Display> fmt::Display for Filter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<R: fmt::Display> fmt::Display for Expression<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, keyword) = match self {
            Self::One(restriction) => return restriction.fmt(f),
            Self::All(parts) => (parts, " AND "),
            Self::Any(parts) => (parts, " OR "),
        };
        for (index, part) in parts.iter().enumerate() {
            f.write_str(if index > 0 { keyword } else { "" })?;
            match part {
                Self::One(restriction) => restriction.fmt(f)?,
                // Parentheses are printed even where OR binds tighter, since few readers know that it does.
                Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(sign, state) => write!(f, "state {sign} {}", state.as_str()),
            Self::Scope(Sign::Is, scope) => write!(f, "scopes:{scope}"),
            Self::Scope(Sign::IsNot, scope) => write!(f, "scopes != {scope}"),
            Self::Label { key, sign, value } => write!(f, "labels.{key} {sign} {}", Quoted(value)),
            Self::HasLabel(key) => write!(f, "labels.{key}:*"),
            Self::Creator(sign, creator) => write!(f, "creator {sign} {}", creator.name()),
            Self::CreateTime(order, time) => write!(f, "create_time {order} {time}"),
            Self::ExpireTime(order, time) => write!(f, "expire_time {order} {time}"),
            Self::NeverExpires(sign) => write!(f, "expire_time {sign} never"),
            Self::LastUsedTime(order, time) => write!(f, "last_used_time {order} {time}"),
            Self::Unused(sign) => write!(f, "unused {sign} true"),
            Self::Resource(sign, resource) => write!(f, "resource {sign} {resource}"),
            Self::Under(resource) => write!(f, "resource:{resource}"),
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Is => "=",
            Self::IsNot => "!=",
        })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        })
    }
}

/// A value in quotes, as the lexer reads it.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
