//! A minimal HTTP client for the ops port.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// The longest time to wait for a response.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the status and the body of `GET path` at `address`.
///
/// # Panics
/// If the response is not HTTP.
#[must_use]
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("can't connect to {address}: {error}"));
    stream.set_read_timeout(Some(LIMIT)).expect("the timeout is set");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .expect("the request is sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("the response is text");
    let (head, body) = response
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("not HTTP: {response:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("not HTTP: {head:?}")), body.to_owned())
}
