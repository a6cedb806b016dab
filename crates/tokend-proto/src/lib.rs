//! The contract of package `tokend.v1`: generated code, and the only conversions between it and the domain.
//!
//! Validation happens on receipt, here: [`request`] turns each message into a value that only holds what the domain accepts, and
//! names every field that does not fit, all of them at once. [`view`] turns the domain back into messages. Messages and domain
//! types are destructured completely, so that a new field can't be forgotten.

pub mod field;
pub mod request;
pub mod view;

mod redacted;

/// The generated messages, clients and server traits.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; documented in the proto files")]
pub mod v1 {
    tonic::include_proto!("tokend.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of the contract, for reflection and for tests that walk it.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

/// The domain of every `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "tokend";
