//! By what a request of the S3 family is authorized.
//!
//! Owns: [`Authorization`]. Invariant: no `Debug` output holds a key or a token.

use aws_credential_types::Credentials;
use http::HeaderValue;
use std::fmt;

/// What a request is authorized by.
#[derive(Clone)]
pub(super) enum Authorization {
    /// Nothing: buckets may be public.
    Anonymous,
    /// A signature with these keys.
    Keys(Credentials),
    /// A signature with the keys of a directory bucket's session.
    Session(Credentials),
    /// A token, which is sent as it is.
    Bearer(Token),
}

/// A bearer token.
#[derive(Clone)]
pub(super) struct Token {
    header: HeaderValue,
}

impl Token {
    /// Errors: a sentence without the token, which no header can hold.
    pub fn new(token: &str) -> Result<Self, String> {
        let mut header = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "the token has characters that no header can hold".to_owned())?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    /// The value of the header `Authorization`.
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The token itself.
    pub fn secret(&self) -> String {
        String::from_utf8_lossy(&self.header.as_bytes()["Bearer ".len()..]).into_owned()
    }
}

impl Authorization {
    /// Whose it is, so that two who differ are told apart: nothing secret, and nothing for people.
    pub fn id(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Keys(keys) | Self::Session(keys) => keys.access_key_id(),
            Self::Bearer(_) => "bearer",
        }
    }

    /// In words, after "the request was sent": of an access key's id the end, where that leaves enough unsaid.
    pub fn describe(&self) -> String {
        match self {
            Self::Anonymous => "without credentials".to_owned(),
            Self::Bearer(_) => "with an IAM token".to_owned(),
            Self::Keys(keys) | Self::Session(keys) => {
                let id = keys.access_key_id();
                let end = id.char_indices().rev().nth(3).map_or(0, |(index, _)| index);
                match id.len() >= 12 {
                    true => format!("with the access key …{}", &id[end..]),
                    false => "with an access key".to_owned(),
                }
            }
        }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Keys(_) => "Keys",
            Self::Session(_) => "Session",
            Self::Bearer(_) => "Bearer",
        })
    }
}
