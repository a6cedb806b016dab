//! A certificate authority for one test.

use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use tokend_client::Tls;

/// Issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its private key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// Creates an authority that no one trusts yet.
    pub(crate) fn new() -> Self {
        let key = key();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Verifiers look up issuers by name, so each name is unique.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("the certificate is signed").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Returns the authority's certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate for a server on this machine.
    pub(crate) fn server(&self) -> Pair {
        self.issue(&["localhost", "127.0.0.1", "0.0.0.0"], |_| ())
    }

    /// Issues a certificate for a client with these names.
    pub(crate) fn client(&self, names: &[&str]) -> Pair {
        self.issue(names, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]
        })
    }

    /// Issues a certificate with these names and a change.
    pub(crate) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let (uris, others): (Vec<_>, Vec<_>) = names
            .iter()
            .map(ToString::to_string)
            .partition(|name| name.contains(':'));
        let mut params = CertificateParams::new(others).expect("the names are valid");
        let uris = uris
            .into_iter()
            .map(|uri| SanType::URI(uri.try_into().expect("the URI is ASCII")));
        params.subject_alt_names.extend(uris);
        change(&mut params);
        let key = key();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the certificate is signed")
            .pem();
        Pair {
            certificate,
            key: key.serialize_pem(),
        }
    }

    /// Returns client settings that trust only this authority.
    pub(crate) fn trusted(&self) -> Tls {
        Tls::default()
            .trust_only(self.pem.as_bytes())
            .expect("the certificate is valid")
    }

    /// Returns client settings that trust only this authority and present a certificate.
    pub(crate) fn trusted_by(&self, client: &Pair) -> Tls {
        self.trusted()
            .identity(client.certificate.as_bytes(), client.key.as_bytes())
            .expect("the key fits the certificate")
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the key is generated")
}
