//! Reads names and validity from certificates.

use std::time::Duration;

use tokend_core::{caller::CertificateSan, time::Timestamp};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_util::sync::CancellationToken;
use webpki::{EndEntityCert, KeyUsage};

/// The maximum number of names in a client certificate. One with more matches no caller: no workload has so many.
const MAX_NAMES: usize = 64;

/// A client certificate whose chain and key were verified when its connection was opened. It is an extension of each
/// request on that connection, in an `Arc`.
#[derive(Debug)]
pub struct ClientCertificate {
    names: Vec<CertificateSan>,
    expire_time: Timestamp,
    distrusted: CancellationToken,
}

impl ClientCertificate {
    /// Reads a verified certificate. `distrusted` is cancelled when its CA is replaced. Returns `None` if it can't be
    /// parsed.
    pub(super) fn of_verified(certificate: &CertificateDer<'_>, distrusted: CancellationToken) -> Option<Self> {
        let expire_time = expire_time(certificate)?;
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        // Names that can't be registered match no caller: wildcards, and names that the standards don't allow.
        let dns_names = certificate
            .valid_dns_names()
            .filter_map(|name| CertificateSan::from_dns_name(name).ok());
        let uris = certificate
            .valid_uri_names()
            .filter_map(|uri| CertificateSan::from_uri(uri).ok());
        let mut names: Vec<_> = dns_names.chain(uris).take(MAX_NAMES + 1).collect();
        if names.len() > MAX_NAMES {
            tracing::debug!(
                most = MAX_NAMES,
                "a client certificate has too many names and matches no caller"
            );
            names.clear();
        }
        Some(Self {
            names,
            expire_time,
            distrusted,
        })
    }

    /// Returns its URI and DNS names.
    #[must_use]
    pub fn names(&self) -> &[CertificateSan] {
        &self.names
    }

    /// Returns the first moment at which it is no longer valid.
    #[must_use]
    pub const fn expire_time(&self) -> Timestamp {
        self.expire_time
    }

    /// Completes when the CA that it was verified with has been replaced.
    pub(crate) async fn distrusted(&self) {
        self.distrusted.cancelled().await;
    }
}

/// Returns whether it is a CA certificate (RFC 5280 section 4.2.1.9), which many clients refuse as a server's.
pub(super) fn is_ca(certificate: &CertificateDer<'_>, expire_time: Timestamp) -> bool {
    // webpki reports this for a certificate that is valid at the time, before it looks for an issuer.
    let (last_second, _) = expire_time.saturating_add_micros(-1_000_000).unix_seconds();
    let last_second = UnixTime::since_unix_epoch(Duration::from_secs(last_second.max(0).unsigned_abs()));
    let outcome = EndEntityCert::try_from(certificate).and_then(|certificate| {
        certificate
            .verify_for_usage(&[], &[], &[], last_second, KeyUsage::server_auth(), None, None)
            .map(drop)
    });
    outcome.err() == Some(webpki::Error::CaUsedAsEndEntity)
}

/// Returns the first moment at which a certificate is no longer valid, or `None` if it can't be parsed.
///
/// RFC 5280 section 4.1.2.5: it is valid through notAfter, a whole second.
pub(super) fn expire_time(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let not_after = |error| match error {
        webpki::Error::CertExpired { not_after, .. } => Some(not_after),
        _ => None,
    };
    // webpki reports notAfter only of an expired certificate, before it looks for an issuer: so verify it at the end of
    // time.
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let usage = KeyUsage::client_auth();
    let not_after = certificate
        .verify_for_usage(&[], &[], &[], end_of_time, usage, None, None)
        .err()
        .and_then(not_after)?;
    // A time beyond our range becomes the latest one.
    let seconds = i64::try_from(not_after.as_secs().saturating_add(1)).ok()?;
    Some(Timestamp::from_unix_seconds(seconds, 0).unwrap_or(Timestamp::MAX))
}
