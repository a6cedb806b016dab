//! A local webhook receiver: it serves HTTPS with its own certificate, answers as the test sets, and records requests.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tokend_tests::eventually;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A receiver that serves until it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    certificate: String,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

/// The receiver's reply to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// Answers with this status.
    Status(u16),
    /// Redirects to another path of the receiver.
    Redirect,
    /// Answers 429 with `Retry-After` in seconds.
    NotNow(u32),
    /// Closes the connection before TLS.
    HangUp,
    /// Answers 200 with a body that never ends.
    Endless,
    /// Never answers.
    Silence,
}

/// A request that the receiver got.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

struct State {
    reply: Mutex<Reply>,
    got: Mutex<Vec<Delivery>>,
}

impl Receiver {
    /// Starts a receiver that accepts every message.
    pub(crate) async fn start() -> Self {
        Self::named("127.0.0.1").await
    }

    /// Starts a receiver whose certificate is for this name.
    pub(crate) async fn named(name: &str) -> Self {
        let generated = rcgen::generate_simple_self_signed([name.to_owned()]).expect("the certificate is generated");
        let key =
            PrivateKeyDer::from_pem_slice(generated.signing_key.serialize_pem().as_bytes()).expect("the key is valid");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![generated.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("the key fits the certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the listener binds");
        let address = listener.local_addr().expect("the listener has an address");
        let state = Arc::new(State {
            reply: Mutex::new(Reply::Status(204)),
            got: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, acceptor, Arc::clone(&state)));
        Self {
            address,
            certificate: generated.cert.pem(),
            state,
            serving,
        }
    }

    /// Returns the receiver's URL, with a secret path and query.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/hooks/hush-path?key=hush-query", self.address)
    }

    /// Returns the receiver's certificate.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Sets the reply to later requests.
    pub(crate) fn set(&self, reply: Reply) {
        *self.state.reply.lock().expect("no task panics") = reply;
    }

    /// Returns the requests so far.
    pub(crate) fn got(&self) -> Vec<Delivery> {
        self.state.got.lock().expect("no task panics").clone()
    }

    /// Waits for `count` requests.
    pub(crate) async fn gets(&self, count: usize) -> Vec<Delivery> {
        eventually(&format!("the receiver got {count} messages"), async || {
            Some(self.got()).filter(|got| got.len() >= count)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Delivery {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("there is no {name}: {self:?}"))
            .to_str()
            .expect("the value is text")
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Returns the message's time in seconds since 1970.
    pub(crate) fn timestamp(&self) -> i64 {
        self.header("webhook-timestamp")
            .parse()
            .expect("the timestamp is an integer")
    }

    /// Verifies the signatures with an independent implementation, as a receiver does.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let secret = BASE64_STANDARD
            .decode(secret.strip_prefix("whsec_").expect("the secret has its prefix"))
            .expect("the text is base64");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let signed = format!("{}.{}.{}", self.id(), self.header("webhook-timestamp"), self.body);
        let signatures = self
            .header("webhook-signature")
            .split(' ')
            .filter_map(|one| one.strip_prefix("v1,"));
        let mut bytes = signatures.map(|signature| BASE64_STANDARD.decode(signature).expect("the text is base64"));
        bytes.any(|signature| ring::hmac::verify(&key, signed.as_bytes(), &signature).is_ok())
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    loop {
        let (socket, _) = listener.accept().await.expect("the listener accepts");
        let reply = *state.reply.lock().expect("no task panics");
        if !matches!(reply, Reply::HangUp) {
            tokio::spawn(connection(socket, acceptor.clone(), Arc::clone(&state)));
        }
    }
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    // A client that does not trust the certificate closes the connection.
    let Ok(stream) = acceptor.accept(socket).await else {
        return;
    };
    let answer = service_fn(|request| answer(request, &state));
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// A response body that never ends.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 4_096])))))
    }
}

async fn answer(
    request: Request<Incoming>,
    state: &State,
) -> Result<Response<Either<Full<Bytes>, Endless>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("the body is complete").to_bytes();
    let delivery = Delivery {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).expect("the body is UTF-8"),
    };
    state.got.lock().expect("no task panics").push(delivery);
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(
        b"an answer that tokend ignores",
    ))));
    let reply = *state.reply.lock().expect("no task panics");
    let status = match reply {
        Reply::Status(status) => status,
        Reply::Redirect => {
            response
                .headers_mut()
                .insert(header::LOCATION, "/elsewhere".parse().expect("the path is valid"));
            307
        }
        Reply::NotNow(seconds) => {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            429
        }
        Reply::Endless => {
            *response.body_mut() = Either::Right(Endless);
            200
        }
        Reply::HangUp | Reply::Silence => std::future::pending().await,
    };
    *response.status_mut() = StatusCode::from_u16(status).expect("the status is valid");
    // With a new connection per request, each request gets the current reply.
    response
        .headers_mut()
        .insert(header::CONNECTION, "close".parse().expect("the value is valid"));
    Ok(response)
}
