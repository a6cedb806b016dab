//! Serves every connection with a clone of one service, which finds the peer among each request's extensions.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tower::ServiceExt;
use tower::util::Oneshot;

use super::{ConnectionService, Peer, RequestService};

/// The service of one connection.
pub struct PerRequest<S> {
    peer: Peer,
    service: S,
}

impl<S: RequestService> ConnectionService for S {
    type Body = Body;
    type OfConnection = PerRequest<S>;

    fn of(&self, peer: Peer) -> PerRequest<S> {
        PerRequest {
            peer,
            service: self.clone(),
        }
    }
}

impl<S: RequestService> hyper::service::Service<Request<Incoming>> for PerRequest<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Oneshot<S, Request<Body>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        self.peer.add_to(request.extensions_mut());
        self.service.clone().oneshot(request)
    }
}
