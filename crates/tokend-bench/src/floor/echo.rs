//! A service whose one method returns a message of a fixed size.

use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use prost::Message as _;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The path of the method.
pub const PATH: &str = "/tokend.bench.Echo/Echo";

/// A message of bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
}

/// The service.
#[derive(Clone)]
pub(super) struct Echo(Arc<Payload>);

impl Echo {
    /// Returns a service whose responses have this size.
    pub(super) fn new(response: usize) -> Self {
        Self(Arc::new(Payload::of_size(response)))
    }
}

/// Returns an encoded message of this size, or of the next smaller size that a message can have.
#[must_use]
pub fn message_of_size(size: usize) -> Vec<u8> {
    Payload::of_size(size).encode_to_vec()
}

impl Payload {
    /// Returns a message that takes `size` bytes when it is encoded. Few sizes have none, such as 130, and get the next
    /// smaller message.
    fn of_size(size: usize) -> Self {
        let of_length = |length: usize| Self {
            bytes: Bytes::from(vec![b'x'; length]),
        };
        (0..=size)
            .rev()
            .map(of_length)
            .find(|payload| payload.encoded_len() <= size)
            .unwrap_or_default()
    }

    /// The method. Its future is boxed, as that of a method of tonic's traits.
    fn echo(&self, _: Request<Self>) -> BoxFuture<'_, Result<Response<Self>, Status>> {
        Box::pin(async move { Ok(Response::new(self.clone())) })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "tokend.bench.Echo";
}

/// As tonic's generator writes it for a service with one unary method.
impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return Box::pin(ready(Ok(Status::unimplemented("").into_http())));
        }
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
            Ok(grpc.unary(Method(inner), request).await)
        })
    }
}

struct Method(Arc<Payload>);

impl UnaryService<Payload> for Method {
    type Response = Payload;
    type Future = BoxFuture<'static, Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.echo(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_size_that_is_asked_for() {
        for size in (3..130).chain(131..400) {
            assert_eq!(message_of_size(size).len(), size);
        }
        assert_eq!(message_of_size(130).len(), 129);
    }
}
