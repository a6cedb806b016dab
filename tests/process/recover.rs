//! `tokend init --recover` creates a key for an ADMIN after every ADMIN key is lost.

use tokend_client::v1::{
    CreateCallerKeyRequest, ListAuditEventsRequest, ListCallerKeysRequest, ListCallersRequest, caller_key::State,
};
use tokend_tests::{Installation, on_both_databases};

on_both_databases!(
    a_lost_key_is_replaced_and_recorded,
    when_every_admin_has_all_its_keys_another_is_created,
    recover_without_an_installation_is_refused,
);

async fn recover(installation: &Installation) -> String {
    let finished = installation.run_on_data(["init", "--recover"]).await;
    let key = finished.stdout.trim().to_owned();
    assert!(
        finished.status.success() && key.starts_with("tkdc_") && key.len() == 74,
        "{finished:#?}"
    );
    assert!(!finished.stderr.contains(&key), "only stdout has the key");
    key
}

async fn a_lost_key_is_replaced_and_recorded(installation: Installation) {
    let lost = installation.init().await;
    let key = recover(&installation).await;
    assert_ne!(key, lost);
    let server = installation.serve(&key).await;
    let mut callers = server.admin().caller_admin();
    let listed = callers
        .list_callers(ListCallersRequest::default())
        .await
        .expect("the key is an ADMIN's")
        .into_inner()
        .callers;
    assert_eq!(listed.len(), 1, "no caller is created: {listed:?}");
    let keys = ListCallerKeysRequest {
        parent: "callers/admin".to_owned(),
        ..Default::default()
    };
    let keys = callers
        .list_caller_keys(keys)
        .await
        .expect("ListCallerKeys succeeds")
        .into_inner()
        .keys;
    assert!(
        keys.len() == 2 && keys.iter().all(|key| key.state() == State::Active),
        "{keys:?}"
    );

    let events = ListAuditEventsRequest {
        parent: "-".to_owned(),
        ..Default::default()
    };
    let events = server
        .admin()
        .audit_log()
        .list_audit_events(events)
        .await
        .expect("ListAuditEvents succeeds")
        .into_inner()
        .events;
    let recorded = events
        .iter()
        .find(|event| event.detail.contains("--recover"))
        .expect("the recovery is recorded");
    assert_eq!(
        (recorded.r#type.as_str(), recorded.caller.as_str()),
        ("caller_key.created", ""),
        "{recorded:?}"
    );
    assert_eq!(recorded.resource, keys[0].name);
}

async fn when_every_admin_has_all_its_keys_another_is_created(installation: Installation) {
    let server = installation.start().await;
    let request = CreateCallerKeyRequest {
        parent: "callers/admin".to_owned(),
        ttl: None,
    };
    server
        .admin()
        .caller_admin()
        .create_caller_key(request)
        .await
        .expect("the second key is created");
    // It works while the server runs: twice for one caller, then for the next.
    for expected in [
        "callers/recovered-admin",
        "callers/recovered-admin",
        "callers/recovered-admin-2",
    ] {
        let client = server.client(&recover(&installation).await).await;
        let listed = client
            .caller_admin()
            .list_callers(ListCallersRequest::default())
            .await
            .expect("the key is an ADMIN's");
        assert!(
            listed.into_inner().callers.iter().any(|caller| caller.name == expected),
            "{expected}"
        );
    }
    let listed = server
        .admin()
        .caller_admin()
        .list_callers(ListCallersRequest::default())
        .await
        .expect("ListCallers succeeds")
        .into_inner();
    assert_eq!(listed.callers.len(), 3);
}

async fn recover_without_an_installation_is_refused(installation: Installation) {
    let sentence = installation
        .run_on_data(["init", "--recover"])
        .await
        .failed_with_a_sentence();
    assert!(sentence.contains("tokend init"), "{sentence}");
    assert!(!installation.data_dir().exists(), "nothing is created");
}
