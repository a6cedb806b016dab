//! Who calls, and may they? Deny by default, for everything that the server serves.
//!
//! A tonic interceptor covers only the service that it wraps; this layer stands before all of them, and a path without a
//! [rule](crate::rules) goes nowhere. What passes carries the [`Authenticated`] caller as an extension; a handler that finds none refuses.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, HeaderMap, Request, Response, header::AUTHORIZATION};
use tokend_core::{
    caller::{Caller, CallerKeyState},
    credential::{NotAuthentic, Unrecognized},
};
use tokend_store::{PresentedCertificate, Store};
use tonic::{Status, body::Body};
use tower::Service;

use super::traffic::Traffic;
use crate::{
    access::{Authenticated, CallerCredential},
    attempt::Attempt,
    failed_authentications::FailedAuthentications,
    look_ups::{LookUps, Presented},
    refusal::Refusal,
    room::{Holder, Room, Sizes},
    rules::{Rule, rule},
    tally::Sample,
    tls::ClientCertificate,
    transport::{Connection, PeerAddress},
    usage,
};

/// Tells callers by their keys and client certificates.
#[derive(Debug)]
pub(crate) struct Authenticator {
    store: Store,
    failures: FailedAuthentications,
    usage: Arc<usage::Recorder>,
    /// Log lines about expired keys.
    expired_keys: Sample,
    /// By the ordinary way into the database, and by the reserved one.
    look_ups: LookUps,
    reserved_look_ups: LookUps,
    /// Whose connections there are.
    connections: Arc<Room>,
}

/// One way into the database, for look-ups.
struct Way<'a> {
    store: Store,
    look_ups: &'a LookUps,
}

/// Lets through what the rules allow.
#[derive(Clone, Debug)]
pub(crate) struct Authenticate<S> {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) inner: S,
}

impl<S> Service<Request<Body>> for Authenticate<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static> + Clone + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let authenticator = Arc::clone(&self.authenticator);
        let mut inner = self.inner.clone();
        Box::pin(async move {
            match authenticator.admit(&mut request).await {
                Ok(()) => inner.call(request).await,
                Err(refusal) => Ok(Status::from(refusal).into_http()),
            }
        })
    }
}

impl Authenticator {
    /// For a server that may have so many connections.
    pub(crate) fn new(
        store: Store,
        settings: &tokend_store::Settings,
        failures: FailedAuthentications,
        usage: Arc<usage::Recorder>,
        expired_keys: Sample,
        max_connections: usize,
    ) -> Self {
        // As many as the database has connections: more would only wait for one, in front of others. By the reserved way one is left.
        let (ordinary, reserved) = (settings.max_connections, settings.reserved_connections.saturating_sub(1));
        Self {
            store,
            failures,
            usage,
            expired_keys,
            look_ups: LookUps::new(ordinary),
            reserved_look_ups: LookUps::new(reserved),
            connections: Room::new(Sizes::shares_of(max_connections.div_ceil(4))),
        }
    }

    /// Lets a request through whose caller may make it, and marks it with the caller.
    pub(crate) async fn admit(&self, request: &mut Request<Body>) -> Result<(), Refusal> {
        let path = request.uri().path();
        let rule = rule(path);
        if rule == Some(Rule::Anyone) {
            return Ok(());
        }
        // Who calls is asked before whether there is such a method: strangers learn nothing of what is served.
        // Whoever revokes does not stand in line with all others to be recognized.
        let way = if Traffic::of(path) == Traffic::Revocation {
            Way { store: self.store.reserved(), look_ups: &self.reserved_look_ups }
        } else {
            Way { store: self.store.clone(), look_ups: &self.look_ups }
        };
        let certificate = request.extensions().get::<Arc<ClientCertificate>>().map(Arc::clone);
        let caller = self.caller(&way, request.headers(), certificate.as_ref()).await;
        let authenticated = caller.map_err(|refusal| self.note_failure(refusal, request.extensions()))?;
        let caller = &authenticated.caller;
        // Also of a call that its role does not allow.
        Attempt::note_caller(request.extensions(), caller);
        // A caller's connections beyond its share stay strangers'.
        if let Some(connection) = request.extensions().get::<Connection>()
            && !connection.is_known()
            && let Some(place) = self.connections.take(Holder::caller(caller), 1, false)
        {
            connection.becomes_known(place);
        }
        match rule {
            None => return Err(Refusal::UnknownMethod(path.to_owned())),
            Some(rule) if !rule.allows(caller.role) => {
                return Err(Refusal::RoleNotAllowed { caller: caller.id.name(), method: path.to_owned() });
            }
            Some(_) => {}
        }
        request.extensions_mut().insert(authenticated);
        Ok(())
    }

    /// Counts a credential that does not work. One that is missing is no guess, nor is a certificate, which was verified.
    fn note_failure(&self, refusal: Refusal, of_request: &Extensions) -> Refusal {
        match (&refusal, of_request.get::<PeerAddress>()) {
            (Refusal::InvalidCredential, Some(PeerAddress(address))) => match self.failures.note(address.ip().into()) {
                Some(wait) => Refusal::TooManyFailedAuthentications { wait },
                None => refusal,
            },
            _ => refusal,
        }
    }

    /// Who calls, by key, client certificate or both. A key that was sent has to be good whatever the
    /// certificate says, and a certificate that stands for a caller has to stand for the key's. One that stands for nobody proves
    /// nothing: where a mesh gives every workload a certificate, keys go on working.
    async fn caller(
        &self,
        way: &Way<'_>,
        headers: &HeaderMap,
        certificate: Option<&Arc<ClientCertificate>>,
    ) -> Result<Authenticated, Refusal> {
        let by_key = match key(headers)? {
            Some(key) => Some(self.caller_by_key(way, key).await?),
            None => None,
        };
        let by_certificate = match certificate {
            Some(certificate) => caller_by_certificate(way, certificate).await?,
            None => None,
        };
        match (by_key, by_certificate, certificate) {
            (Some(by_key), Some(by_certificate), _) if by_key.caller.id != by_certificate.id => Err(Refusal::CredentialsDisagree),
            (Some(by_key), ..) => Ok(by_key),
            (None, Some(caller), Some(certificate)) => {
                let credential = CallerCredential::Certificate(Arc::clone(certificate));
                Ok(Authenticated { caller: Arc::new(caller), credential })
            }
            (None, None, Some(_)) => Err(Refusal::CertificateOfNobody),
            (None, _, None) => Err(Refusal::MissingCredential),
        }
    }

    async fn caller_by_key(&self, way: &Way<'_>, key: &str) -> Result<Authenticated, Refusal> {
        let keys = self.store.keys();
        let presented = keys.authenticate(key).map_err(|error| match error {
            NotAuthentic::Unrecognized => Refusal::InvalidCredential,
            NotAuthentic::KeyLacked(kid) => Refusal::KeyNotAtHand(kid),
        })?;
        let _turn = way.look_ups.turn(Presented::Key(presented.id())).await.ok_or(Refusal::Overloaded)?;
        let stored = way.store.presented_caller_key(presented.id()).await?.ok_or(Refusal::InvalidCredential)?;
        let key = keys.recognize(&presented, stored.key).map_err(|Unrecognized| Refusal::InvalidCredential)?;
        match key.state(stored.now) {
            CallerKeyState::Active => {
                self.usage.note_key(presented.id(), stored.now);
                Ok(Authenticated { caller: Arc::new(stored.caller), credential: CallerCredential::Key(presented.id()) })
            }
            CallerKeyState::Revoked => Err(Refusal::InvalidCredential),
            CallerKeyState::Expired => {
                if let Some(more) = self.expired_keys.permit() {
                    let (caller, name, expire_time) = (stored.caller.id.name(), &key.name, key.expire_time);
                    tracing::warn!(caller, key = %name, %expire_time, more, "a caller called with a key that has expired");
                }
                // A clock set back later must not revive what was told to be over.
                way.store.raise_time_floor(key.expire_time).await?;
                Err(Refusal::InvalidCredential)
            }
        }
    }
}

/// The one caller that a verified certificate stands for now, if any: it is looked up for each call, so that a caller who is deleted is
/// gone on open connections, too.
async fn caller_by_certificate(way: &Way<'_>, certificate: &ClientCertificate) -> Result<Option<Caller>, Refusal> {
    let Some(name) = certificate.names().first() else { return Ok(None) };
    let _turn = way.look_ups.turn(Presented::Certificate(name.clone())).await.ok_or(Refusal::Overloaded)?;
    let Some(PresentedCertificate { mut callers, now }) = way.store.presented_certificate(certificate.names()).await? else {
        return Ok(None);
    };
    // The handshake has looked at this; its connection may have outlived it.
    if now >= certificate.expire_time() {
        return Err(Refusal::CertificateExpired);
    }
    match (callers.pop(), callers.is_empty()) {
        (caller, true) => Ok(caller),
        (_, false) => Err(Refusal::CertificateOfSeveral),
    }
}

/// The caller key that was sent, if one was.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Of two credentials nobody can say which one counts.
    if values.next().is_some() {
        return Err(Refusal::InvalidCredential);
    }
    value.to_str().ok().and_then(bearer).map(Some).ok_or(Refusal::InvalidCredential)
}

/// The token of a bearer credential (RFC 6750 section 2.1); the scheme's name is case-insensitive (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}
