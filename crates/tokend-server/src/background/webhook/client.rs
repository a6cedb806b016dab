use std::{error::Error, fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokend_core::{text::encoding, time::Clock};
use tokend_store::Claim;
use tokio::time::timeout;
use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{WebhookError, endpoint::Endpoint};
use crate::tls::Wall;

/// The time for a connection, before TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for an attempt, up to the head of the response: the specification says 15 to 30 seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The time for the body of a response, and its maximum size. It is read only so that the connection can be reused.
const REST_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_REST: usize = 64 * 1024;
/// The time for which an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);

const USER_AGENT: &str = concat!("tokend/", env!("CARGO_PKG_VERSION"));
const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Posts messages to the receiver: HTTPS only, HTTP/1.1, TLS 1.2 or later, without following redirects.
pub(super) struct Receiver {
    endpoint: Endpoint,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// The result of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The receiver accepted the message (2xx).
    Delivered,
    /// The receiver answered with another status.
    Refused {
        /// The status.
        status: StatusCode,
        /// The pause that the receiver asked for (`Retry-After` in seconds; a date is ignored).
        retry_after: Option<Duration>,
    },
    /// No response arrived.
    Unreachable {
        /// The problem, for the log.
        problem: String,
    },
}

impl Receiver {
    pub(super) fn new(endpoint: Endpoint, ca_file: Option<&Path>, clock: Clock) -> Result<Self, WebhookError> {
        let roots = match ca_file {
            Some(path) => cas_from_file(path).map_err(|problem| WebhookError::CaFile {
                path: path.to_owned(),
                problem,
            })?,
            None => system_cas()?,
        };
        let config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(Wall(clock)))
            .with_safe_default_protocol_versions()
            .map_err(|error: rustls::Error| WebhookError::NoCas(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(https);
        Ok(Self { endpoint, client })
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a message with its signature.
    pub(super) async fn post(&self, claim: &Claim, signature: &str) -> Answer {
        let request = match self.request(claim, signature) {
            Ok(request) => request,
            Err(error) => return Answer::Unreachable { problem: chain(&error) },
        };
        let response = match timeout(ANSWER_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Answer::Unreachable { problem: chain(&error) },
            Err(_) => {
                return Answer::Unreachable {
                    problem: format!("no answer within {ANSWER_TIMEOUT:?}"),
                };
            }
        };
        let (head, body) = response.into_parts();
        let _ = timeout(REST_TIMEOUT, Limited::new(body, MAX_REST).collect()).await;
        if head.status.is_success() {
            Answer::Delivered
        } else {
            Answer::Refused {
                status: head.status,
                retry_after: retry_after(&head.headers),
            }
        }
    }

    fn request(&self, claim: &Claim, signature: &str) -> http::Result<Request<Full<Bytes>>> {
        let (seconds, _) = claim.claim_time.unix_seconds();
        Request::builder()
            .method(Method::POST)
            .uri(self.endpoint.uri())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header(ID, claim.message.id.as_str())
            .header(TIMESTAMP, seconds)
            .header(SIGNATURE, signature)
            .body(Full::new(Bytes::from(claim.message.payload.clone())))
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn cas_from_file(path: &Path) -> Result<RootCertStore, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let pem = encoding::decode(&pem).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots
            .add(certificate.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        Err("it has no certificate in PEM".to_owned())
    } else {
        Ok(roots)
    }
}

fn system_cas() -> Result<RootCertStore, WebhookError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let problem = found
            .errors
            .first()
            .map_or_else(|| "none were found".to_owned(), ToString::to_string);
        return Err(WebhookError::NoCas(problem));
    }
    Ok(roots)
}

/// Returns an error and its causes as text.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
