//! Generates the contract's code. protox compiles the proto files, so that no system `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 7] = [
    "audit_log",
    "caller_admin",
    "error_reason",
    "token",
    "token_admin",
    "token_verify",
    "workspace_admin",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());

    let files = FILES.map(|file| root.join(format!("tokend/v1/{file}.proto")));
    let descriptors = protox::compile(files, [&root])?;
    // For server reflection, and for tests that walk the contract.
    let encoded = protox::prost::Message::encode_to_vec(&descriptors);
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.binpb"), encoded)?;

    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .skip_debug(["tokend.v1.VerifyRequest", "tokend.v1.IdentifyTokenRequest"])
        .skip_debug(["tokend.v1.RevokeLeakedTokensRequest.Leak"])
        .skip_debug([
            "tokend.v1.CreateTokenResponse",
            "tokend.v1.RotateTokenResponse",
            "tokend.v1.CreateCallerKeyResponse",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
