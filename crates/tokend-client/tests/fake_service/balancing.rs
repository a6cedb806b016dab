//! Calls to several servers.

use std::time::Duration;

use tokend_client::{CallError, Client, ConnectError, Tls, v1::VerifyRequest};
use tonic::Code;

use crate::fake::{Fake, RESOURCE, SECRET, eventually, key};

async fn verify(client: &Client) -> Result<(), CallError> {
    let request = VerifyRequest {
        token: SECRET.to_owned(),
        resource: RESOURCE.to_owned(),
        ..VerifyRequest::default()
    };
    Ok(client.token_verify().verify(request).await.map(|_| ())?)
}

#[tokio::test]
async fn calls_are_spread_over_all_servers() {
    let (one, other) = (Fake::start().await, Fake::start().await);
    let list = format!("{}, {}", one.address, other.address);
    let client = Client::connect(&list, &key()).await.expect("connected");
    eventually("both are connected", async || {
        verify(&client).await.expect("verified");
        (one.service.calls() > 0 && other.service.calls() > 0).then_some(())
    })
    .await;
    let before = [&one, &other].map(|fake| fake.service.calls());
    for _ in 0..20 {
        verify(&client).await.expect("verified");
    }
    let after = [&one, &other].map(|fake| fake.service.calls());
    assert_eq!((after[0] - before[0], after[1] - before[1]), (10, 10));
}

#[tokio::test]
async fn a_server_that_is_gone_costs_nobody_an_error() {
    let (one, other) = (Fake::start().await, Fake::start().await);
    let (address, service) = (other.address, other.service.clone());
    let client = Client::builder(one.address.to_string())
        .address(address.to_string())
        .key(&key());
    let client = client.connect().await.expect("connected");
    eventually("both are connected", async || {
        verify(&client).await.expect("verified");
        (one.service.calls() > 0 && other.service.calls() > 0).then_some(())
    })
    .await;
    drop(other);
    let before = one.service.calls();
    for _ in 0..20 {
        verify(&client).await.expect("the other server answers");
    }
    assert_eq!(one.service.calls() - before, 20);
    let other = Fake::restart(address, service).await;
    let before = other.service.calls();
    eventually("the server is used again", async || {
        verify(&client).await.expect("verified");
        (other.service.calls() > before).then_some(())
    })
    .await;
}

/// A server that accepts connections and never responds costs one call its deadline, and then no other.
#[tokio::test]
async fn a_server_that_hangs_is_avoided() {
    let fake = Fake::start().await;
    let hanging = Fake::start().await;
    let list = format!("{},{}", fake.address, hanging.address);
    let client = Client::builder(list).key(&key()).deadline(Duration::from_millis(500));
    let client = client.connect().await.expect("connected");
    hanging.service.close().await;
    eventually("a call hangs", async || verify(&client).await.err()).await;
    let before = fake.service.calls();
    verify(&client).await.expect("the other server answers");
    assert_eq!(fake.service.calls(), before + 1);
}

#[tokio::test]
async fn one_server_is_enough_to_connect() {
    let fake = Fake::start().await;
    let gone = Fake::start().await;
    let list = format!("{},{}", gone.address, fake.address);
    drop(gone);
    let client = eventually("one is connected", async || Client::connect(&list, &key()).await.ok()).await;
    for _ in 0..10 {
        verify(&client).await.expect("verified");
    }
}

/// `localhost` usually has an IPv6 address, too, where nobody listens.
#[tokio::test]
async fn a_name_stands_for_all_of_its_addresses() {
    let fake = Fake::start().await;
    let address = format!("localhost:{}", fake.address.port());
    let client = Client::connect(&address, &key()).await.expect("connected");
    for _ in 0..10 {
        verify(&client).await.expect("verified");
    }
}

#[tokio::test]
async fn where_nobody_answers_there_is_no_connection() {
    let gone = Fake::start().await;
    let address = gone.address.to_string();
    drop(gone);
    let error = eventually("nobody listens", async || Client::connect(&address, &key()).await.err()).await;
    assert!(
        matches!(&error, ConnectError::Unreachable { address: unreachable, .. } if *unreachable == address),
        "{error}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
    let lazy = Client::builder(address)
        .key(&key())
        .connect_lazy()
        .await
        .expect("an address");
    assert_eq!(verify(&lazy).await.expect_err("nobody answers").code, Code::Unavailable);
    for bad in ["", "nowhere", "127.0.0.1:1,", "127.0.0.1:1,nowhere"] {
        let error = Client::connect(bad, &key()).await.expect_err("no address");
        assert!(matches!(error, ConnectError::Address(_)), "{bad:?}: {error}");
    }
    let error = Client::connect_with("127.0.0.1:1", None, &Tls::default())
        .await
        .expect_err("no credential");
    assert!(matches!(error, ConnectError::NoCredential));
}
