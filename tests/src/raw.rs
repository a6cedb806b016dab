//! Calls that a typed client can't make: any path, any bytes, any credential.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use tokend_server::operation::Operation;
use tonic::{
    Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::tokio_stream,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// Opens a connection without a credential.
///
/// # Panics
/// If nothing answers at `address`.
pub async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("the address is valid");
    endpoint
        .connect()
        .await
        .unwrap_or_else(|error| panic!("can't connect to {address}: {error}"))
}

/// The message of the error about a stream that ended without a response.
pub const NO_RESPONSE: &str = "the stream ended without a response";

/// Sends these messages to `path`, `/package.Service/Method`, under these headers, and returns the bytes of the first
/// response. With one message, the call is unary.
///
/// # Errors
/// The status of the response.
///
/// # Panics
/// If HTTP can't carry the path or a header.
pub async fn call(
    channel: &Channel,
    path: &str,
    headers: &[(&'static str, &[u8])],
    messages: &[Bytes],
) -> Result<Response<Bytes>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("the connection is ready");
    let mut request = Request::new(tokio_stream::iter(messages.to_vec()));
    for (name, value) in headers {
        let value: MetadataValue<Ascii> = MetadataValue::try_from(*value).expect("the header value is valid");
        request.metadata_mut().append(*name, value);
    }
    let uri = path.parse::<PathAndQuery>().expect("the path is valid");
    if !is_stream(path) {
        return grpc.client_streaming(request, uri, BytesCodec).await;
    }
    let (metadata, mut answers, extensions) = grpc.streaming(request, uri, BytesCodec).await?.into_parts();
    let first = answers.message().await?.ok_or_else(|| Status::unknown(NO_RESPONSE))?;
    Ok(Response::from_parts(metadata, first, extensions))
}

/// Whether an RPC of the contract returns a stream, which may never end.
fn is_stream(path: &str) -> bool {
    Operation::of(path).is_some_and(|operation| operation.is_of_contract() && operation.facts().traffic.is_stream())
}

/// Sends one message as the caller who has this key.
///
/// # Errors
/// The status of the response.
pub async fn call_as(channel: &Channel, key: &str, path: &str, message: Bytes) -> Result<Response<Bytes>, Status> {
    call(channel, path, &[("authorization", &bearer(key))], &[message]).await
}

/// Returns the `authorization` header for a key.
#[must_use]
pub fn bearer(key: &str) -> Vec<u8> {
    format!("Bearer {key}").into_bytes()
}

/// Returns the path of every RPC of the contract.
///
/// # Panics
/// If the contract's descriptors can't be read.
#[must_use]
pub fn contract_paths() -> Vec<String> {
    let set =
        prost_types::FileDescriptorSet::decode(tokend_proto::FILE_DESCRIPTOR_SET).expect("the descriptor set is valid");
    let ours = set.file.iter().filter(|file| file.package() == "tokend.v1");
    let services = ours.flat_map(|file| &file.service);
    let paths = services.flat_map(|service| {
        service
            .method
            .iter()
            .map(move |method| format!("/tokend.v1.{}/{}", service.name(), method.name()))
    });
    let paths: Vec<_> = paths.collect();
    assert!(paths.len() >= 10, "the contract has more RPCs than {paths:?}");
    paths
}

/// The name of every service of the contract.
#[must_use]
pub fn contract_services() -> Vec<String> {
    let service = |path: String| path.split('/').nth(1).expect("a path names a service").to_owned();
    let mut services: Vec<_> = contract_paths().into_iter().map(service).collect();
    services.dedup();
    services
}

/// Encodes and decodes messages as raw bytes.
#[derive(Clone, Copy, Debug, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
