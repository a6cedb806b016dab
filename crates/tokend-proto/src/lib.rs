//! The contract, package `tokend.v1`: generated code, and the only conversions between it and the domain.
//!
//! Requests are validated on receipt, here: [`request`] converts each message to a value that contains only what the
//! domain accepts, and reports all invalid fields by name. [`view`] converts the domain back to messages. Messages and
//! domain types are destructured completely, so that the compiler reports a forgotten field.

pub mod field;
pub mod request;
pub mod view;

mod redacted;

/// The generated messages, clients and server traits.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated; documented in the proto files"
)]
pub mod v1 {
    tonic::include_proto!("tokend.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of the contract, for server reflection and for tests that walk the
/// contract.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

/// The domain of every `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "tokend";
