//! Marks the headers in which credentials travel, before anything else sees them: whoever logs headers prints `Sensitive` in their
//! place.

use std::task::{Context, Poll};

use http::{
    HeaderName, Request,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION},
};
use tower::Service;

/// Where a credential is looked for, and where a client may have put it by mistake.
const SENSITIVE: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// Wraps the service that answers.
#[derive(Clone, Debug)]
pub(crate) struct Sensitive<S>(pub(crate) S);

impl<B, S: Service<Request<B>>> Service<Request<B>> for Sensitive<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        for (name, value) in request.headers_mut() {
            if SENSITIVE.contains(name) {
                value.set_sensitive(true);
            }
        }
        self.0.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn every_credential_is_hidden_from_whoever_prints_headers() {
        let mut request = Request::new(());
        for value in ["Bearer tkdc_hush", "Bearer tkdc_hush2"] {
            request.headers_mut().append(AUTHORIZATION, value.parse().expect("a header"));
        }
        request.headers_mut().insert(COOKIE, "hush3".parse().expect("a header"));
        request.headers_mut().insert("user-agent", "told".parse().expect("a header"));
        let print = service_fn(async |request: Request<()>| Ok::<_, Infallible>(format!("{:?}", request.headers())));
        let printed = Sensitive(print).oneshot(request).await.expect("infallible");
        assert!(!printed.contains("hush"), "{printed}");
        assert!(printed.contains("told"), "{printed}");
    }
}
