//! The server loads changed certificates without a restart.

use std::{fs, os::unix::fs::symlink, sync::atomic::Ordering};

use std::sync::{Arc, atomic::AtomicBool};

use tokend_client::{
    CallerKey, Client,
    v1::{CreateCallerRequest, ListScopesRequest, Role, Selection},
};
use tokend_tests::{Installation, Server, eventually, http, on_sqlite};

use crate::{
    authority::{Authority, Pair},
    files::Files,
    handshake::{Offer, der, rejection, served_certificate},
};

on_sqlite!(
    a_new_certificate_is_served_without_dropped_calls,
    the_symlink_swap_of_a_kubernetes_secret_is_detected,
    an_invalid_pair_keeps_the_old_one_in_use,
    clients_of_a_replaced_client_ca_are_disconnected,
    clients_of_an_unchanged_client_ca_stay_connected,
);

async fn serves(server: &Server, authority: &Authority, pair: &Pair) {
    let wanted = der(pair);
    eventually("the new certificate is served", async || {
        served_certificate(server, authority)
            .await
            .ok()
            .filter(|served| *served == wanted)
    })
    .await;
}

async fn calls(client: &Client) {
    client
        .token_admin()
        .list_scopes(ListScopesRequest {})
        .await
        .unwrap_or_else(|status| panic!("{status:?}"));
}

fn changes(server: &Server, outcome: &str) -> Option<String> {
    let (_, metrics) = http::get(server.ops_address(), "/metrics");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("tokend_tls_file_changes_total{{outcome=\"{outcome}\"}} ")));
    line.map(str::to_owned)
}

/// Under load: a client that could not connect again keeps its connection, and every call on it is answered.
async fn a_new_certificate_is_served_without_dropped_calls(installation: Installation) {
    let (before, after) = (Authority::new(), Authority::new());
    let files = Files::new(&installation, &before.server());
    let server = files.serve(&installation, &before.trusted()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = tokio::spawn({
        let (client, stop) = (server.admin().clone(), Arc::clone(&stop));
        async move {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                calls(&client).await;
                answered += 1;
            }
            answered
        }
    });
    let next = after.server();
    files.put("tls.crt", &next.certificate);
    files.put("tls.key", &next.key);
    serves(&server, &after, &next).await;
    calls(server.admin()).await;
    stop.store(true, Ordering::Relaxed);
    assert!(traffic.await.expect("every call succeeds") > 0);
    let key = CallerKey::new(server.admin_key()).expect("the key is valid");
    Client::connect_with(server.grpc_address(), Some(&key), &before.trusted())
        .await
        .expect_err("a new connection gets the new certificate");
    assert_eq!(changes(&server, "refused").as_deref(), Some("0"));
}

async fn the_symlink_swap_of_a_kubernetes_secret_is_detected(installation: Installation) {
    let authority = Authority::new();
    let files = Files::new(&installation, &authority.server());
    let secret = installation.directory().join("secret");
    let version = |name: &str, pair: &Pair| {
        files.put("tls.crt", &pair.certificate);
        files.put("tls.key", &pair.key);
        fs::create_dir_all(secret.join(name)).expect("the directory is created");
        for file in ["tls.crt", "tls.key"] {
            fs::rename(files.path(file), secret.join(name).join(file)).expect("the file is renamed");
        }
        symlink(name, secret.join("..data_tmp")).expect("the link is created");
        fs::rename(secret.join("..data_tmp"), secret.join("..data")).expect("the file is renamed");
    };
    let (first, second) = (authority.server(), authority.server());
    version("..first", &first);
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), secret.join(file)).expect("the link is created");
    }
    let path = |file: &str| secret.join(file).to_str().expect("the value is text").to_owned();
    let key = installation.init().await;
    let arguments = [
        "--tls-cert".to_owned(),
        path("tls.crt"),
        "--tls-key".to_owned(),
        path("tls.key"),
    ];
    let server = installation.serve_over(&authority.trusted(), &key, arguments).await;
    serves(&server, &authority, &first).await;
    version("..second", &second);
    fs::remove_dir_all(secret.join("..first")).expect("the directory is removed");
    serves(&server, &authority, &second).await;
    assert_eq!(changes(&server, "taken").as_deref(), Some("1"));
    let (_, metrics) = http::get(server.ops_address(), "/metrics");
    // The year 4096, the default expiry of rcgen.
    assert!(
        metrics.contains("tokend_tls_certificate_expire_time_seconds 67"),
        "{metrics}"
    );
}

async fn an_invalid_pair_keeps_the_old_one_in_use(installation: Installation) {
    let authority = Authority::new();
    let good = authority.server();
    let files = Files::new(&installation, &good);
    let server = files.serve(&installation, &authority.trusted()).await;
    let mut refused = 0;
    for (file, text, words) in [
        ("tls.crt", authority.server().certificate.as_str(), "does not belong"),
        ("tls.crt", "garbage", "no certificate"),
        ("tls.crt", good.certificate.as_str(), ""),
        ("tls.key", "", "no private key"),
    ] {
        files.put(file, text);
        if words.is_empty() {
            continue;
        }
        refused += 1;
        eventually("the change is refused", async || {
            (changes(&server, "refused")? == refused.to_string()).then_some(())
        })
        .await;
        let log = server.process().stderr();
        assert!(
            log.lines()
                .any(|line| line.contains("ERROR") && line.contains(words) && line.contains("stay in use")),
            "{log}"
        );
        serves(&server, &authority, &good).await;
    }
    fs::remove_file(files.path("tls.key")).expect("the file is removed");
    eventually("the missing file is detected", async || {
        (changes(&server, "refused")? == "4").then_some(())
    })
    .await;
    serves(&server, &authority, &good).await;
    server.workspace("acme").await;
    // A valid pair is loaded again.
    let next = authority.server();
    files.put("tls.crt", &next.certificate);
    files.put("tls.key", &next.key);
    serves(&server, &authority, &next).await;
    assert!(
        !server
            .process()
            .stderr()
            .contains(good.key.lines().nth(1).expect("the key has lines"))
    );
}

/// Starts a server, and connects a client with a certificate.
async fn with_a_client(
    installation: &Installation,
    authority: &Authority,
    clients: &Authority,
) -> (Files, Server, Client, Pair) {
    let files = Files::with_client_ca(installation, &authority.server(), clients);
    let server = files.serve(installation, &authority.trusted()).await;
    let request = CreateCallerRequest {
        caller_id: "gateway".to_owned(),
        role: Role::Verifier.into(),
        workspaces: Some(Selection {
            all: true,
            only: Vec::new(),
        }),
        certificate_sans: vec!["gateway.example.org".to_owned()],
    };
    server
        .admin()
        .caller_admin()
        .create_caller(request)
        .await
        .expect("CreateCaller succeeds");
    let certificate = clients.client(&["gateway.example.org"]);
    let client = Client::connect_with(server.grpc_address(), None, &authority.trusted_by(&certificate))
        .await
        .expect("the connection opens");
    calls(&client).await;
    (files, server, client, certificate)
}

async fn clients_of_a_replaced_client_ca_are_disconnected(installation: Installation) {
    let (authority, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let (files, server, client, certificate) = with_a_client(&installation, &authority, &old).await;
    files.put("ca.crt", new.pem());
    // The server closes the old client's connection, and refuses a new one.
    eventually("the old client is refused", async || {
        client.token_admin().list_scopes(ListScopesRequest {}).await.err()
    })
    .await;
    let outcome = Offer {
        certificate: Some(&certificate),
        ..Offer::ordinary(&authority)
    }
    .handshake(&server)
    .await;
    rejection(outcome).await;
    let renewed = new.client(&["gateway.example.org"]);
    let client = Client::connect_with(server.grpc_address(), None, &authority.trusted_by(&renewed))
        .await
        .expect("the connection opens");
    calls(&client).await;
    // Clients with a caller key stay connected.
    calls(server.admin()).await;
}

async fn clients_of_an_unchanged_client_ca_stay_connected(installation: Installation) {
    let (before, after, clients) = (Authority::new(), Authority::new(), Authority::new());
    let (files, server, client, _) = with_a_client(&installation, &before, &clients).await;
    let next = after.server();
    files.put("tls.crt", &next.certificate);
    files.put("tls.key", &next.key);
    serves(&server, &after, &next).await;
    // The client trusts the earlier authority, so it could not connect again.
    for _ in 0..20 {
        calls(&client).await;
    }
}
