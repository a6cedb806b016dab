use std::{collections::BTreeMap, fmt::Display};

use super::{
    Restriction, Sign,
    language::{Fields, Wrong, checked, time},
    lexer::{Operator, Value},
};
use crate::{labels::Labels, name::CallerId, resource::Resource, token::TokenState};

/// A field that a filter can compare.
pub(super) enum Field<'a> {
    State,
    Scopes,
    /// The label with this key.
    Label(&'a str),
    Creator,
    CreateTime,
    ExpireTime,
    LastUsedTime,
    Unused,
    Resource,
}

/// Matches any value.
const ANY: &str = "*";
/// The time of what never happens.
const NEVER: &str = "never";

impl<'a> Fields<'a> for Field<'a> {
    type Restriction = Restriction;

    fn named(name: &'a str) -> Result<Self, Wrong> {
        match name {
            "state" => Ok(Self::State),
            "scopes" => Ok(Self::Scopes),
            "creator" => Ok(Self::Creator),
            "create_time" => Ok(Self::CreateTime),
            "expire_time" => Ok(Self::ExpireTime),
            "resource" => Ok(Self::Resource),
            "last_used_time" => Ok(Self::LastUsedTime),
            "unused" => Ok(Self::Unused),
            _ => match name.strip_prefix("labels.") {
                Some(key) if label(key, "").is_ok() => Ok(Self::Label(key)),
                Some(_) => Err(Wrong::Field("labels. and the key of a label")),
                None => Err(Wrong::Field(
                    "state, scopes, labels.KEY, creator, create_time, expire_time, last_used_time, unused, resource \
                     or an opening parenthesis",
                )),
            },
        }
    }

    fn operators(&self) -> &'static str {
        match self {
            Self::State => "=, != or : after state",
            Self::Scopes => "=, != or : after scopes",
            Self::Label(_) => "=, != or : after the label's key",
            Self::Creator => "=, != or : after creator",
            Self::CreateTime => "=, !=, <, <=, > or >= after create_time",
            Self::ExpireTime => "=, !=, <, <=, > or >= after expire_time, or :*",
            Self::LastUsedTime => "=, !=, <, <=, > or >= after last_used_time, or :*",
            Self::Unused => "=, != or : after unused",
            Self::Resource => "=, != or : after resource",
        }
    }

    fn restriction(&self, operator: Operator, value: &Value<'_>) -> Result<Restriction, Wrong> {
        let text = &*value.text;
        // The operator is validated first, so that errors are reported in the order of the text.
        match self {
            Self::State => Ok(Restriction::State(self.sign(operator)?, state(text)?)),
            Self::Scopes => Ok(Restriction::Scope(
                self.sign(operator)?,
                checked("a scope", text.parse())?,
            )),
            Self::Creator => Ok(Restriction::Creator(
                self.sign(operator)?,
                checked("a caller", CallerId::from_name(text))?,
            )),
            Self::CreateTime => Ok(Restriction::CreateTime(self.order(operator)?, time(text)?)),
            Self::ExpireTime => match (operator, text) {
                (Operator::Has, ANY) => Ok(Restriction::NeverExpires(Sign::IsNot)),
                (Operator::Equal, NEVER) => Ok(Restriction::NeverExpires(Sign::Is)),
                (Operator::NotEqual, NEVER) => Ok(Restriction::NeverExpires(Sign::IsNot)),
                (operator, text) => Ok(Restriction::ExpireTime(self.order(operator)?, time(text)?)),
            },
            Self::LastUsedTime => match (operator, text) {
                (Operator::Has, ANY) => Ok(Restriction::Unused(Sign::IsNot)),
                (Operator::Equal, NEVER) => Ok(Restriction::Unused(Sign::Is)),
                (Operator::NotEqual, NEVER) => Ok(Restriction::Unused(Sign::IsNot)),
                (operator, text) => Ok(Restriction::LastUsedTime(self.order(operator)?, time(text)?)),
            },
            Self::Unused => match (self.sign(operator)?, text) {
                (Sign::Is, "true") | (Sign::IsNot, "false") => Ok(Restriction::Unused(Sign::Is)),
                (Sign::Is, "false") | (Sign::IsNot, "true") => Ok(Restriction::Unused(Sign::IsNot)),
                _ => Err(Wrong::Value("true or false".to_owned())),
            },
            Self::Resource => {
                let sign = self.sign(operator)?;
                let resource = checked("a resource", Resource::new(text.to_owned()))?;
                Ok(if operator == Operator::Has {
                    Restriction::Under(resource)
                } else {
                    Restriction::Resource(sign, resource)
                })
            }
            Self::Label(key) => {
                let (key, sign) = ((*key).to_owned(), self.sign(operator)?);
                if !value.is_quoted && text.contains(ANY) {
                    return match (operator, text) {
                        (Operator::Has, ANY) => Ok(Restriction::HasLabel(key)),
                        _ => Err(Wrong::Value(
                            "a value without *, or in quotes: there are no wildcards".to_owned(),
                        )),
                    };
                }
                checked("a label", label(&key, text))?;
                Ok(Restriction::Label {
                    key,
                    sign,
                    value: text.to_owned(),
                })
            }
        }
    }
}

fn state(text: &str) -> Result<TokenState, Wrong> {
    let word = text.strip_prefix("STATE_").unwrap_or(text);
    TokenState::from_word(word).ok_or_else(|| Wrong::Value("ACTIVE, EXPIRED, REVOKED or SUSPENDED".to_owned()))
}

fn label(key: &str, value: &str) -> Result<Labels, impl Display + use<>> {
    Labels::new(BTreeMap::from([(key.to_owned(), value.to_owned())]))
}
