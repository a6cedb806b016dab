//! Certificates that change while the server runs.

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
    handshake::{Offer, broken_off, der, served_certificate},
};

on_sqlite!(
    a_new_certificate_is_served_and_nothing_is_dropped,
    the_symlink_swap_of_a_kubernetes_secret_is_seen,
    a_broken_pair_keeps_the_old_one,
    another_client_ca_sends_its_clients_away,
    the_same_client_ca_keeps_them,
);

async fn serves(server: &Server, authority: &Authority, pair: &Pair) {
    let wanted = der(pair);
    eventually("the new certificate is served", async || {
        served_certificate(server, authority).await.ok().filter(|served| *served == wanted)
    })
    .await;
}

async fn calls(client: &Client) {
    client.token_admin().list_scopes(ListScopesRequest {}).await.unwrap_or_else(|status| panic!("{status:?}"));
}

fn changes(server: &Server, outcome: &str) -> Option<String> {
    let (_, metrics) = http::get(server.ops_address(), "/metrics");
    let line =
        metrics.lines().find_map(|line| line.strip_prefix(&format!("tokend_tls_file_changes_total{{outcome=\"{outcome}\"}} ")));
    line.map(str::to_owned)
}

/// Under traffic: every call of a client that could not connect again is answered, on the connection that it has.
async fn a_new_certificate_is_served_and_nothing_is_dropped(installation: Installation) {
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
    assert!(traffic.await.expect("no call failed") > 0);
    let key = CallerKey::new(server.admin_key()).expect("a key");
    Client::connect_with(server.grpc_address(), Some(&key), &before.trusted())
        .await
        .expect_err("a new connection gets the new one");
    assert_eq!(changes(&server, "refused").as_deref(), Some("0"));
}

async fn the_symlink_swap_of_a_kubernetes_secret_is_seen(installation: Installation) {
    let authority = Authority::new();
    let files = Files::new(&installation, &authority.server());
    let secret = installation.directory().join("secret");
    let version = |name: &str, pair: &Pair| {
        files.put("tls.crt", &pair.certificate);
        files.put("tls.key", &pair.key);
        fs::create_dir_all(secret.join(name)).expect("a directory can be made");
        for file in ["tls.crt", "tls.key"] {
            fs::rename(files.path(file), secret.join(name).join(file)).expect("it can be renamed");
        }
        symlink(name, secret.join("..data_tmp")).expect("a link can be made");
        fs::rename(secret.join("..data_tmp"), secret.join("..data")).expect("it can be renamed");
    };
    let (first, second) = (authority.server(), authority.server());
    version("..first", &first);
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), secret.join(file)).expect("a link can be made");
    }
    let path = |file: &str| secret.join(file).to_str().expect("text").to_owned();
    let key = installation.init().await;
    let arguments = ["--tls-cert".to_owned(), path("tls.crt"), "--tls-key".to_owned(), path("tls.key")];
    let server = installation.serve_over(&authority.trusted(), &key, arguments).await;
    serves(&server, &authority, &first).await;
    version("..second", &second);
    fs::remove_dir_all(secret.join("..first")).expect("it was there");
    serves(&server, &authority, &second).await;
    assert_eq!(changes(&server, "taken").as_deref(), Some("1"));
    let (_, metrics) = http::get(server.ops_address(), "/metrics");
    // The year 4096, which rcgen ends certificates with.
    assert!(metrics.contains("tokend_tls_certificate_expire_time_seconds 67"), "{metrics}");
}

async fn a_broken_pair_keeps_the_old_one(installation: Installation) {
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
        eventually("the change was refused", async || (changes(&server, "refused")? == refused.to_string()).then_some(())).await;
        let log = server.process().stderr();
        assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(words) && line.contains("go on serving")), "{log}");
        serves(&server, &authority, &good).await;
    }
    fs::remove_file(files.path("tls.key")).expect("it was there");
    eventually("the loss was noticed", async || (changes(&server, "refused")? == "4").then_some(())).await;
    serves(&server, &authority, &good).await;
    server.workspace("acme").await;
    // And what is good again is taken again.
    let next = authority.server();
    files.put("tls.crt", &next.certificate);
    files.put("tls.key", &next.key);
    serves(&server, &authority, &next).await;
    assert!(!server.process().stderr().contains(good.key.lines().nth(1).expect("a key has lines")));
}

/// A server, and a client that it knows by its certificate.
async fn with_a_client(installation: &Installation, authority: &Authority, clients: &Authority) -> (Files, Server, Client, Pair) {
    let files = Files::with_client_ca(installation, &authority.server(), clients);
    let server = files.serve(installation, &authority.trusted()).await;
    let request = CreateCallerRequest {
        caller_id: "gateway".to_owned(),
        role: Role::Verifier.into(),
        workspaces: Some(Selection { all: true, only: Vec::new() }),
        certificate_sans: vec!["gateway.example.org".to_owned()],
    };
    server.admin().caller_admin().create_caller(request).await.expect("it is made");
    let certificate = clients.client(&["gateway.example.org"]);
    let client = Client::connect_with(server.grpc_address(), None, &authority.trusted_by(&certificate)).await.expect("it answers");
    calls(&client).await;
    (files, server, client, certificate)
}

async fn another_client_ca_sends_its_clients_away(installation: Installation) {
    let (authority, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let (files, server, client, certificate) = with_a_client(&installation, &authority, &old).await;
    files.put("ca.crt", new.pem());
    // Its connection ends in good order, and it can't have another.
    eventually("the old client is gone", async || client.token_admin().list_scopes(ListScopesRequest {}).await.err()).await;
    let made = Offer { certificate: Some(&certificate), ..Offer::ordinary(&authority) }.make(&server).await;
    broken_off(made).await;
    let renewed = new.client(&["gateway.example.org"]);
    let client = Client::connect_with(server.grpc_address(), None, &authority.trusted_by(&renewed)).await.expect("it answers");
    calls(&client).await;
    // Clients that came with a key are left alone.
    calls(server.admin()).await;
}

async fn the_same_client_ca_keeps_them(installation: Installation) {
    let (before, after, clients) = (Authority::new(), Authority::new(), Authority::new());
    let (files, server, client, _) = with_a_client(&installation, &before, &clients).await;
    let next = after.server();
    files.put("tls.crt", &next.certificate);
    files.put("tls.key", &next.key);
    serves(&server, &after, &next).await;
    // It could not connect again: it trusts the authority of before.
    for _ in 0..20 {
        calls(&client).await;
    }
}
