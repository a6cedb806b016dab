//! Requests that consist of a name and little more: `GetToken`, `RevokeToken`, `GetWorkspace`, `GetCaller`, `DeleteCaller`,
//! `RevokeCallerKey`.

use bytes::Bytes;
use prost::Message;
use tokend_client::v1::{
    DeleteCallerRequest, DeleteCallerResponse, ErrorReason, GetCallerRequest, GetCallerResponse, GetTokenRequest, GetTokenResponse,
    GetWorkspaceRequest, GetWorkspaceResponse, RevokeCallerKeyRequest, RevokeCallerKeyResponse, RevokeTokenRequest,
    RevokeTokenResponse, caller_key, token,
};
use tokend_tests::{Installation, on_both_databases, token_in};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, FieldRows, Rows, fields, refused},
    pasted::{cut, pasted},
    refusal::may_hold,
    run::{World, run_in, same},
    values::Values,
};

on_both_databases!(names);

const GET_TOKEN: &str = "TokenAdmin/GetToken";
const REVOKE_TOKEN: &str = "TokenAdmin/RevokeToken";
const GET_WORKSPACE: &str = "WorkspaceAdmin/GetWorkspace";
const GET_CALLER: &str = "CallerAdmin/GetCaller";
const DELETE_CALLER: &str = "CallerAdmin/DeleteCaller";
const REVOKE_KEY: &str = "CallerAdmin/RevokeCallerKey";

/// Tokens to revoke, one for each row that does.
const VICTIMS: usize = 95;

async fn names(installation: Installation) {
    let mut world = World::of(&installation).await;
    for _ in 0..VICTIMS {
        let victim = world.server.token(token_in(&world.values.acme)).await.public.name;
        world.values.victims.push(victim);
    }
    run_in(&installation, &world, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let Values { acme, token, victims, caller, caller_key, doomed, .. } = values;
    let not_found = |reason| move || refused(Code::NotFound, reason);
    let (no_token, no_key) = (not_found(ErrorReason::TokenNotFound), not_found(ErrorReason::CallerKeyNotFound));
    let (no_workspace, no_caller) = (not_found(ErrorReason::WorkspaceNotFound), not_found(ErrorReason::CallerNotFound));

    let mut get_token = Rows::of(GET_TOKEN, GetTokenRequest { name: token.name.clone() });
    let mut name = get_token.field("name", |request, value: String| request.name = value);
    credential_names(&mut name, values, "workspaces", "tokens", &token.name, &no_token);

    // The rows of the reason first: each needs a token that was not revoked before.
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
    reason.bad(Aspect::IllFormed, "a control character behind 499 others", format!("{}\u{1b}", "x".repeat(499)));
    for text in pasted(&values.token.secret) {
        reason.good(Aspect::Secret, "a token in a text", text);
    }
    reason.last_counts("\u{1b}", "it leaked");
    reason.hostile(&["{}"], |value, hostile| {
        if may_hold(hostile.class, true) && value.chars().count() <= 500 { Expect::Accepted } else { fields(&["reason"]) }
    });
    let mut no_wait = revoke.field("no_wait", |request, value| request.no_wait = value);
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);
    let mut name = revoke.field("name", |request, value: String| request.name = value);
    credential_names(&mut name, values, "workspaces", "tokens", victims.last().expect("there are some"), &no_token);

    let mut get_workspace = Rows::of(GET_WORKSPACE, GetWorkspaceRequest { name: acme.clone() });
    let mut name = get_workspace.field("name", |request, value: String| request.name = value);
    chosen_names(&mut name, values, "workspaces", acme, &no_workspace);

    let mut get_caller = Rows::of(GET_CALLER, GetCallerRequest { name: caller.clone() });
    let mut name = get_caller.field("name", |request, value: String| request.name = value);
    chosen_names(&mut name, values, "callers", caller, &no_caller);

    let mut delete = Rows::of(DELETE_CALLER, DeleteCallerRequest { name: doomed.clone(), no_wait: false });
    let mut name = delete.field("name", |request, value: String| request.name = value);
    chosen_names(&mut name, values, "callers", doomed, &no_caller);
    let mut no_wait = delete.field("no_wait", |request, value| request.no_wait = value);
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);

    let mut revoke_key = Rows::of(REVOKE_KEY, RevokeCallerKeyRequest { name: caller_key.name.clone(), no_wait: false });
    let mut name = revoke_key.field("name", |request, value: String| request.name = value);
    credential_names(&mut name, values, "callers", "keys", &caller_key.name, &no_key);
    let mut no_wait = revoke_key.field("no_wait", |request, value| request.no_wait = value);
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);

    let mut cases = [get_token.finish(), revoke.finish(), get_workspace.finish(), get_caller.finish()].concat();
    cases.extend([delete.finish(), revoke_key.finish()].concat());
    cases
}

/// Rows of a name `{collection}/{id}` whose id a person chose.
pub(crate) fn chosen_names<R: Message + Clone, S: Fn(&mut R, String)>(
    name: &mut FieldRows<'_, '_, R, S>,
    values: &Values,
    collection: &str,
    good: &str,
    not_found: &dyn Fn() -> Expect,
) {
    name.bad(Aspect::Empty, "empty", "");
    name.row(Aspect::Smallest, "the shortest", format!("{collection}/zz"), not_found());
    name.bad(Aspect::Smallest, "an id of one", format!("{collection}/z"));
    name.row(Aspect::Largest, "the longest", format!("{collection}/z{}", "-".repeat(62)), not_found());
    name.bad(Aspect::TooLarge, "an id of 64", format!("{collection}/z{}", "-".repeat(63)));
    name.good(Aspect::Largest, "the name itself", good);
    let id = good.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).expect("it is of the collection");
    let other_case = format!("{collection}/{}", id.to_uppercase());
    let other_collection = if collection == "callers" { "workspaces" } else { "callers" };
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
    name.bad(Aspect::Secret, "a token as the id", format!("{collection}/{}", values.token.secret));
    name.last_counts("nobody", good);
    name.hostile_is_bad(&["{}", &format!("{collection}/{{}}"), &format!("{good}{{}}")]);
}

/// Rows of a name `{collection}/{chosen}/{inner}/{id}` whose id the service gave out.
pub(crate) fn credential_names<R: Message + Clone, S: Fn(&mut R, String)>(
    name: &mut FieldRows<'_, '_, R, S>,
    values: &Values,
    collection: &str,
    inner: &str,
    good: &str,
    not_found: &dyn Fn() -> Expect,
) {
    let (parent, id) = good.split_once(&format!("/{inner}/")).expect("it is such a name");
    let of = |id: &str| format!("{parent}/{inner}/{id}");
    let zeros = "0".repeat(17);
    name.bad(Aspect::Empty, "empty", "");
    name.row(Aspect::Smallest, "an id of zeros", of(&zeros), not_found());
    name.row(Aspect::Smallest, "the shortest", format!("{collection}/zz/{inner}/{zeros}"), not_found());
    name.row(Aspect::Largest, "the longest", format!("{collection}/z{}/{inner}/{zeros}", "-".repeat(62)), not_found());
    // 2^64 - 1 and 2^32 - 1 in base62.
    name.row(Aspect::Largest, "the largest id", of("LygHa16AHYF4gfFC3"), not_found());
    name.good(Aspect::Largest, "the name itself", good);
    name.row(Aspect::IllFormed, "of another parent", format!("{collection}/elsewhere/{inner}/{id}"), not_found());
    name.bad(Aspect::TooLarge, "an id of 18", of(&format!("0{zeros}")));
    name.bad(Aspect::TooLarge, "an id past the largest", of("LygHa16AHYG4gfFC3"));
    name.bad(Aspect::TooLarge, "an id past the largest in its second part", of("LygHa16AHYF4gfFC4"));
    name.bad(Aspect::TooLarge, "an id of the last digits", of(&"z".repeat(17)));
    name.bad(Aspect::TooLarge, "a parent of 64", format!("{collection}/z{}/{inner}/{id}", "-".repeat(63)));
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
    name.bad(Aspect::Secret, "a token's first half as the id", of(&values.token.secret["tkdw_0".len()..]));
    name.last_counts("nobody", good);
    name.hostile_is_bad(&["{}", &of("{}"), &format!("{good}{{}}"), &format!("{collection}/{{}}/{inner}/{id}")]);
}

async fn read_back(world: &World, Case { rpc, request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let (server, request) = (&world.server, request.clone());
    match *rpc {
        GET_TOKEN => {
            let token = GetTokenResponse::decode(answer).expect("an answer").token.ok_or("it is not told")?;
            let asked = GetTokenRequest::decode(request).expect("a request").name;
            same("the token", (token.state(), token.name), (token::State::Active, asked))
        }
        REVOKE_TOKEN => {
            let RevokeTokenResponse { token, revision } = RevokeTokenResponse::decode(answer).expect("an answer");
            let token = token.ok_or("it is not told")?;
            let asked = RevokeTokenRequest::decode(request).expect("a request");
            same("the name", &token.name, &asked.name)?;
            same("the reason", &token.revoke_reason, &cut(&asked.reason, &world.values.token.secret))?;
            same("the state", token.state(), token::State::Revoked)?;
            same("the revision is there", revision.is_some(), true)?;
            let name = token.name.clone();
            same("the token", server.get_token(&name).await, token)
        }
        GET_WORKSPACE => {
            let workspace = GetWorkspaceResponse::decode(answer).expect("an answer").workspace.ok_or("it is not told")?;
            same("the name", workspace.name, GetWorkspaceRequest::decode(request).expect("a request").name)
        }
        GET_CALLER => {
            let caller = GetCallerResponse::decode(answer).expect("an answer").caller.ok_or("it is not told")?;
            same("the name", caller.name, GetCallerRequest::decode(request).expect("a request").name)
        }
        DELETE_CALLER => {
            let DeleteCallerResponse { caller, revision } = DeleteCallerResponse::decode(answer).expect("an answer");
            let name = caller.ok_or("it is not told")?.name;
            same("the name", &name, &DeleteCallerRequest::decode(request).expect("a request").name)?;
            same("the revision is there", revision.is_some(), true)?;
            let mut admin = server.admin().caller_admin();
            let gone = admin.get_caller(GetCallerRequest { name: name.clone() }).await.expect_err("it is deleted");
            same("the answer to who asks for it", gone.code(), Code::NotFound)?;
            // For the next row.
            let id = name.strip_prefix("callers/").expect("it is a caller");
            admin.create_caller(Values::new_caller(id)).await.map(|_| ()).map_err(|status| status.to_string())
        }
        REVOKE_KEY => {
            let RevokeCallerKeyResponse { key, revision } = RevokeCallerKeyResponse::decode(answer).expect("an answer");
            let key = key.ok_or("it is not told")?;
            same("the name", &key.name, &RevokeCallerKeyRequest::decode(request).expect("a request").name)?;
            same("the state", key.state(), caller_key::State::Revoked)?;
            same("the revision is there", revision.is_some(), true)
        }
        other => Err(format!("{other} has nothing to read back")),
    }
}
