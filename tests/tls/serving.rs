//! `serve --tls-cert --tls-key` accepts only TLS 1.3 with HTTP/2.

use std::time::Duration;

use rcgen::date_time_ymd;
use rustls::{AlertDescription, Error};
use tokend_client::{CallerKey, Client, v1::ListScopesRequest};
use tokend_core::time::Clock;
use tokend_tests::{Installation, on_both_databases, on_sqlite};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    authority::Authority,
    files::Files,
    handshake::{Offer, SOON, rejection},
};

on_both_databases!(calls_over_tls_are_answered);

mod anywhere {
    use super::*;

    on_sqlite!(
        tls_1_2_is_refused,
        a_client_without_http2_is_refused,
        plaintext_is_refused_on_a_tls_port,
        tls_is_refused_on_a_plaintext_port,
        a_handshake_times_out_after_five_seconds,
        an_invalid_server_certificate_is_named_in_the_error,
        without_a_client_ca_no_certificate_is_requested,
        tls_is_served_off_loopback,
    );

    async fn tls_1_2_is_refused(installation: Installation) {
        let authority = Authority::new();
        let server = Files::new(&installation, &authority.server())
            .serve(&installation, &authority.trusted())
            .await;
        let outcome = Offer {
            versions: &[&rustls::version::TLS12],
            ..Offer::ordinary(&authority)
        }
        .handshake(&server)
        .await;
        assert_eq!(
            alert(&outcome.expect_err("TLS 1.2 is refused")),
            AlertDescription::ProtocolVersion
        );
        Offer::ordinary(&authority)
            .handshake(&server)
            .await
            .expect("TLS 1.3 is accepted");
    }

    async fn a_client_without_http2_is_refused(installation: Installation) {
        let authority = Authority::new();
        let server = Files::new(&installation, &authority.server())
            .serve(&installation, &authority.trusted())
            .await;
        let other = Offer {
            protocols: &[b"http/1.1"],
            ..Offer::ordinary(&authority)
        }
        .handshake(&server)
        .await;
        assert_eq!(
            alert(&other.expect_err("the offer lacks HTTP/2")),
            AlertDescription::NoApplicationProtocol
        );
        let silent = Offer {
            protocols: &[],
            ..Offer::ordinary(&authority)
        }
        .handshake(&server)
        .await;
        rejection(silent).await;
        let both = Offer {
            protocols: &[b"http/1.1", b"h2"],
            ..Offer::ordinary(&authority)
        }
        .handshake(&server)
        .await;
        assert_eq!(
            both.expect("the offer has HTTP/2").get_ref().1.alpn_protocol(),
            Some(b"h2".as_slice())
        );
    }

    async fn plaintext_is_refused_on_a_tls_port(installation: Installation) {
        let authority = Authority::new();
        let server = Files::new(&installation, &authority.server())
            .serve(&installation, &authority.trusted())
            .await;
        for bytes in [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            &[0; 100],
        ] {
            let mut socket = TcpStream::connect(server.grpc_address())
                .await
                .expect("the connection opens");
            socket.write_all(bytes).await.expect("the bytes are sent");
            let mut answer = Vec::new();
            // Whether the connection is reset or closed does not matter.
            let _ = timeout(SOON, socket.read_to_end(&mut answer))
                .await
                .expect("the connection closes in time");
            const ALERT: u8 = 21;
            assert!(
                answer.is_empty() || answer[0] == ALERT && answer.len() < 10,
                "{answer:?}"
            );
        }
        let key = CallerKey::new(server.admin_key()).expect("the key is valid");
        // Without TLS the connection opens; the first call fails.
        if let Ok(client) = Client::connect(server.grpc_address(), &key).await {
            client
                .token_admin()
                .list_scopes(ListScopesRequest {})
                .await
                .expect_err("one side does not use TLS");
        }
        server.workspace("acme").await;
    }

    async fn tls_is_refused_on_a_plaintext_port(installation: Installation) {
        let server = installation.start().await;
        let key = CallerKey::new(server.admin_key()).expect("the key is valid");
        let tls = Authority::new().trusted();
        let error = Client::connect_with(server.grpc_address(), Some(&key), &tls)
            .await
            .expect_err("one side does not use TLS")
            .to_string();
        assert!(error.contains("TLS"), "{error}");
        let address = format!("http://{}", server.grpc_address());
        let error = Client::connect_with(&address, Some(&key), &tls)
            .await
            .expect_err("the address contradicts the TLS settings")
            .to_string();
        assert!(error.contains("https://"), "{error}");
    }

    /// The deadline covers both the handshake and the HTTP/2 preface after it.
    async fn a_handshake_times_out_after_five_seconds(installation: Installation) {
        let authority = Authority::new();
        let server = Files::new(&installation, &authority.server())
            .serve(&installation, &authority.trusted())
            .await;
        let clock = Clock::system();
        let start = clock.boot_time();
        let mut silent = TcpStream::connect(server.grpc_address())
            .await
            .expect("the connection opens");
        let mut half = TcpStream::connect(server.grpc_address())
            .await
            .expect("the connection opens");
        // The start of a ClientHello that never completes.
        half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            .await
            .expect("the bytes are sent");
        let mut mute = Offer::ordinary(&authority)
            .handshake(&server)
            .await
            .expect("the handshake succeeds");
        server.workspace("acme").await;
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        let ends = async {
            tokio::join!(
                silent.read_to_end(&mut a),
                half.read_to_end(&mut b),
                mute.read_to_end(&mut c)
            )
        };
        let _ = timeout(SOON, ends).await.expect("all connections are closed in time");
        let took = clock.boot_time().saturating_since(start);
        assert!(
            took >= Duration::from_millis(4_900),
            "the connections close after five seconds, not {took:?}"
        );
    }

    async fn an_invalid_server_certificate_is_named_in_the_error(installation: Installation) {
        let authority = Authority::new();
        let key = CallerKey::new(&installation.init().await).expect("the key is valid");
        let here = ["localhost", "127.0.0.1"];
        let files = Files::new(&installation, &authority.server());
        for (pair, trusted, words) in [
            (authority.server(), &Authority::new(), "not trusted"),
            (
                authority.issue(&["elsewhere.example"], |_| ()),
                &authority,
                "for another name",
            ),
            (
                authority.issue(&here, |params| params.not_after = date_time_ymd(2020, 1, 1)),
                &authority,
                "expired",
            ),
            (
                authority.issue(&here, |params| params.not_before = date_time_ymd(2200, 1, 1)),
                &authority,
                "not valid yet",
            ),
        ] {
            files.put("tls.crt", &pair.certificate);
            files.put("tls.key", &pair.key);
            let (_process, address) = files.serve_bare(&installation, &["--listen", "127.0.0.1:0"]).await;
            let connected = Client::connect_with(&address, Some(&key), &trusted.trusted()).await;
            let error = connected.expect_err("the certificate is invalid").to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    async fn without_a_client_ca_no_certificate_is_requested(installation: Installation) {
        let authority = Authority::new();
        let files = Files::new(&installation, &authority.server());
        let server = files.serve(&installation, &authority.trusted()).await;
        assert!(!Offer::ordinary(&authority).was_asked_for_certificate(&server).await);
        let key = server.admin_key().to_owned();
        drop(server);
        files.put("ca.crt", authority.pem());
        let server = installation
            .serve_over(&authority.trusted(), &key, files.arguments())
            .await;
        assert!(
            Offer::ordinary(&authority).was_asked_for_certificate(&server).await,
            "with a client CA a certificate is requested"
        );
    }

    async fn tls_is_served_off_loopback(installation: Installation) {
        let authority = Authority::new();
        let key = CallerKey::new(&installation.init().await).expect("the key is valid");
        let files = Files::new(&installation, &authority.server());
        let (_process, address) = files.serve_bare(&installation, &["--listen", "0.0.0.0:0"]).await;
        let address = address.replace("0.0.0.0", "127.0.0.1");
        let client = Client::connect_with(&address, Some(&key), &authority.trusted())
            .await
            .expect("the connection opens");
        client
            .token_admin()
            .list_scopes(ListScopesRequest {})
            .await
            .expect("the connection opens");
    }

    fn alert(error: &std::io::Error) -> AlertDescription {
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(Error::AlertReceived(alert)) => *alert,
            _ => panic!("no alert: {error:?}"),
        }
    }
}

async fn calls_over_tls_are_answered(installation: Installation) {
    let authority = Authority::new();
    let server = Files::new(&installation, &authority.server())
        .serve(&installation, &authority.trusted())
        .await;
    let acme = server.workspace("acme").await;
    let token = server.token(tokend_tests::token_in(&acme)).await;
    let verdict = server
        .verdict(tokend_tests::question(&token.secret, &acme, &["repository"]))
        .await;
    assert_eq!(verdict.decision(), tokend_client::v1::Decision::Allow);
    server.revoke(&token.public.name).await;
    let verdict = server
        .verdict(tokend_tests::question(&token.secret, &acme, &["repository"]))
        .await;
    assert_eq!(verdict.deny_reason(), tokend_client::v1::DenyReason::Revoked);
    assert!(server.stop().await.status.success());
}
