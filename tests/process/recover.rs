//! `tokend init --recover`: a new key for an ADMIN, when nobody has one any more.

use tokend_client::v1::{
    CreateCallerKeyRequest, ListAuditEventsRequest, ListCallerKeysRequest, ListCallersRequest, caller_key::State,
};
use tokend_tests::{Installation, on_both_databases};

on_both_databases!(
    a_lost_key_is_replaced_and_the_record_says_so,
    where_no_admin_has_room_another_is_made,
    without_an_installation_there_is_nothing_to_recover,
);

async fn recover(installation: &Installation) -> String {
    let finished = installation.run_on_data(["init", "--recover"]).await;
    let key = finished.stdout.trim().to_owned();
    assert!(finished.status.success() && key.starts_with("tkdc_") && key.len() == 74, "{finished:#?}");
    assert!(!finished.stderr.contains(&key), "it stands on stdout alone");
    key
}

async fn a_lost_key_is_replaced_and_the_record_says_so(installation: Installation) {
    let lost = installation.init().await;
    let key = recover(&installation).await;
    assert_ne!(key, lost);
    let server = installation.serve(&key).await;
    let mut callers = server.admin().caller_admin();
    let listed = callers.list_callers(ListCallersRequest::default()).await.expect("it is an ADMIN's").into_inner().callers;
    assert_eq!(listed.len(), 1, "no caller was made for it: {listed:?}");
    let keys = ListCallerKeysRequest { parent: "callers/admin".to_owned(), ..Default::default() };
    let keys = callers.list_caller_keys(keys).await.expect("a list").into_inner().keys;
    assert!(keys.len() == 2 && keys.iter().all(|key| key.state() == State::Active), "{keys:?}");

    let events = ListAuditEventsRequest { parent: "-".to_owned(), ..Default::default() };
    let events = server.admin().audit_log().list_audit_events(events).await.expect("a list").into_inner().events;
    let recorded = events.iter().find(|event| event.detail.contains("--recover")).expect("it is on record");
    assert_eq!((recorded.r#type.as_str(), recorded.caller.as_str()), ("caller_key.created", ""), "{recorded:?}");
    assert_eq!(recorded.resource, keys[0].name);
}

async fn where_no_admin_has_room_another_is_made(installation: Installation) {
    let server = installation.start().await;
    let request = CreateCallerKeyRequest { parent: "callers/admin".to_owned(), ttl: None };
    server.admin().caller_admin().create_caller_key(request).await.expect("a second key");
    // While the server serves, too; twice for one caller, then for the next.
    for expected in ["callers/recovered-admin", "callers/recovered-admin", "callers/recovered-admin-2"] {
        let client = server.client(&recover(&installation).await).await;
        let listed = client.caller_admin().list_callers(ListCallersRequest::default()).await.expect("it is an ADMIN's");
        assert!(listed.into_inner().callers.iter().any(|caller| caller.name == expected), "{expected}");
    }
    let listed = server.admin().caller_admin().list_callers(ListCallersRequest::default()).await.expect("a list").into_inner();
    assert_eq!(listed.callers.len(), 3);
}

async fn without_an_installation_there_is_nothing_to_recover(installation: Installation) {
    let sentence = installation.run_on_data(["init", "--recover"]).await.failed_with_a_sentence();
    assert!(sentence.contains("tokend init"), "{sentence}");
    assert!(!installation.data_dir().exists(), "it makes nothing");
}
