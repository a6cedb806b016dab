//! `WorkspaceAdmin.CreateWorkspace`: a refused request creates no workspace, and an accepted one reads back exactly.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    CreateWorkspaceRequest, CreateWorkspaceResponse, ErrorReason, GetWorkspaceRequest, Workspace, workspace,
};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, FieldRows, Rows, fields, refused},
    hostile::UNSEEN,
    pasted::pasted,
    refusal::may_hold,
    run::{World, run, same},
    values::Values,
};

on_both_databases!(workspaces);

const CREATE: &str = "WorkspaceAdmin/CreateWorkspace";

async fn workspaces(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let mut rows = Rows::of(CREATE, Values::new_workspace("fresh"))
        .each_fresh(|request, row| request.workspace_id = format!("fresh-{row}"));
    let mut id = rows.field("workspace_id", |request, value: String| request.workspace_id = value);
    chosen_ids(&mut id, values);
    id.row(
        Aspect::Duplicate,
        "one that is taken",
        "acme".to_owned(),
        refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists),
    );
    id.last_counts("Nobody", "the-last-one");

    display_names(
        &mut rows.field("display_name", |request, value: String| request.display_name = value),
        values,
    );

    let missing = || refused(Code::NotFound, ErrorReason::OrganizationNotFound);
    let mut organization = rows.field("organization", |request, value: String| request.organization = value);
    organization.good(Aspect::Empty, "none", "");
    organization.good(Aspect::Largest, "one that there is", values.organization.as_str());
    organization.row(
        Aspect::Smallest,
        "the shortest",
        "organizations/zz".to_owned(),
        missing(),
    );
    organization.row(
        Aspect::Largest,
        "the longest",
        format!("organizations/z{}", "-".repeat(62)),
        missing(),
    );
    organization.bad(
        Aspect::TooLarge,
        "an id of 64",
        format!("organizations/z{}", "-".repeat(63)),
    );
    for text in [
        "initech",
        "organizations/",
        "organizations/x",
        "workspaces/acme",
        "organizations/Initech",
        "organizations/a/b",
        "/",
    ] {
        organization.bad(Aspect::IllFormed, text, text);
    }
    organization.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    organization.bad(
        Aspect::Secret,
        "a token as the id",
        format!("organizations/{}", values.token.secret),
    );
    organization.twice("nobody", "", Expect::Accepted);
    organization.last_counts("nobody", &values.organization);
    organization.hostile_is_bad(&["{}", "organizations/{}", "organizations/initech{}"]);
    rows.finish()
}

/// Rows of display names.
pub(crate) fn display_names<R: Message + Clone, S: Fn(&mut R, String)>(
    name: &mut FieldRows<'_, '_, R, S>,
    values: &Values,
) {
    name.bad(Aspect::Empty, "empty", "");
    name.bad(Aspect::Empty, "blank", " \u{3000}");
    name.good(Aspect::Smallest, "one character", "x");
    name.good(Aspect::Largest, "120 characters", "x".repeat(120));
    name.good(Aspect::Largest, "120 characters of four bytes", "🚀".repeat(120));
    name.bad(Aspect::TooLarge, "121 characters", "x".repeat(121));
    name.bad(Aspect::TooLarge, "121 characters of four bytes", "🚀".repeat(121));
    name.bad(Aspect::TooLarge, "60,000 characters", "x".repeat(60_000));
    name.bad(
        Aspect::IllFormed,
        "a control character behind 119 others",
        format!("{}\u{1}", "x".repeat(119)),
    );
    for unseen in UNSEEN {
        name.bad(Aspect::Empty, format!("nothing that can be seen: {unseen:?}"), *unseen);
    }
    for text in pasted(&values.token.secret) {
        name.bad(Aspect::Secret, "a token in a text", text);
    }
    name.last_counts("", "Acme");
    name.hostile(&["{}"], |value, hostile| {
        if may_hold(hostile.class, false) && value.len() < 1_000 {
            Expect::Accepted
        } else {
            fields(&["display_name"])
        }
    });
}

/// Rows of IDs that a person chooses.
pub(crate) fn chosen_ids<R: Message + Clone, S: Fn(&mut R, String)>(id: &mut FieldRows<'_, '_, R, S>, values: &Values) {
    id.bad(Aspect::Empty, "empty", "");
    id.bad(Aspect::Smallest, "one character", "a");
    id.good(Aspect::Smallest, "two characters", "a0");
    id.good(Aspect::Smallest, "a hyphen last", "a-");
    id.good(Aspect::Largest, "63 characters", "z".repeat(63));
    id.good(
        Aspect::Largest,
        "every character",
        "abcdefghijklmnopqrstuvwxyz-0123456789",
    );
    id.bad(Aspect::TooLarge, "64 characters", "z".repeat(64));
    id.bad(Aspect::TooLarge, "60,000 characters", "z".repeat(60_000));
    for text in [
        "Acme",
        "aCME",
        "1acme",
        "-acme",
        "_acme",
        "ac_me",
        "ac.me",
        "ac me",
        "ac/me",
        "workspaces/acme",
        "callers/acme",
        "ac:me",
        "ac@me",
        "acme ",
        " acme",
        "ac\u{e4}me",
        "--",
        "00",
        "a\u{2d0}",
        "ac+me",
        "a%20b",
    ] {
        id.bad(Aspect::IllFormed, text, text);
    }
    id.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    id.hostile_is_bad(&["{}", "acme{}", "{}acme"]);
}

async fn read_back(world: &World, Case { request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let asked = CreateWorkspaceRequest::decode(request.clone()).expect("the request decodes");
    let returned = CreateWorkspaceResponse::decode(answer)
        .expect("the response decodes")
        .workspace
        .ok_or("the response has no workspace")?;
    let wanted = Workspace {
        name: format!("workspaces/{}", asked.workspace_id),
        display_name: asked.display_name,
        organization: asked.organization,
        state: workspace::State::Active.into(),
        create_time: returned.create_time,
        active_token_count: 0,
    };
    same("the created workspace", &returned, &wanted)?;
    same("whether it has a create_time", returned.create_time.is_some(), true)?;
    let got = world
        .server
        .admin()
        .workspace_admin()
        .get_workspace(GetWorkspaceRequest {
            name: wanted.name.clone(),
        })
        .await;
    same(
        "the workspace from GetWorkspace",
        got.map_err(|status| status.to_string())?.into_inner().workspace,
        Some(wanted),
    )
}
