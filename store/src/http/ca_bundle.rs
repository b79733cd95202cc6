//! Whom TLS trusts in place of the system's authorities.
//!
//! Owns: [`CaBundle`], the certificates of `AWS_CA_BUNDLE` or a profile's `ca_bundle`. They hold for the bucket's endpoint and for
//! the services that give out credentials.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// Certificates to trust.
pub(crate) struct CaBundle {
    pub roots: RootCertStore,
    /// The same, as they were written (PEM).
    pub pem: Vec<u8>,
}

impl CaBundle {
    /// Those of `file`, which `setting` names. Errors: it cannot be read, or holds none; a sentence that names both.
    pub fn read(setting: &str, file: &Path) -> Result<Self, String> {
        let unusable = |why: &dyn std::fmt::Display| format!("{setting} {}: {why}", file.display());
        let pem = std::fs::read(file).map_err(|err| unusable(&err))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(|err| unusable(&err))?).map_err(|err| unusable(&err))?;
        }
        if roots.is_empty() {
            return Err(unusable(&"no certificates are in it"));
        }
        Ok(Self { roots, pem })
    }
}
