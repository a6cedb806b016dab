//! Filters of the audit log.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use super::{
    EventFilter, Expression, Filter, Order, Sign,
    language::{Fields, Wrong, checked, time},
    lexer::{Operator, Value},
    print::Quoted,
};
use crate::{
    address::parse_network,
    audit::{Actor, EventType, Outcome, Record},
    name::CallerId,
    resource::is_path,
    text::Reason,
    time::Timestamp,
};

/// One comparison in a filter of the audit log. It compares the text of the stored record, which may have been edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventRestriction {
    /// `caller = "callers/ci"`: the field equals the text; an empty text matches an empty field.
    Text(EventField, Sign, String),
    /// `type:token`: the event is about this kind of thing.
    TypeAbout(String),
    /// `resource:workspaces/acme/tokens/x`: the event is about this resource or one below it.
    Under(String),
    /// `address:192.0.2.0/24`: the event came from an address in this network.
    Within(IpNet),
    /// `reason:github`: the reason contains the text.
    ReasonHas(String),
    /// `time >= 2027-01-31T12:00:00Z`.
    Time(Order, Timestamp),
}

/// A text field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventField {
    /// The type of the event.
    Type,
    /// The caller.
    Caller,
    /// The asserted actor.
    Actor,
    /// The client's address.
    Address,
    /// The resource.
    Resource,
    /// The outcome.
    Outcome,
    /// The reason.
    Reason,
}

/// A field that a filter can compare.
pub(super) enum Field {
    Text(EventField),
    Time,
}

impl EventFilter {
    /// Restricts a filter to events about tokens.
    #[must_use]
    pub fn of_tokens(filter: Option<Self>) -> Self {
        let tokens = Expression::One(EventRestriction::TypeAbout("token".to_owned()));
        match filter {
            None => Filter(tokens),
            Some(Filter(Expression::All(all))) => Filter(Expression::All([tokens].into_iter().chain(all).collect())),
            Some(Filter(other)) => Filter(Expression::All(vec![tokens, other])),
        }
    }

    /// Returns whether the filter matches `record`.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let Filter(expression) = self;
        expression.matches(&|restriction| restriction.matches(record))
    }
}

impl EventRestriction {
    fn matches(&self, record: &Record) -> bool {
        match self {
            Self::Text(field, sign, text) => sign.agrees(field.of(record) == text),
            Self::TypeAbout(subject) => subject_of(&record.kind) == Some(subject),
            Self::Under(name) => record
                .resource
                .strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Within(network) => record
                .address
                .parse()
                .is_ok_and(|address: IpAddr| network.contains(&address)),
            Self::ReasonHas(text) => record.reason.contains(text),
            Self::Time(order, time) => order.agrees(record.time_micros.cmp(&time.unix_micros())),
        }
    }
}

impl EventField {
    const fn of(self, record: &Record) -> &String {
        match self {
            Self::Type => &record.kind,
            Self::Caller => &record.caller,
            Self::Actor => &record.actor,
            Self::Address => &record.address,
            Self::Resource => &record.resource,
            Self::Outcome => &record.outcome,
            Self::Reason => &record.reason,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Caller => "caller",
            Self::Actor => "actor",
            Self::Address => "address",
            Self::Resource => "resource",
            Self::Outcome => "outcome",
            Self::Reason => "reason",
        }
    }
}

/// Returns what events of this type are about: the part before the dot.
fn subject_of(kind: &str) -> Option<&str> {
    kind.split_once('.').map(|(subject, _)| subject)
}

impl<'a> Fields<'a> for Field {
    type Restriction = EventRestriction;

    fn named(name: &'a str) -> Result<Self, Wrong> {
        use EventField::{Actor, Address, Caller, Outcome, Reason, Resource, Type};
        let texts = [Type, Caller, Actor, Address, Resource, Outcome, Reason];
        match texts.into_iter().find(|field| field.name() == name) {
            Some(field) => Ok(Self::Text(field)),
            None if name == "time" => Ok(Self::Time),
            None => Err(Wrong::Field(
                "type, caller, actor, address, resource, outcome, reason, time or an opening parenthesis",
            )),
        }
    }

    fn operators(&self) -> &'static str {
        match self {
            Self::Text(EventField::Type) => "=, != or : after type",
            Self::Text(EventField::Caller) => "=, != or : after caller",
            Self::Text(EventField::Actor) => "=, != or : after actor",
            Self::Text(EventField::Address) => "=, != or : after address",
            Self::Text(EventField::Resource) => "=, != or : after resource",
            Self::Text(EventField::Outcome) => "=, != or : after outcome",
            Self::Text(EventField::Reason) => "=, != or : after reason",
            Self::Time => "=, !=, <, <=, > or >= after time",
        }
    }

    fn restriction(&self, operator: Operator, value: &Value<'_>) -> Result<EventRestriction, Wrong> {
        let text = &*value.text;
        let field = match self {
            Self::Time => return Ok(EventRestriction::Time(self.order(operator)?, time(text)?)),
            Self::Text(field) => *field,
        };
        let sign = self.sign(operator)?;
        match (field, operator) {
            (EventField::Type, Operator::Has) if about(text) => Ok(EventRestriction::TypeAbout(text.to_owned())),
            (EventField::Address, Operator::Has) if text.contains('/') => {
                checked("a network", parse_network(text)).map(EventRestriction::Within)
            }
            (EventField::Resource, Operator::Has) => Ok(EventRestriction::Under(resource(text)?)),
            (EventField::Reason, Operator::Has) => Ok(EventRestriction::ReasonHas(reason(text)?)),
            // An empty value can only be written in quotes. It matches an empty field.
            (
                EventField::Caller
                | EventField::Actor
                | EventField::Address
                | EventField::Resource
                | EventField::Reason,
                _,
            ) if text.is_empty() => Ok(EventRestriction::Text(field, sign, String::new())),
            (field, _) => Ok(EventRestriction::Text(field, sign, exact(field, text)?)),
        }
    }
}

/// Validates a value and returns it as records contain it.
fn exact(field: EventField, text: &str) -> Result<String, Wrong> {
    match field {
        EventField::Type => EventType::from_word(text)
            .map(|kind| kind.as_str().to_owned())
            .ok_or_else(|| {
                let known: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
                Wrong::Value(format!("one of {}", known.join(", ")))
            }),
        EventField::Caller => checked("a caller", CallerId::from_name(text)).map(|caller| caller.name()),
        EventField::Actor => checked("an actor", text.parse::<Actor>()).map(|actor| actor.to_string()),
        EventField::Address => {
            let address = text
                .parse::<IpAddr>()
                .map_err(|_| Wrong::Value("an IP address, or a network after :".to_owned()))?;
            Ok(address.to_canonical().to_string())
        }
        EventField::Resource => resource(text),
        EventField::Outcome => {
            let outcome = Outcome::from_word(text.strip_prefix("OUTCOME_").unwrap_or(text));
            outcome
                .map(|outcome| outcome.as_str().to_owned())
                .ok_or_else(|| Wrong::Value("DONE or REFUSED".to_owned()))
        }
        EventField::Reason => reason(text),
    }
}

fn about(text: &str) -> bool {
    EventType::ALL
        .iter()
        .any(|kind| subject_of(kind.as_str()) == Some(text))
}

fn resource(text: &str) -> Result<String, Wrong> {
    if !is_path(text) {
        return Err(Wrong::Value(
            "a resource name, such as workspaces/acme/tokens/x or callers/ci".to_owned(),
        ));
    }
    Ok(text.to_owned())
}

fn reason(text: &str) -> Result<String, Wrong> {
    checked("a reason", Reason::new(text.to_owned())).map(String::from)
}

impl fmt::Display for EventRestriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(field, sign, text) => write!(f, "{} {sign} {}", field.name(), Quoted(text)),
            Self::TypeAbout(subject) => write!(f, "type:{subject}"),
            Self::Under(name) => write!(f, "resource:{name}"),
            Self::Within(network) => write!(f, "address:{network}"),
            Self::ReasonHas(text) => write!(f, "reason:{}", Quoted(text)),
            Self::Time(order, time) => write!(f, "time {order} {time}"),
        }
    }
}
