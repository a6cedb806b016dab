//! Marks the headers in which credentials travel, before anything else sees them. Whatever prints headers prints
//! `Sensitive` in their place.

use http::{
    HeaderName, Request,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION},
};

/// The header that carries a credential, and those in which a client may have put it by mistake.
const SENSITIVE: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// Marks the request's credentials.
pub(crate) fn hide_credentials<B>(mut request: Request<B>) -> Request<B> {
    for (name, value) in request.headers_mut() {
        if SENSITIVE.contains(name) {
            value.set_sensitive(true);
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_credential_is_hidden_from_whoever_prints_headers() {
        let mut request = Request::new(());
        for value in ["Bearer tkdc_hush", "Bearer tkdc_hush2"] {
            request
                .headers_mut()
                .append(AUTHORIZATION, value.parse().expect("a header"));
        }
        request.headers_mut().insert(COOKIE, "hush3".parse().expect("a header"));
        request
            .headers_mut()
            .insert("user-agent", "shown".parse().expect("a header"));
        let printed = format!("{:?}", hide_credentials(request).headers());
        assert!(!printed.contains("hush"), "{printed}");
        assert!(printed.contains("shown"), "{printed}");
    }
}
