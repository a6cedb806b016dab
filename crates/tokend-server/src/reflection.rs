//! Server reflection, v1 and v1alpha: the contract for clients that do not have it. Authenticated like the rest.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tonic::{body::Body, codegen::BoxFuture};
use tonic_reflection::server::{Builder, Error};
use tower::{Service, util::BoxCloneSyncService};

use crate::layers::framework_errors::trailers_in_our_form;

/// Most bytes of a question: a name.
const QUESTION_BYTES: usize = 16 * 1024;

type Boxed = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Serves the contract's descriptors.
#[derive(Clone)]
pub(crate) struct Reflection {
    v1: Boxed,
    v1alpha: Boxed,
}

impl Reflection {
    const V1: &str = "grpc.reflection.v1.ServerReflection";
    const V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            v1: BoxCloneSyncService::new(builder().build_v1()?.max_decoding_message_size(QUESTION_BYTES)),
            v1alpha: BoxCloneSyncService::new(builder().build_v1alpha()?.max_decoding_message_size(QUESTION_BYTES)),
        })
    }

    /// Whether `service` is reflection.
    pub(crate) fn serves(service: &str) -> bool {
        matches!(service, Self::V1 | Self::V1ALPHA)
    }

    pub(crate) fn call(&mut self, request: Request<Body>) -> BoxFuture<Response<Body>, Infallible> {
        let v1alpha = request.uri().path().strip_prefix('/').is_some_and(|path| path.starts_with(Self::V1ALPHA));
        let answer = if v1alpha { self.v1alpha.call(request) } else { self.v1.call(request) };
        Box::pin(async move { Ok(answer.await?.map(in_our_form)) })
    }
}

fn in_our_form(answers: Body) -> Body {
    Body::new(answers.map_frame(|frame| match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(trailers_in_our_form(trailers)),
        Err(frame) => frame,
    }))
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(tokend_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The details of our errors, without which a generic client could not show them.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
