//! What can be set of the GCS side.
//!
//! Owns: [`GcsSettings`], the field `gcs` of [`Settings`](crate::Settings).

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How the server behaves as Google Cloud Storage. Absent JSON fields take their defaults.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcsSettings {
    /// Bearer tokens that are accepted, beside those that the server's own token endpoints gave out. `None` accepts every request,
    /// with a token or without one, as emulators do; a token of the endpoints that has expired is refused in any case.
    pub tokens: Option<BTreeSet<String>>,
    /// How long a token of the endpoints lasts, in seconds; also what `expires_in` says.
    pub token_lifetime_s: u64,
    /// Who is given tokens: refresh tokens, e-mail addresses of service accounts (the issuer of a JWT), subject tokens of workload
    /// identity federation. `None` is anybody. Signatures of JWTs are not verified.
    pub identities: Option<BTreeSet<String>>,
    /// The e-mail address of the account that the metadata server tells of.
    pub metadata_account: String,
    /// The project that the metadata server tells of.
    pub project: String,
    /// The most bytes that one call of `objects.rewrite` copies; what is longer takes several. 0 is unlimited.
    pub rewrite_bytes_per_call_max: u64,
    /// Buckets that only answer requests with a `userProject`, beside those whose resource says so.
    pub requester_pays: BTreeSet<String>,
    /// Permissions that nobody has, such as `storage.objects.create`: requests that need them are refused, and asked about they are left out.
    pub refused_permissions: BTreeSet<String>,
}

/// Tokens and identities are left out.
impl std::fmt::Debug for GcsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GcsSettings")
            .field("tokens", &self.tokens.as_ref().map(BTreeSet::len))
            .field("token_lifetime_s", &self.token_lifetime_s)
            .field("identities", &self.identities.as_ref().map(BTreeSet::len))
            .field("metadata_account", &self.metadata_account)
            .field("project", &self.project)
            .field("rewrite_bytes_per_call_max", &self.rewrite_bytes_per_call_max)
            .field("requester_pays", &self.requester_pays)
            .field("refused_permissions", &self.refused_permissions)
            .finish()
    }
}

impl Default for GcsSettings {
    fn default() -> Self {
        Self {
            tokens: None,
            token_lifetime_s: 3600,
            identities: None,
            metadata_account: "default@pail-dev.iam.gserviceaccount.com".into(),
            project: "pail-dev".into(),
            rewrite_bytes_per_call_max: 0,
            requester_pays: BTreeSet::new(),
            refused_permissions: BTreeSet::new(),
        }
    }
}
