//! A receiver on this machine: HTTPS with a certificate of its own, answers as a test tells it, and keeps what it got.

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

/// Answers until it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    certificate: String,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

/// What it does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// Answers with this status.
    Status(u16),
    /// Sends the client to another path of its own.
    Redirect,
    /// Asks to be left alone for so many seconds.
    NotNow(u32),
    /// Cuts the connection before TLS.
    HangUp,
    /// Takes it, with an answer that never ends.
    Endless,
    /// Says nothing.
    Silence,
}

/// A request that it got.
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
    /// One that takes every message.
    pub(crate) async fn start() -> Self {
        Self::named("127.0.0.1").await
    }

    /// The same with a certificate for this name.
    pub(crate) async fn named(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("they belong together")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has one");
        let state = Arc::new(State { reply: Mutex::new(Reply::Status(204)), got: Mutex::default() });
        let serving = tokio::spawn(serve(listener, acceptor, Arc::clone(&state)));
        Self { address, certificate: made.cert.pem(), state, serving }
    }

    /// Its URL. Path and query are known to us alone.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/hooks/hush-path?key=hush-query", self.address)
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// From now on it answers so.
    pub(crate) fn set(&self, reply: Reply) {
        *self.state.reply.lock().expect("nobody panics") = reply;
    }

    /// What it got so far.
    pub(crate) fn got(&self) -> Vec<Delivery> {
        self.state.got.lock().expect("nobody panics").clone()
    }

    /// Waits until it got so many requests.
    pub(crate) async fn gets(&self, count: usize) -> Vec<Delivery> {
        eventually(&format!("the receiver got {count} messages"), async || Some(self.got()).filter(|got| got.len() >= count)).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Delivery {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("there is no {name}: {self:?}")).to_str().expect("text")
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Seconds since 1970.
    pub(crate) fn timestamp(&self) -> i64 {
        self.header("webhook-timestamp").parse().expect("whole seconds")
    }

    /// Whether one of its signatures was made with this secret: as a receiver finds out, and not with our code.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let secret = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").expect("its form")).expect("base64");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let signed = format!("{}.{}.{}", self.id(), self.header("webhook-timestamp"), self.body);
        let signatures = self.header("webhook-signature").split(' ').filter_map(|one| one.strip_prefix("v1,"));
        let mut bytes = signatures.map(|signature| BASE64_STANDARD.decode(signature).expect("base64"));
        bytes.any(|signature| ring::hmac::verify(&key, signed.as_bytes(), &signature).is_ok())
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    loop {
        let (socket, _) = listener.accept().await.expect("it listens");
        let reply = *state.reply.lock().expect("nobody panics");
        if !matches!(reply, Reply::HangUp) {
            tokio::spawn(connection(socket, acceptor.clone(), Arc::clone(&state)));
        }
    }
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    // A client that does not trust us hangs up.
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let answer = service_fn(|request| answer(request, &state));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

/// The body of an answer that never ends.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 4_096])))))
    }
}

async fn answer(request: Request<Incoming>, state: &State) -> Result<Response<Either<Full<Bytes>, Endless>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("it comes whole").to_bytes();
    let delivery = Delivery {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).expect("JSON is text"),
    };
    state.got.lock().expect("nobody panics").push(delivery);
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(b"an answer that nobody needs"))));
    let reply = *state.reply.lock().expect("nobody panics");
    let status = match reply {
        Reply::Status(status) => status,
        Reply::Redirect => {
            response.headers_mut().insert(header::LOCATION, "/elsewhere".parse().expect("a path"));
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
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    // So that each request finds the reply of its time.
    response.headers_mut().insert(header::CONNECTION, "close".parse().expect("a word"));
    Ok(response)
}
