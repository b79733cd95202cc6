//! Whom TLS trusts in place of the system's authorities.
//!
//! Owns: [`CaBundle`], the certificates of a file that a setting names, such as `AWS_CA_BUNDLE`; which settings, each store says. They hold
//! for the bucket's endpoint and for the services that give out credentials.

use super::environment::Environment;
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
    /// That of the first of `settings` which has a value, if one has. Errors: as of [`CaBundle::read`]; where it `is_needed` by nothing,
    /// that is a warning.
    pub fn named(
        environment: Environment<'_>,
        settings: impl IntoIterator<Item = (&'static str, Option<String>)>,
        is_needed: bool,
    ) -> Result<Option<Self>, String> {
        let named = settings.into_iter().find_map(|(setting, file)| Some((setting, file?)));
        let Some((setting, file)) = named else { return Ok(None) };
        match Self::read(setting, &environment.path(&file)) {
            Err(cause) if !is_needed => {
                tracing::warn!(
                    cause,
                    "certificates that are named, and that this endpoint does not need, are left out"
                );
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Those of `file`, which `setting` names. Errors: it cannot be read, or holds none; a sentence that names both.
    fn read(setting: &str, file: &Path) -> Result<Self, String> {
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
