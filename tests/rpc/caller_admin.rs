//! `CallerAdmin` manages the callers, which are the backends that may call tokend, and their keys.

use tokend_client::v1::{
    Caller, CreateCallerKeyRequest, CreateCallerRequest, DeleteCallerRequest, ErrorReason, GetCallerRequest,
    ListCallerKeysRequest, ListCallersRequest, ListScopesRequest, RevokeCallerKeyRequest, Role, Selection,
    caller_key::State,
};
use tokend_tests::{Installation, Refused, Server, on_both_databases};
use tonic::Code;

on_both_databases!(
    a_caller_is_created_as_requested,
    a_taken_id_is_refused,
    an_invalid_caller_field_is_named,
    a_key_works_at_once_and_lasts_90_days,
    a_caller_has_at_most_two_active_keys,
    a_revoked_key_is_refused_and_does_not_change,
    a_deleted_callers_keys_are_refused_and_its_id_is_free,
    absent_callers_and_keys_are_not_found,
    an_invalid_key_field_is_named,
    lists_are_complete,
);

fn all_workspaces() -> Option<Selection> {
    Some(Selection {
        all: true,
        only: Vec::new(),
    })
}

fn verifier(id: &str) -> CreateCallerRequest {
    CreateCallerRequest {
        caller_id: id.to_owned(),
        role: Role::Verifier.into(),
        workspaces: all_workspaces(),
        ..Default::default()
    }
}

async fn create(server: &Server, request: CreateCallerRequest) -> Caller {
    let created = server
        .admin()
        .caller_admin()
        .create_caller(request)
        .await
        .expect("CreateCaller succeeds");
    created.into_inner().caller.expect("`caller` is set")
}

async fn works(server: &Server, key: &str) -> bool {
    let answer = server
        .client(key)
        .await
        .token_admin()
        .list_scopes(ListScopesRequest {})
        .await;
    if answer.is_err() {
        answer.refused(Code::Unauthenticated, ErrorReason::InvalidCredential);
        return false;
    }
    true
}

async fn a_caller_is_created_as_requested(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    for (id, role, workspaces) in [
        (
            "gateway",
            Role::Verifier,
            Selection {
                all: false,
                only: vec![acme],
            },
        ),
        (
            "second-admin",
            Role::Admin,
            Selection {
                all: true,
                only: Vec::new(),
            },
        ),
    ] {
        let request = CreateCallerRequest {
            caller_id: id.to_owned(),
            role: role.into(),
            workspaces: Some(workspaces.clone()),
            certificate_sans: vec![format!("spiffe://example.org/{id}"), format!("{id}.Example.org")],
        };
        let created = create(&server, request).await;
        assert_eq!(created.name, format!("callers/{id}"));
        assert_eq!((created.role(), created.workspaces.as_ref()), (role, Some(&workspaces)));
        assert_eq!(
            created.certificate_sans,
            [format!("spiffe://example.org/{id}"), format!("{id}.example.org")]
        );
        assert!(created.create_time.is_some());
        let got = server
            .admin()
            .caller_admin()
            .get_caller(GetCallerRequest {
                name: created.name.clone(),
            })
            .await;
        assert_eq!(got.expect("GetCaller succeeds").into_inner().caller, Some(created));
    }
}

async fn a_taken_id_is_refused(installation: Installation) {
    let server = installation.start().await;
    create(&server, verifier("gateway")).await;
    let answer = server.admin().caller_admin().create_caller(verifier("gateway")).await;
    answer.refused(Code::AlreadyExists, ErrorReason::CallerAlreadyExists);
}

async fn an_invalid_caller_field_is_named(installation: Installation) {
    let server = installation.start().await;
    let create = async |request| server.admin().caller_admin().create_caller(request).await;
    for id in ["", "g", "Gateway", "1gateway", "callers/gateway", &"g".repeat(64)] {
        create(verifier(id)).await.refused_field("caller_id");
    }
    for role in [0, -1, 99] {
        create(CreateCallerRequest {
            role,
            ..verifier("gateway")
        })
        .await
        .refused_field("role");
    }
    for workspaces in [
        None,
        Some(Selection::default()),
        Some(Selection {
            all: true,
            only: vec!["workspaces/acme".to_owned()],
        }),
    ] {
        create(CreateCallerRequest {
            workspaces,
            ..verifier("gateway")
        })
        .await
        .refused_field("workspaces");
    }
    let only = vec!["workspaces/acme".to_owned(), "acme".to_owned()];
    let request = CreateCallerRequest {
        workspaces: Some(Selection { all: false, only }),
        ..verifier("gateway")
    };
    create(request).await.refused_field("workspaces.only[1]");
    for (sans, field) in [
        (vec![String::new()], "certificate_sans[0]"),
        (vec!["a.example".to_owned(); 17], "certificate_sans"),
    ] {
        create(CreateCallerRequest {
            certificate_sans: sans,
            ..verifier("gateway")
        })
        .await
        .refused_field(field);
    }
    create(verifier("gateway")).await.expect("the id is still free");
}

async fn a_key_works_at_once_and_lasts_90_days(installation: Installation) {
    let server = installation.start().await;
    let caller = create(&server, verifier("gateway")).await;
    let request = CreateCallerKeyRequest {
        parent: caller.name.clone(),
        ttl: None,
    };
    let created = server
        .admin()
        .caller_admin()
        .create_caller_key(request)
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner();
    assert!(works(&server, &created.secret).await);
    let key = created.key.expect("`key` is set");
    assert_eq!(key.state(), State::Active);
    assert!(key.name.starts_with("callers/gateway/keys/"), "{}", key.name);
    let (start, end) = (
        key.create_time.expect("`create_time` is set"),
        key.expire_time.expect("`expire_time` is set"),
    );
    assert_eq!((end.seconds - start.seconds, end.nanos), (90 * 24 * 3_600, start.nanos));
    let parts: Vec<_> = created.secret.split('_').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("tkdc", 18, 50));
    assert!(key.name.ends_with(&parts[1][1..]), "the id in a secret is the key's");
    assert!(created.secret.starts_with(key.hint.trim_end_matches("...")));
}

async fn a_caller_has_at_most_two_active_keys(installation: Installation) {
    let server = installation.start().await;
    let first = server.caller("gateway", Role::Verifier).await;
    let request = || CreateCallerKeyRequest {
        parent: "callers/gateway".to_owned(),
        ttl: None,
    };
    let mut admin = server.admin().caller_admin();
    let second = admin
        .create_caller_key(request())
        .await
        .expect("a second key is allowed")
        .into_inner();
    assert!(works(&server, &first.secret).await && works(&server, &second.secret).await);
    admin
        .create_caller_key(request())
        .await
        .refused(Code::ResourceExhausted, ErrorReason::TooManyCallerKeys);
    admin
        .revoke_caller_key(RevokeCallerKeyRequest {
            name: first.public,
            no_wait: false,
        })
        .await
        .expect("RevokeCallerKey succeeds");
    let third = admin
        .create_caller_key(request())
        .await
        .expect("a new key is allowed after one was revoked")
        .into_inner();
    assert!(works(&server, &second.secret).await && works(&server, &third.secret).await);
}

async fn a_revoked_key_is_refused_and_does_not_change(installation: Installation) {
    let server = installation.start().await;
    let issued = server.caller("gateway", Role::Verifier).await;
    let mut admin = server.admin().caller_admin();
    let request = RevokeCallerKeyRequest {
        name: issued.public,
        no_wait: false,
    };
    let first = admin
        .revoke_caller_key(request.clone())
        .await
        .expect("RevokeCallerKey succeeds")
        .into_inner();
    assert_eq!(first.key.as_ref().expect("`key` is set").state(), State::Revoked);
    assert!(!works(&server, &issued.secret).await);
    let again = admin
        .revoke_caller_key(request)
        .await
        .expect("RevokeCallerKey succeeds")
        .into_inner();
    assert_eq!(again.key, first.key);
    assert!(again.revision.expect("`revision` is set").number > first.revision.expect("`revision` is set").number);
}

async fn a_deleted_callers_keys_are_refused_and_its_id_is_free(installation: Installation) {
    let server = installation.start().await;
    let issued = server.caller("gateway", Role::Admin).await;
    let theirs = server.client(&issued.secret).await;
    server.workspace("acme").await;
    let token = theirs
        .token_admin()
        .create_token(tokend_tests::token_in("workspaces/acme"))
        .await
        .expect("CreateToken succeeds")
        .into_inner();
    let request = DeleteCallerRequest {
        name: "callers/gateway".to_owned(),
        no_wait: false,
    };
    let deleted = server
        .admin()
        .caller_admin()
        .delete_caller(request.clone())
        .await
        .expect("DeleteCaller succeeds")
        .into_inner();
    assert_eq!(deleted.caller.expect("`caller` is set").name, "callers/gateway");
    assert!(deleted.revision.is_some());
    assert!(!works(&server, &issued.secret).await);
    let answer = server.admin().caller_admin().delete_caller(request).await;
    answer.refused(Code::NotFound, ErrorReason::CallerNotFound);
    let verdict = server
        .verdict(tokend_tests::question(&token.secret, "workspaces/acme", &[]))
        .await;
    assert_eq!(
        verdict.decision(),
        tokend_client::v1::Decision::Allow,
        "the tokens that it created still work"
    );

    create(&server, verifier("gateway")).await;
    assert!(
        !works(&server, &issued.secret).await,
        "a new caller with the same id does not revive the keys"
    );
}

async fn absent_callers_and_keys_are_not_found(installation: Installation) {
    let server = installation.start().await;
    create(&server, verifier("gateway")).await;
    let mut admin = server.admin().caller_admin();
    let absent = "callers/nobody".to_owned();
    let answer = admin.get_caller(GetCallerRequest { name: absent.clone() }).await;
    answer.refused(Code::NotFound, ErrorReason::CallerNotFound);
    let answer = admin
        .create_caller_key(CreateCallerKeyRequest {
            parent: absent.clone(),
            ttl: None,
        })
        .await;
    answer.refused(Code::NotFound, ErrorReason::CallerNotFound);
    let answer = admin
        .list_caller_keys(ListCallerKeysRequest {
            parent: absent,
            ..Default::default()
        })
        .await;
    answer.refused(Code::NotFound, ErrorReason::CallerNotFound);
    let name = format!("callers/gateway/keys/{}", "0".repeat(17));
    let answer = admin
        .revoke_caller_key(RevokeCallerKeyRequest { name, no_wait: false })
        .await;
    answer.refused(Code::NotFound, ErrorReason::CallerKeyNotFound);
}

async fn an_invalid_key_field_is_named(installation: Installation) {
    let server = installation.start().await;
    create(&server, verifier("gateway")).await;
    let mut admin = server.admin().caller_admin();
    let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    for ttl in [
        span(0, 0),
        span(-1, 0),
        span(0, 1),
        span(i64::MAX, 0),
        span(300_000_000_000, 0),
    ] {
        let request = CreateCallerKeyRequest {
            parent: "callers/gateway".to_owned(),
            ttl,
        };
        admin.create_caller_key(request).await.refused_field("ttl");
    }
    for name in ["", "gateway", "workspaces/gateway", "callers/gateway/keys/x"] {
        let request = CreateCallerKeyRequest {
            parent: name.to_owned(),
            ttl: None,
        };
        admin.create_caller_key(request).await.refused_field("parent");
        admin
            .get_caller(GetCallerRequest { name: name.to_owned() })
            .await
            .refused_field("name");
        admin
            .revoke_caller_key(RevokeCallerKeyRequest {
                name: name.to_owned(),
                no_wait: false,
            })
            .await
            .refused_field("name");
    }
}

async fn lists_are_complete(installation: Installation) {
    let server = installation.start().await;
    for id in ["zz", "mm", "aa"] {
        create(&server, verifier(id)).await;
    }
    let mut admin = server.admin().caller_admin();
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = admin
            .list_callers(ListCallersRequest {
                page_size: 1,
                page_token,
            })
            .await
            .expect("ListCallers succeeds")
            .into_inner();
        names.extend(page.callers.into_iter().map(|caller| caller.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), 4, "and the first caller: {names:?}");
    assert!(
        names.is_sorted()
            && ["aa", "mm", "zz"]
                .iter()
                .all(|id| names.contains(&format!("callers/{id}"))),
        "{names:?}"
    );
    for page_size in [-1, i32::MIN] {
        admin
            .list_callers(ListCallersRequest {
                page_size,
                ..Default::default()
            })
            .await
            .refused_field("page_size");
    }
}
