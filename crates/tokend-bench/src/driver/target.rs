//! What is called: a server, the requests, and the right answers.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, request};
use prost::Message;
use tokend_client::v1;
use tokio_rustls::TlsConnector;

use crate::BoxError;

/// The bytes before a message: a flag for compression, and its length (gRPC over HTTP/2).
pub(super) const FRAME_HEAD: usize = 5;
/// An answer that begins with these bytes has the decision ALLOW.
const ALLOW: [u8; 2] = [0x08, 0x01];

/// A server, the requests that it gets, and the answers that are right.
pub struct Target {
    pub(super) address: SocketAddr,
    /// The id of the server's process.
    pub pid: u32,
    pub(super) tls: Option<TlsConnector>,
    pub(super) head: request::Parts,
    /// One message for each request, framed.
    pub(super) requests: Vec<Bytes>,
    answers: Answers,
}

/// The answers that are right.
pub enum Answers {
    /// ALLOW, with the token of this name for each request.
    Allow(Vec<String>),
    /// ALLOW for each question of a batch, with the tokens of these names for each request.
    AllowEach(Vec<Vec<String>>),
    /// A message of this size.
    OfSize(usize),
}

impl Target {
    /// Describes calls of the method at `path` with these messages. Each call has the caller key in its headers.
    ///
    /// # Errors
    /// The key or the path can't be sent.
    pub fn new(
        (address, pid): (SocketAddr, u32),
        tls: Option<TlsConnector>,
        path: &str,
        key: &str,
        messages: &[Vec<u8>],
        answers: Answers,
    ) -> Result<Self, BoxError> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut authorization: HeaderValue = format!("Bearer {key}").parse()?;
        // As tokend's client does, so that HPACK sends it literally with each call.
        authorization.set_sensitive(true);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{scheme}://localhost:{}{path}", address.port()))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("authorization", authorization)
            .header("user-agent", "tokend-bench")
            .body(())?;
        Ok(Self {
            address,
            pid,
            tls,
            head: request.into_parts().0,
            requests: messages.iter().map(|message| framed(message)).collect(),
            answers,
        })
    }

    /// Returns the size of the first message.
    #[must_use]
    pub fn request_size(&self) -> usize {
        self.requests.first().map_or(0, |request| request.len() - FRAME_HEAD)
    }

    /// Checks the answer to a request by its first bytes, or as a whole.
    pub(super) fn check(&self, request: usize, answer: &[u8], as_a_whole: bool) -> Result<(), BoxError> {
        let message = answer.get(FRAME_HEAD..).ok_or("an answer without a message")?;
        match &self.answers {
            Answers::OfSize(size) if message.len() == *size => Ok(()),
            Answers::OfSize(size) => Err(format!("an answer has {} bytes instead of {size}", message.len()).into()),
            Answers::AllowEach(names) => {
                // A message that is not decoded has as many bytes as the names alone, or more.
                let names = &names[request];
                if !as_a_whole {
                    let least: usize = names.iter().map(String::len).sum();
                    return (message.len() > least)
                        .then_some(())
                        .ok_or("an answer is too short".into());
                }
                let answer = v1::BatchVerifyResponse::decode(message)?;
                let allowed = answer.responses.iter().map(|response| {
                    let token = response
                        .token
                        .as_ref()
                        .filter(|_| response.decision() == v1::Decision::Allow);
                    token.map_or("", |token| &token.name)
                });
                if allowed.eq(names) {
                    return Ok(());
                }
                Err(format!("the answer to batch {request} does not allow each of its tokens").into())
            }
            Answers::Allow(_) if message.starts_with(&ALLOW) && !as_a_whole => Ok(()),
            Answers::Allow(names) => {
                let answer = v1::VerifyResponse::decode(message)?;
                let name = answer.token.as_ref().map(|token| token.name.as_str());
                if answer.decision() == v1::Decision::Allow && name == Some(names[request].as_str()) {
                    return Ok(());
                }
                let (decision, reason) = (answer.decision(), answer.deny_reason());
                Err(format!(
                    "the verdict on {} is {decision:?} {reason:?} about {name:?}",
                    names[request]
                )
                .into())
            }
        }
    }
}

/// Puts the gRPC frame's head before a message.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(answers: Answers) -> Target {
        let address = "127.0.0.1:1".parse().expect("an address");
        Target::new((address, 1), None, "/a.B/C", "key", &[b"abc".to_vec()], answers).expect("it can be sent")
    }

    fn answer(decision: v1::Decision, name: &str) -> Bytes {
        let token = v1::VerifiedToken {
            name: name.to_owned(),
            ..Default::default()
        };
        let answer = v1::VerifyResponse {
            decision: decision.into(),
            token: Some(token),
            ..Default::default()
        };
        framed(&answer.encode_to_vec())
    }

    #[test]
    fn a_wrong_verdict_and_the_verdict_on_another_token_are_noticed() {
        let target = target(Answers::Allow(vec!["t".to_owned()]));
        for as_a_whole in [false, true] {
            assert!(target.check(0, &answer(v1::Decision::Allow, "t"), as_a_whole).is_ok());
            assert!(target.check(0, &answer(v1::Decision::Deny, "t"), as_a_whole).is_err());
            assert!(target.check(0, &[], as_a_whole).is_err());
        }
        assert!(target.check(0, &answer(v1::Decision::Allow, "u"), true).is_err());
    }

    #[test]
    fn an_echo_of_another_size_is_noticed() {
        let target = target(Answers::OfSize(3));
        assert!(target.check(0, &framed(b"xyz"), false).is_ok());
        assert!(target.check(0, &framed(b"xy"), false).is_err());
    }
}
