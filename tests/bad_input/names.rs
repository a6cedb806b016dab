//! Requests that consist of a name and little more: `GetToken`, `RevokeToken`, `GetWorkspace`, `GetCaller`,
//! `DeleteCaller`, `RevokeCallerKey`.

use prost::Message;
use tokend_client::v1::{
    DeleteCallerRequest, ErrorReason, GetCallerRequest, GetTokenRequest, GetWorkspaceRequest, RevokeCallerKeyRequest,
    RevokeTokenRequest,
};
use tokend_tests::{Installation, on_both_databases, token_in};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, FieldRows, Rows, fields, refused},
    names_read_back::{
        DELETE_CALLER, GET_CALLER, GET_TOKEN, GET_WORKSPACE, REVOKE_KEY, REVOKE_TOKEN, VICTIMS, read_back,
    },
    pasted::pasted,
    refusal::may_hold,
    run::{World, run_in},
    values::Values,
};

on_both_databases!(names);

async fn names(installation: Installation) {
    let mut world = World::of(&installation).await;
    for _ in 0..VICTIMS {
        let victim = world.server.token(token_in(&world.values.acme)).await.public.name;
        world.values.victims.push(victim);
    }
    run_in(&installation, &world, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let Values {
        acme,
        token,
        victims,
        caller,
        caller_key,
        doomed,
        ..
    } = values;
    let not_found = |reason| move || refused(Code::NotFound, reason);
    let (no_token, no_key) = (
        not_found(ErrorReason::TokenNotFound),
        not_found(ErrorReason::CallerKeyNotFound),
    );
    let (no_workspace, no_caller) = (
        not_found(ErrorReason::WorkspaceNotFound),
        not_found(ErrorReason::CallerNotFound),
    );

    let mut get_token = Rows::of(
        GET_TOKEN,
        GetTokenRequest {
            name: token.name.clone(),
        },
    );
    let mut name = get_token.field("name", |request, value: String| request.name = value);
    credential_names(&mut name, values, "workspaces", "tokens", &token.name, &no_token);

    // The rows of the reason come first: each needs an unrevoked token.
    let mut revoke = Rows::of(REVOKE_TOKEN, RevokeTokenRequest::default())
        .each_fresh(|request, row| request.name.clone_from(&victims[row % victims.len()]));
    let mut reason = revoke.field("reason", |request, value: String| request.reason = value);
    reason.good(Aspect::Empty, "none", "");
    reason.good(Aspect::Smallest, "one character", "x");
    reason.good(Aspect::Smallest, "a blank", " ");
    reason.good(Aspect::Largest, "500 characters", "x".repeat(500));
    reason.good(Aspect::Largest, "500 characters of four bytes", "🚀".repeat(500));
    reason.bad(Aspect::TooLarge, "501 characters", "x".repeat(501));
    reason.bad(Aspect::TooLarge, "501 characters of four bytes", "🚀".repeat(501));
    reason.bad(Aspect::TooLarge, "50,000 characters", "x".repeat(50_000));
    reason.bad(
        Aspect::IllFormed,
        "a control character behind 499 others",
        format!("{}\u{1b}", "x".repeat(499)),
    );
    for text in pasted(&values.token.secret) {
        reason.good(Aspect::Secret, "a token in a text", text);
    }
    reason.last_counts("\u{1b}", "it leaked");
    reason.hostile(&["{}"], |value, hostile| {
        if may_hold(hostile.class, true) && value.chars().count() <= 500 {
            Expect::Accepted
        } else {
            fields(&["reason"])
        }
    });
    let mut no_wait = revoke.field("no_wait", |request, value| request.no_wait = value);
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);
    let mut name = revoke.field("name", |request, value: String| request.name = value);
    credential_names(
        &mut name,
        values,
        "workspaces",
        "tokens",
        victims.last().expect("there are victims"),
        &no_token,
    );

    let mut get_workspace = Rows::of(GET_WORKSPACE, GetWorkspaceRequest { name: acme.clone() });
    let mut name = get_workspace.field("name", |request, value: String| request.name = value);
    chosen_names(&mut name, values, "workspaces", acme, &no_workspace);

    let mut get_caller = Rows::of(GET_CALLER, GetCallerRequest { name: caller.clone() });
    let mut name = get_caller.field("name", |request, value: String| request.name = value);
    chosen_names(&mut name, values, "callers", caller, &no_caller);

    let mut delete = Rows::of(
        DELETE_CALLER,
        DeleteCallerRequest {
            name: doomed.clone(),
            no_wait: false,
        },
    );
    let mut name = delete.field("name", |request, value: String| request.name = value);
    chosen_names(&mut name, values, "callers", doomed, &no_caller);
    let mut no_wait = delete.field("no_wait", |request, value| request.no_wait = value);
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);

    let mut revoke_key = Rows::of(
        REVOKE_KEY,
        RevokeCallerKeyRequest {
            name: caller_key.name.clone(),
            no_wait: false,
        },
    );
    let mut name = revoke_key.field("name", |request, value: String| request.name = value);
    credential_names(&mut name, values, "callers", "keys", &caller_key.name, &no_key);
    let mut no_wait = revoke_key.field("no_wait", |request, value| request.no_wait = value);
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);

    let mut cases = [
        get_token.finish(),
        revoke.finish(),
        get_workspace.finish(),
        get_caller.finish(),
    ]
    .concat();
    cases.extend([delete.finish(), revoke_key.finish()].concat());
    cases
}

/// Rows of a name `{collection}/{id}` whose ID a person chose.
pub(crate) fn chosen_names<R: Message + Clone, S: Fn(&mut R, String)>(
    name: &mut FieldRows<'_, '_, R, S>,
    values: &Values,
    collection: &str,
    good: &str,
    not_found: &dyn Fn() -> Expect,
) {
    name.bad(Aspect::Empty, "empty", "");
    name.row(
        Aspect::Smallest,
        "the shortest",
        format!("{collection}/zz"),
        not_found(),
    );
    name.bad(Aspect::Smallest, "an id of one", format!("{collection}/z"));
    name.row(
        Aspect::Largest,
        "the longest",
        format!("{collection}/z{}", "-".repeat(62)),
        not_found(),
    );
    name.bad(
        Aspect::TooLarge,
        "an id of 64",
        format!("{collection}/z{}", "-".repeat(63)),
    );
    name.good(Aspect::Largest, "the name itself", good);
    let id = good
        .strip_prefix(collection)
        .and_then(|rest| rest.strip_prefix('/'))
        .expect("the name is in the collection");
    let other_case = format!("{collection}/{}", id.to_uppercase());
    let other_collection = if collection == "callers" {
        "workspaces"
    } else {
        "callers"
    };
    for text in [
        id.to_owned(),
        collection.to_owned(),
        format!("{collection}/"),
        format!("/{good}"),
        format!("{good}/"),
        format!("{good}/x"),
        format!("{collection}//{id}"),
        format!("{collection}/-"),
        format!("{collection}/*"),
        other_case,
        format!("{collection}/1{id}"),
        format!("{collection}/-{id}"),
        format!("{collection}/{id}_"),
        format!("{other_collection}/{id}"),
        good.to_uppercase(),
        format!("{collection}/../{good}"),
        format!("./{good}"),
        format!("{good} "),
        format!(" {good}"),
        format!("//tokend/{good}"),
    ] {
        name.bad(Aspect::IllFormed, &text, text.clone());
    }
    name.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    name.bad(
        Aspect::Secret,
        "a token as the id",
        format!("{collection}/{}", values.token.secret),
    );
    name.last_counts("nobody", good);
    name.hostile_is_bad(&["{}", &format!("{collection}/{{}}"), &format!("{good}{{}}")]);
}

/// Rows of a name `{collection}/{chosen}/{inner}/{id}` whose ID the service assigned.
pub(crate) fn credential_names<R: Message + Clone, S: Fn(&mut R, String)>(
    name: &mut FieldRows<'_, '_, R, S>,
    values: &Values,
    collection: &str,
    inner: &str,
    good: &str,
    not_found: &dyn Fn() -> Expect,
) {
    let (parent, id) = good.split_once(&format!("/{inner}/")).expect("the name has this form");
    let of = |id: &str| format!("{parent}/{inner}/{id}");
    let zeros = "0".repeat(17);
    name.bad(Aspect::Empty, "empty", "");
    name.row(Aspect::Smallest, "an id of zeros", of(&zeros), not_found());
    name.row(
        Aspect::Smallest,
        "the shortest",
        format!("{collection}/zz/{inner}/{zeros}"),
        not_found(),
    );
    name.row(
        Aspect::Largest,
        "the longest",
        format!("{collection}/z{}/{inner}/{zeros}", "-".repeat(62)),
        not_found(),
    );
    // 2^64 - 1 and 2^32 - 1 in base62.
    name.row(Aspect::Largest, "the largest id", of("LygHa16AHYF4gfFC3"), not_found());
    name.good(Aspect::Largest, "the name itself", good);
    name.row(
        Aspect::IllFormed,
        "of another parent",
        format!("{collection}/elsewhere/{inner}/{id}"),
        not_found(),
    );
    name.bad(Aspect::TooLarge, "an id of 18", of(&format!("0{zeros}")));
    name.bad(Aspect::TooLarge, "an id past the largest", of("LygHa16AHYG4gfFC3"));
    name.bad(
        Aspect::TooLarge,
        "an id past the largest in its second part",
        of("LygHa16AHYF4gfFC4"),
    );
    name.bad(Aspect::TooLarge, "an id of the last digits", of(&"z".repeat(17)));
    name.bad(
        Aspect::TooLarge,
        "a parent of 64",
        format!("{collection}/z{}/{inner}/{id}", "-".repeat(63)),
    );
    for text in [
        id.to_owned(),
        parent.to_owned(),
        format!("{parent}/{inner}"),
        of(""),
        of("-"),
        of("*"),
        of(&id[1..]),
        format!("{good}/"),
        format!("/{good}"),
        format!("{parent}/{inner}/{inner}/{id}"),
        format!("{parent}//{inner}/{id}"),
        format!("{inner}/{id}"),
        format!("{collection}/{inner}/{id}"),
        format!("{collection}//{inner}/{id}"),
        format!("{parent}/x/{id}"),
        format!("{good} "),
        format!(" {good}"),
        of(&format!("{id}%00")),
        of(&format!("-{}", &id[1..])),
        format!("{good}/{inner}/{id}"),
        good.replace(inner, &inner.to_uppercase()),
        format!("{parent}/../{good}"),
        format!("{good}?"),
        format!("{good}#x"),
    ] {
        name.bad(Aspect::IllFormed, &text, text.clone());
    }
    name.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    name.bad(Aspect::Secret, "a token as the id", of(&values.token.secret));
    name.bad(
        Aspect::Secret,
        "a token's first half as the id",
        of(&values.token.secret["tkdw_0".len()..]),
    );
    name.last_counts("nobody", good);
    name.hostile_is_bad(&[
        "{}",
        &of("{}"),
        &format!("{good}{{}}"),
        &format!("{collection}/{{}}/{inner}/{id}"),
    ]);
}
