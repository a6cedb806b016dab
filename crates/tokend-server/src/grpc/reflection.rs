//! Server reflection, v1 and v1alpha, from which clients learn the contract. Callers have to authenticate for it.

use std::convert::Infallible;

use http::{Request, Response};
use tonic::body::Body;
use tonic_reflection::server::{Builder, Error};
use tower::{Service, util::BoxCloneSyncService};

use crate::grpc::layers::{framework_errors::stream_in_our_form, middleware::Answer};

/// Most bytes of a request's message, which is a name.
const QUESTION_BYTES: usize = 16 * 1024;

type Boxed = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Serves the contract's descriptors.
#[derive(Clone)]
pub(crate) struct Reflection {
    v1: Boxed,
    v1alpha: Boxed,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    V1,
    V1Alpha,
}

impl Reflection {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            v1: BoxCloneSyncService::new(builder().build_v1()?.max_decoding_message_size(QUESTION_BYTES)),
            v1alpha: BoxCloneSyncService::new(builder().build_v1alpha()?.max_decoding_message_size(QUESTION_BYTES)),
        })
    }

    /// Answers a request for one of the two versions.
    pub(crate) fn call(&mut self, version: Version, request: Request<Body>) -> Answer {
        let answer = match version {
            Version::V1 => self.v1.call(request),
            Version::V1Alpha => self.v1alpha.call(request),
        };
        Box::pin(async move { Ok(answer.await?.map(stream_in_our_form)) })
    }
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(tokend_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The details of our errors, without which a generic client could not show them.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
