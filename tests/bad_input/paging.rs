//! The list calls: `ListTokens`, `ListWorkspaces`, `ListOrganizations`, `ListCallers`, `ListCallerKeys`, and
//! `ListScopes`, which has no pages.

use bytes::Bytes;
use prost::{Message, encoding::WireType};
use tokend_client::v1::{
    CreateCallerKeyRequest, ErrorReason, ListCallerKeysRequest, ListCallerKeysResponse, ListCallersRequest,
    ListCallersResponse, ListOrganizationsRequest, ListOrganizationsResponse, ListScopesResponse, ListTokensRequest,
    ListTokensResponse, ListWorkspacesRequest, ListWorkspacesResponse, RevokeCallerKeyRequest,
};
use tokend_tests::{Installation, Server, Storage, on_both_databases, token_in};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused, too_large, undecodable},
    descriptors,
    names::chosen_names,
    run::{World, run_in, same},
    values::Values,
};

on_both_databases!(lists);

const TOKENS: &str = "TokenAdmin/ListTokens";
const SCOPES: &str = "TokenAdmin/ListScopes";
const WORKSPACES: &str = "WorkspaceAdmin/ListWorkspaces";
const ORGANIZATIONS: &str = "WorkspaceAdmin/ListOrganizations";
const CALLERS: &str = "CallerAdmin/ListCallers";
const KEYS: &str = "CallerAdmin/ListCallerKeys";

/// The entries of a list longer than the largest page, and of a list longer than the default page.
const MANY: usize = 1_002;
const SOME: usize = 52;

async fn lists(installation: Installation) {
    let world = World::of(&installation).await;
    // The largest page does not depend on the database, so one database is enough.
    fill(
        &world.server,
        if installation.storage() == Storage::Sqlite {
            MANY
        } else {
            SOME
        },
    )
    .await;
    run_in(&installation, &world, cases, read_back).await;
}

/// Makes the lists longer than a page: tokens of `acme`, workspaces, organizations, callers, and keys of `gateway`.
async fn fill(server: &Server, tokens: usize) {
    for _ in 0..tokens {
        server.token(token_in("workspaces/acme")).await;
    }
    let mut admin = server.admin().caller_admin();
    for n in 0..SOME {
        server.workspace(&format!("w{n}")).await;
        server.organization(&format!("o{n}")).await;
        admin
            .create_caller(Values::new_caller(&format!("c{n}")))
            .await
            .expect("CreateCaller succeeds");
        let request = CreateCallerKeyRequest {
            parent: "callers/keyless".to_owned(),
            ttl: None,
        };
        let key = admin
            .create_caller_key(request)
            .await
            .expect("CreateCallerKey succeeds")
            .into_inner()
            .key
            .expect("the response has the key");
        admin
            .revoke_caller_key(RevokeCallerKeyRequest {
                name: key.name,
                no_wait: true,
            })
            .await
            .expect("RevokeCallerKey succeeds");
    }
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let not_found = |reason| move || refused(Code::NotFound, reason);
    let mut tokens = Rows::of(
        TOKENS,
        ListTokensRequest {
            parent: values.acme.clone(),
            ..Default::default()
        },
    );
    let mut parent = tokens.field("parent", |request, value: String| request.parent = value);
    chosen_names(
        &mut parent,
        values,
        "workspaces",
        &values.acme,
        &not_found(ErrorReason::WorkspaceNotFound),
    );
    page_sizes(&mut tokens, |request, value| request.page_size = value);
    page_tokens(&mut tokens, values, |request, value| request.page_token = value);

    let mut workspaces = Rows::of(WORKSPACES, ListWorkspacesRequest::default());
    page_sizes(&mut workspaces, |request, value| request.page_size = value);
    page_tokens(&mut workspaces, values, |request, value| request.page_token = value);

    let mut organizations = Rows::of(ORGANIZATIONS, ListOrganizationsRequest::default());
    page_sizes(&mut organizations, |request, value| request.page_size = value);
    page_tokens(&mut organizations, values, |request, value| request.page_token = value);

    let mut callers = Rows::of(CALLERS, ListCallersRequest::default());
    page_sizes(&mut callers, |request, value| request.page_size = value);
    page_tokens(&mut callers, values, |request, value| request.page_token = value);

    // The page tokens are for the keys of another caller.
    let mut keys = Rows::of(
        KEYS,
        ListCallerKeysRequest {
            parent: values.keyless.clone(),
            ..Default::default()
        },
    );
    let mut parent = keys.field("parent", |request, value: String| request.parent = value);
    chosen_names(
        &mut parent,
        values,
        "callers",
        &values.caller,
        &not_found(ErrorReason::CallerNotFound),
    );
    page_sizes(&mut keys, |request, value| request.page_size = value);
    let mut few_keys = Rows::of(
        KEYS,
        ListCallerKeysRequest {
            parent: values.caller.clone(),
            ..Default::default()
        },
    );
    page_tokens(&mut few_keys, values, |request, value| request.page_token = value);
    let by_id = [workspaces.finish(), organizations.finish(), callers.finish()].concat();
    [tokens.finish(), by_id, keys.finish(), few_keys.finish()].concat()
}

pub(crate) fn page_sizes<R: Message + Clone>(rows: &mut Rows<'_, R>, set: fn(&mut R, i32)) {
    let rpc = rows.rpc();
    let mut size = rows.field("page_size", set);
    size.good(Aspect::Empty, "zero: the default", 0);
    for number in [1, 2, 49, 50, 51, 52] {
        size.good(Aspect::Smallest, number, number);
    }
    for number in [999, 1_000] {
        size.good(Aspect::Largest, number, number);
    }
    for number in [1_001, 65_535, 65_536, 65_537, i32::MAX] {
        size.good(Aspect::TooLarge, format!("{number}: as many as there can be"), number);
    }
    for number in [-1, -1_000, -65_536, i32::MIN] {
        size.bad(Aspect::Smallest, number, number);
    }
    // Numbers of more than 32 bits lose the upper bits, as protobuf specifies.
    for (what, bytes, expect) in [
        ("2^32 + 2", &[0x82, 0x80, 0x80, 0x80, 0x10][..], Expect::Accepted),
        ("-1 in 32 bits", &[0xff, 0xff, 0xff, 0xff, 0x0f], fields(&["page_size"])),
        (
            "-1 in 64 bits",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            fields(&["page_size"]),
        ),
        (
            "past 2^64",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            undecodable(),
        ),
        ("two in too many bytes", &[0x82, 0x80, 0x00], Expect::Accepted),
    ] {
        let bytes = descriptors::field(rpc, "page_size").encode_as(WireType::Varint, bytes);
        rows.raw(
            "page_size",
            Aspect::TooLarge,
            what,
            [rows.good().encode_to_vec(), bytes].concat(),
            expect,
        );
    }
}

pub(crate) fn page_tokens<R: Message + Clone>(rows: &mut Rows<'_, R>, values: &Values, set: fn(&mut R, String)) {
    let rpc = rows.rpc();
    let own = values
        .pages
        .iter()
        .find(|pages| pages.rpc == rpc)
        .expect("the list has pages");
    let mine = own.mine.as_str();
    let mut token = rows.field("page_token", set);
    token.good(Aspect::Empty, "none: the first page", "");
    token.good(Aspect::Smallest, "the second page", mine);
    token.good(Aspect::Largest, "the second page", mine);
    token.bad(Aspect::Smallest, "one character", "0");
    token.bad(Aspect::TooLarge, "one character more", format!("{mine}A"));
    token.bad(Aspect::TooLarge, "four characters more", format!("{mine}AAAA"));
    token.bad(Aspect::TooLarge, "60,000 characters", "A".repeat(60_000));
    token.row(
        Aspect::TooLarge,
        "longer than a message may be",
        "A".repeat(64 * 1024),
        too_large(),
    );
    token.bad(Aspect::IllFormed, "padded", format!("{mine}="));
    token.bad(Aspect::IllFormed, "padded twice", format!("{mine}=="));
    token.bad(Aspect::IllFormed, "a blank before it", format!(" {mine}"));
    token.bad(Aspect::IllFormed, "a line break behind it", format!("{mine}\n"));
    token.bad(Aspect::IllFormed, "twice", mine.repeat(2));
    for length in 1..mine.len() {
        token.bad(
            Aspect::IllFormed,
            format!("its first {length} characters"),
            &mine[..length],
        );
        token.bad(
            Aspect::IllFormed,
            format!("without its first {length} characters"),
            &mine[length..],
        );
    }
    for place in 0..mine.len() {
        let other = if &mine[place..=place] == "A" { "B" } else { "A" };
        let altered = [&mine[..place], other, &mine[place + 1..]].concat();
        token.bad(Aspect::IllFormed, format!("{other} for character {place}"), altered);
    }
    token.bad(Aspect::Hostile, "another caller's", own.of_another_caller.as_str());
    if let Some(of_another_parent) = &own.of_another_parent {
        token.bad(Aspect::Hostile, "another parent's", of_another_parent.as_str());
    }
    for other in values.pages.iter().filter(|pages| pages.rpc != rpc) {
        token.bad(Aspect::Hostile, format!("that of {}", other.rpc), other.mine.as_str());
    }
    token.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    token.bad(Aspect::Secret, "a caller key", values.admin_key.as_str());
    token.last_counts("garbage", mine);
    token.hostile_is_bad(&["{}", &format!("{mine}{{}}"), "0{}"]);
}

async fn read_back(world: &World, Case { rpc, request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let request = request.clone();
    let (asked, page_token, total, names, next) = match *rpc {
        TOKENS => {
            let asked = ListTokensRequest::decode(request).expect("the request decodes");
            let page = ListTokensResponse::decode(answer).expect("the response decodes");
            let total = usize::try_from(page.total_size).expect("the total is not negative");
            same("whether all tokens count", total > SOME, true)?;
            let names = page.tokens.into_iter().map(|token| token.name);
            (
                asked.page_size,
                asked.page_token,
                total,
                names.collect::<Vec<_>>(),
                page.next_page_token,
            )
        }
        WORKSPACES => {
            let asked = ListWorkspacesRequest::decode(request).expect("the request decodes");
            let page = ListWorkspacesResponse::decode(answer).expect("the response decodes");
            let names = page.workspaces.into_iter().map(|workspace| workspace.name);
            (
                asked.page_size,
                asked.page_token,
                SOME + 2,
                names.collect(),
                page.next_page_token,
            )
        }
        ORGANIZATIONS => {
            let asked = ListOrganizationsRequest::decode(request).expect("the request decodes");
            let page = ListOrganizationsResponse::decode(answer).expect("the response decodes");
            let names = page.organizations.into_iter().map(|organization| organization.name);
            (
                asked.page_size,
                asked.page_token,
                SOME + 2,
                names.collect(),
                page.next_page_token,
            )
        }
        CALLERS => {
            let asked = ListCallersRequest::decode(request).expect("the request decodes");
            let page = ListCallersResponse::decode(answer).expect("the response decodes");
            let names = page.callers.into_iter().map(|caller| caller.name);
            // The first caller, and four callers of every test server.
            (
                asked.page_size,
                asked.page_token,
                SOME + 5,
                names.collect(),
                page.next_page_token,
            )
        }
        KEYS => {
            let asked = ListCallerKeysRequest::decode(request).expect("the request decodes");
            let page = ListCallerKeysResponse::decode(answer).expect("the response decodes");
            let total = if asked.parent == world.values.keyless { SOME } else { 2 };
            (
                asked.page_size,
                asked.page_token,
                total,
                page.keys.into_iter().map(|key| key.name).collect(),
                page.next_page_token,
            )
        }
        SCOPES => {
            return same(
                "the scopes",
                ListScopesResponse::decode(answer)
                    .expect("the response decodes")
                    .scopes
                    .len(),
                15,
            );
        }
        other => return Err(format!("{other} has nothing to read back")),
    };
    let wanted = match usize::try_from(asked).map_err(|_| "a negative size was accepted")? {
        0 => 50,
        size => size.min(1_000),
    };
    // Tokens and callers that are newer than the page token may sort before it.
    let most = wanted.min(total);
    let is_first = page_token.is_empty();
    same(
        "the number of entries",
        if is_first {
            names.len() == most
        } else {
            (1..=most).contains(&names.len())
        },
        true,
    )
    .map_err(|problem| format!("{problem}: {} of {total}", names.len()))?;
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    same("the number of different entries", once.len(), names.len())?;
    if is_first {
        same("whether it is the last page", next.is_empty(), names.len() == total)?;
    }
    Ok(())
}
