use tokend_client::v1::{
    Caller, CallerKey, CreateCallerResponse, DeleteCallerResponse, GetCallerResponse, ListCallerKeysResponse, ListCallersResponse,
    RevokeCallerKeyResponse, Selection,
};

use crate::client::{
    output::{Answer, time, word},
    token::NOT_USED,
};
use crate::terminal::View;

impl Answer for ListCallersResponse {
    const MESSAGE: &'static str = "tokend.v1.ListCallersResponse";

    fn view(&self) -> View {
        let row = |caller: &Caller| {
            vec![
                caller.name.clone(),
                role(caller),
                workspaces(caller.workspaces.as_ref()),
                time(caller.create_time.as_ref(), ""),
                time(caller.keys_expire_time.as_ref(), "no key works"),
            ]
        };
        View::List {
            header: &["NAME", "ROLE", "WORKSPACES", "CREATED", "KEYS EXPIRE"],
            rows: self.callers.iter().map(row).collect(),
            none: "There are no callers.",
        }
    }
}

impl Answer for ListCallerKeysResponse {
    const MESSAGE: &'static str = "tokend.v1.ListCallerKeysResponse";

    fn view(&self) -> View {
        let row = |key: &CallerKey| {
            vec![
                key.name.clone(),
                state(key),
                time(key.create_time.as_ref(), ""),
                time(key.expire_time.as_ref(), "never"),
                time(key.last_used_time.as_ref(), NOT_USED),
                key.hint.clone(),
            ]
        };
        View::List {
            header: &["NAME", "STATE", "CREATED", "EXPIRES", "LAST USED", "HINT"],
            rows: self.keys.iter().map(row).collect(),
            none: "The caller has no keys.",
        }
    }
}

impl Answer for RevokeCallerKeyResponse {
    const MESSAGE: &'static str = "tokend.v1.RevokeCallerKeyResponse";

    fn view(&self) -> View {
        let fields = |key: &CallerKey| {
            vec![
                ("NAME", key.name.clone()),
                ("STATE", state(key)),
                ("CREATED", time(key.create_time.as_ref(), "")),
                ("EXPIRES", time(key.expire_time.as_ref(), "never")),
                ("LAST USED", time(key.last_used_time.as_ref(), NOT_USED)),
                ("HINT", key.hint.clone()),
            ]
        };
        View::Details(self.key.as_ref().map(fields).unwrap_or_default())
    }
}

/// Answers with one caller.
macro_rules! shows_its_caller {
    ($($answer:ident $name:literal),+ $(,)?) => {
        $(impl Answer for $answer {
            const MESSAGE: &'static str = $name;

            fn view(&self) -> View {
                View::Details(self.caller.as_ref().map(fields).unwrap_or_default())
            }
        })+
    };
}

shows_its_caller! {
    CreateCallerResponse "tokend.v1.CreateCallerResponse",
    GetCallerResponse "tokend.v1.GetCallerResponse",
}

impl Answer for DeleteCallerResponse {
    const MESSAGE: &'static str = "tokend.v1.DeleteCallerResponse";

    fn view(&self) -> View {
        let mut shown = self.caller.as_ref().map(fields).unwrap_or_default();
        shown.push(("STATE", "DELETED, with its keys".to_owned()));
        View::Details(shown)
    }
}

fn fields(caller: &Caller) -> Vec<(&'static str, String)> {
    vec![
        ("NAME", caller.name.clone()),
        ("ROLE", role(caller)),
        ("WORKSPACES", workspaces(caller.workspaces.as_ref())),
        ("CERTIFICATE SANS", caller.certificate_sans.join(" ")),
        ("CREATED", time(caller.create_time.as_ref(), "")),
        ("KEYS EXPIRE", time(caller.keys_expire_time.as_ref(), "")),
    ]
}

/// Nothing is never shown as everything.
fn workspaces(selection: Option<&Selection>) -> String {
    match selection {
        Some(Selection { all: true, .. }) => "all".to_owned(),
        Some(Selection { all: false, only }) if !only.is_empty() => only.join(" "),
        _ => "none".to_owned(),
    }
}

fn role(caller: &Caller) -> String {
    word(caller.role().as_str_name(), "ROLE_")
}

fn state(key: &CallerKey) -> String {
    word(key.state().as_str_name(), "STATE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_workspaces_are_not_all_workspaces() {
        let selection = |all, only: &[&str]| Selection { all, only: only.iter().map(|&name| name.to_owned()).collect() };
        assert_eq!(workspaces(Some(&selection(true, &[]))), "all");
        assert_eq!(workspaces(Some(&selection(false, &["workspaces/a", "workspaces/b"]))), "workspaces/a workspaces/b");
        assert_eq!(workspaces(Some(&selection(false, &[]))), "none");
        assert_eq!(workspaces(None), "none");
    }
}
