//! The Rust client of tokend: it guards services, and provides a typed client for each service of the contract.
//!
//! # Guard a service
//!
//! Five lines let through only requests whose token permits them. The service behind the layer finds the
//! [`VerifiedToken`](guard::VerifiedToken) in the request's extensions.
//!
//! ```no_run
//! # use std::error::Error;
//! # async fn example(router: axum::Router) -> Result<axum::Router, Box<dyn Error>> {
//! use tokend_client::{CallerKey, Client, guard::{Routes, TokenGuard}};
//!
//! let client = Client::connect("tokend:50051", &CallerKey::new(&std::env::var("TOKEND_CALLER_KEY")?)?).await?;
//! let routes = Routes::default()
//!     .public("GET", "/healthz")?
//!     .token("GET", "/repos/{repo}", "workspaces/acme/repositories/{repo}", ["repository"])?;
//! let router = router.layer(TokenGuard::new(&client).layer(routes));
//! # Ok(router)
//! # }
//! ```
//!
//! Most requests are then answered from a cache in the service's own process, and yet a revoked token is dead
//! everywhere when its revocation returns: [`guard`] says how. `examples/guard_axum.rs` and `examples/guard_tonic.rs`
//! are complete services.
//!
//! # Call the service
//!
//! [`Client`] keeps connections to one or several servers, and spreads calls over them. Each call has a deadline. A
//! call that failed because the service was unavailable is repeated within it, if that is safe: see [`Retry`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tokend_client::{CallerKey, Client, v1};
//!
//! let client = Client::connect("127.0.0.1:50051", &CallerKey::new("tkdc_...")?).await?;
//! let verdict = client
//!     .token_verify()
//!     .verify(v1::VerifyRequest {
//!         token: "tkdw_...".to_owned(),
//!         resource: "workspaces/acme/repositories/site".to_owned(),
//!         required_scopes: vec!["repository:write".to_owned()],
//!         ..Default::default()
//!     })
//!     .await?
//!     .into_inner();
//! assert_eq!(verdict.decision(), v1::Decision::Allow);
//! # Ok(())
//! # }
//! ```

pub mod guard;

mod call_error;
mod caller_key;
mod client;
mod random;
mod tls;
mod transport;

pub use call_error::{CallError, FieldViolation, PreconditionViolation};
pub use caller_key::{CallerKey, MalformedCallerKey, SentKey};
pub use client::{Authenticated, Client, ClientBuilder};
pub use tls::{Tls, TlsMaterialError};
pub use tokend_proto::v1;
pub use transport::{ConnectError, Retry, Transport};

use std::time::Duration;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
