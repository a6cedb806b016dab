//! What the proxy does to connections.

use tokio::time::timeout;

use super::*;

/// What must not arrive does not within this time.
const A_WHILE: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(20);

/// A connection through a proxy to a database.
async fn connected() -> (Proxy, TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let proxy = Proxy::start(listener.local_addr().expect("an address"));
    let server = TcpStream::connect(proxy.address()).await.expect("it connects");
    let (database, _) = listener.accept().await.expect("it is accepted");
    (proxy, listener, server, database)
}

async fn arrives(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).await.expect("it is sent");
    received(to, text).await;
}

async fn received(to: &mut TcpStream, text: &[u8]) {
    let mut bytes = vec![0; text.len()];
    let read = timeout(SOON, to.read_exact(&mut bytes)).await.expect("it arrives");
    read.expect("the connection is open");
    assert_eq!(bytes, text);
}

async fn nothing_arrives(to: &mut TcpStream) {
    assert!(timeout(A_WHILE, to.read_u8()).await.is_err(), "nothing arrives");
}

fn hold(connections: Connections, direction: Direction) -> Vec<Disturbance> {
    vec![Disturbance {
        connections,
        direction,
        delay: None,
    }]
}

#[tokio::test]
async fn one_direction_is_held_until_the_end_of_the_fault() {
    let (proxy, _listener, mut server, mut database) = connected().await;
    arrives(&mut server, &mut database, b"ask").await;
    proxy.disturb(hold(Connections::All, Direction::Answers));
    arrives(&mut server, &mut database, b"ask").await;
    database.write_all(b"answer").await.expect("it is sent");
    nothing_arrives(&mut server).await;
    proxy.heal();
    received(&mut server, b"answer").await;
}

#[tokio::test]
async fn what_was_sent_before_the_end_is_delivered_after_a_hold() {
    let (proxy, _listener, mut server, mut database) = connected().await;
    proxy.disturb(hold(Connections::All, Direction::Requests));
    server.write_all(b"COMMIT").await.expect("it is sent");
    drop(server);
    nothing_arrives(&mut database).await;
    proxy.heal();
    received(&mut database, b"COMMIT").await;
    assert_eq!(database.read(&mut [0]).await.expect("it ends"), 0);
}

#[tokio::test]
async fn bytes_are_delayed() {
    let (proxy, _listener, mut server, mut database) = connected().await;
    let stopwatch = Stopwatch::start();
    proxy.disturb(vec![Disturbance {
        connections: Connections::All,
        direction: Direction::Requests,
        delay: Some(A_WHILE),
    }]);
    arrives(&mut server, &mut database, b"ask").await;
    assert!(stopwatch.now().since(Moment::START) >= A_WHILE);
}

#[tokio::test]
async fn the_feed_is_told_from_the_others() {
    let (proxy, listener, mut other, mut other_end) = connected().await;
    let mut feed = TcpStream::connect(proxy.address()).await.expect("it connects");
    let (mut feed_end, _) = listener.accept().await.expect("it is accepted");
    arrives(&mut feed, &mut feed_end, FEED_POLL).await;
    assert_eq!(proxy.feeds(), 1);
    proxy.disturb(hold(Connections::Feed, Direction::Answers));
    arrives(&mut other_end, &mut other, b"answer").await;
    feed_end.write_all(b"answer").await.expect("it is sent");
    nothing_arrives(&mut feed).await;
    proxy.heal();
    received(&mut feed, b"answer").await;
    proxy.cut(Connections::Feed);
    let ended = timeout(SOON, feed.read(&mut [0])).await.expect("it is cut");
    assert!(matches!(ended, Ok(0) | Err(_)));
    arrives(&mut other, &mut other_end, b"ask").await;
}

#[tokio::test]
async fn an_outage_cuts_and_refuses() {
    let (proxy, listener, mut server, _database) = connected().await;
    proxy.refuse();
    let ended = timeout(SOON, server.read(&mut [0])).await.expect("it is cut");
    assert!(matches!(ended, Ok(0) | Err(_)));
    let mut refused = TcpStream::connect(proxy.address()).await.expect("it connects");
    let ended = timeout(SOON, refused.read(&mut [0])).await.expect("it is closed");
    assert!(matches!(ended, Ok(0) | Err(_)));
    proxy.heal();
    let _accepted = TcpStream::connect(proxy.address()).await.expect("it connects");
    listener.accept().await.expect("it is accepted");
}
