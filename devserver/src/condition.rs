//! Conditions on requests.
//!
//! Owns: [`Conditions`], read from the headers, and what they mean for reads, for the source of a copy, and for writes.
//! Source: RFC 9110 section 13 for reads; Amazon S3 User Guide, "Conditional requests", for writes.

use crate::error::S3Error;
use crate::object::Object;
use http::HeaderMap;
use jiff::Timestamp;

/// The conditions of one request.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_modified_since: Option<Timestamp>,
    if_unmodified_since: Option<Timestamp>,
}

impl Conditions {
    /// On the object itself.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self::with_prefix(headers, "")
    }

    /// On the source of a copy.
    pub(crate) fn of_copy_source(headers: &HeaderMap) -> Self {
        Self::with_prefix(headers, "x-amz-copy-source-")
    }

    /// On what a copy replaces, as R2 takes them.
    pub(crate) fn of_copy_destination(headers: &HeaderMap) -> Self {
        Self::with_prefix(headers, "cf-copy-destination-")
    }

    fn with_prefix(headers: &HeaderMap, prefix: &str) -> Self {
        // An ETag may have bytes beyond ASCII.
        let text = |name: &str| {
            let value = headers.get(format!("{prefix}{name}"))?;
            std::str::from_utf8(value.as_bytes()).ok()
        };
        let time = |name: &str| {
            let parsed = jiff::fmt::rfc2822::parse(text(name)?).ok()?;
            Some(parsed.timestamp())
        };
        Self {
            if_match: text("if-match").map(str::to_owned),
            if_none_match: text("if-none-match").map(str::to_owned),
            if_modified_since: time("if-modified-since"),
            if_unmodified_since: time("if-unmodified-since"),
        }
    }

    /// Errors: 412, and 304 with the object's ETag.
    pub(crate) fn check_read(&self, object: &Object) -> Result<(), S3Error> {
        self.check_if_match(object)?;
        let unchanged = match &self.if_none_match {
            Some(etags) => names(etags, &object.etag),
            None => self.if_modified_since.is_some_and(|since| object.modified <= since),
        };
        if unchanged {
            let error = S3Error::new(304, "NotModified", "Not Modified");
            return Err(error.with_header(http::header::ETAG, &object.quoted_etag()));
        }
        Ok(())
    }

    /// Errors: 412, also where a read would answer 304.
    pub(crate) fn check_copy_source(&self, object: &Object) -> Result<(), S3Error> {
        self.check_read(object).map_err(|_| S3Error::precondition_failed())
    }

    fn check_if_match(&self, object: &Object) -> Result<(), S3Error> {
        let holds = match &self.if_match {
            Some(etags) => names(etags, &object.etag),
            None => self.if_unmodified_since.is_none_or(|since| object.modified <= since),
        };
        if holds { Ok(()) } else { Err(S3Error::precondition_failed()) }
    }

    /// Checks a write against what it would replace. `unquoted_only` imitates servers that compare If-Match as it is sent.
    /// Errors: `NoSuchKey` for If-Match on what is not there, 412, `NotImplemented` for If-None-Match with an ETag.
    pub(crate) fn check_write(&self, current: Option<&Object>, unquoted_only: bool) -> Result<(), S3Error> {
        if let Some(etags) = &self.if_match {
            let current = current.ok_or_else(S3Error::no_such_key)?;
            if (unquoted_only && etags.contains('"')) || !names(etags, &current.etag) {
                return Err(S3Error::precondition_failed());
            }
        }
        match self.if_none_match.as_deref() {
            Some("*") if current.is_some() => Err(S3Error::precondition_failed()),
            None | Some("*") => Ok(()),
            Some(_) => Err(S3Error::not_implemented(
                "A header you provided implies functionality that is not implemented",
            )),
        }
    }
}

/// Whether a list of ETags, or `*`, names this one.
pub(crate) fn names(etags: &str, etag: &str) -> bool {
    etags
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/").trim_matches('"') == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_match_quoted_bare_and_in_lists() {
        for etags in ["*", "abc", "\"abc\"", "W/\"abc\"", "\"x\", \"abc\""] {
            assert!(names(etags, "abc"), "{etags}");
        }
        for etags in ["\"ab\"", "", "\"abcd\", \"x\""] {
            assert!(!names(etags, "abc"), "{etags}");
        }
    }
}
