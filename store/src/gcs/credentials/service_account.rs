//! A service account's key.
//!
//! Owns: [`ServiceAccount`], which signs a JWT (RFC 7523) for a token. Source: AIP-4112; Google identity documentation, "Using OAuth 2.0 for
//! server to server applications". RSA with SHA-256 is that of the TLS stack.

use super::Token;
use super::client::{Ask, TokenClient};
use super::source::{SCOPE, token_in};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde_json::json;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const LIFETIME_S: u64 = 3600;
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// An account with its key.
pub(in crate::gcs) struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    pub(super) token_url: String,
    key: Arc<dyn SigningKey>,
}

impl ServiceAccount {
    /// `pem` is the private key. Errors: a sentence without it.
    pub fn new(email: &str, key_id: Option<&str>, pem: &str, token_url: &str) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|_| "its private_key is no private key in PEM".to_owned())?;
        let key = rustls::crypto::ring::sign::any_supported_type(&der);
        let key = key.map_err(|_| "its private_key cannot be read".to_owned())?;
        let account = Self {
            email: email.to_owned(),
            key_id: key_id.map(str::to_owned),
            token_url: token_url.to_owned(),
            key,
        };
        account.signed("").map(|_| account)
    }

    fn signed(&self, text: &str) -> Result<Vec<u8>, String> {
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signer = signer.ok_or("its private_key is no RSA key")?;
        signer.sign(text.as_bytes()).map_err(|_| "its private_key signs nothing".to_owned())
    }

    fn jwt(&self, now_s: u64) -> Result<String, String> {
        let mut head = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(key_id) = &self.key_id {
            head["kid"] = key_id.as_str().into();
        }
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_url, "iat": now_s, "exp": now_s + LIFETIME_S,
        });
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let text =
            format!("{}.{}", encode(head.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = encode(&self.signed(&text)?);
        Ok(format!("{text}.{signature}"))
    }

    /// A new token. Errors: a sentence without any secret.
    pub async fn token(&self, client: &TokenClient) -> Result<Token, String> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let fields = [("grant_type", GRANT), ("assertion", &self.jwt(now_s)?)];
        token_in(&client.ask(Ask::form(&self.token_url, &fields)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made for this test, and of no account.
    const KEY: &str = include_str!("../../../tests/keys/service_account.pem");

    #[test]
    fn a_jwt_has_the_claims_and_a_signature() {
        let account = ServiceAccount::new("a@b.iam", Some("k1"), KEY, "https://h/token").unwrap();
        let jwt = account.jwt(1_700_000_000).unwrap();
        let pieces: Vec<_> = jwt.split('.').collect();
        let decode = |piece: &str| -> serde_json::Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(piece).unwrap()).unwrap()
        };
        assert_eq!(decode(pieces[0]), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        let claims = decode(pieces[1]);
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!("a@b.iam"), &json!("https://h/token")));
        assert_eq!(claims["exp"].as_u64(), Some(1_700_003_600));
        assert_eq!(URL_SAFE_NO_PAD.decode(pieces[2]).unwrap().len(), 256, "of an RSA key of 2,048 bits");
    }

    #[test]
    fn keys_that_are_none_are_refused_without_a_word_of_them() {
        for pem in ["hunter2", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"] {
            let refused = ServiceAccount::new("a@b", None, pem, "u").err().unwrap();
            assert!(refused.contains("private_key") && !refused.contains("hunter2"), "{refused}");
        }
    }
}
