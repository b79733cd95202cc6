//! Many objects deleted by one request.
//!
//! Owns: DeleteObjects, and [`BulkDeletions`], whether the endpoint takes it. Source: Amazon S3 API Reference, "DeleteObjects", "ObjectIdentifier"; User Guide, "How to
//! perform conditional deletes": the ETag of an object in the request makes its deletion conditional.
//!
//! # Why so
//! - The answer is asked for in full, not `Quiet`: an object that it leaves out is not taken for deleted, but deleted by itself.
//! - What XML does not hold as it is (control characters, which XML 1.0 has no word for; blanks at the ends, which readers cut off) takes a request of its own: a server
//!   that reads the key otherwise would delete another object.
//! - `Content-MD5` is the one checksum that every server takes here; AWS wants one.
//!
//! An object whose failure passes (throttling, an internal error) is asked for again with the others of its kind, until none of them goes for the deadline of a request.

use super::etag::{quoted, unquoted};
use super::failure::failure_of_key;
use super::writing::Writer;
use super::xml;
use crate::contract::{Condition, Error, ErrorKind, RawKey, Result};
use crate::http::failure::RetryAction;
use crate::http::request::ApiRequest;
use crate::http::retry::Backoff;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The most objects of one request (Amazon S3 API Reference, "DeleteObjects").
pub(super) const KEYS_MAX: usize = 1000;
/// Of what one request leaves over, so many are deleted at the same time.
const SINGLE_REQUESTS_MAX: usize = 16;
const OPERATION: &str = "DeleteObjects";

/// Whether an endpoint takes DeleteObjects.
#[derive(Debug, Default)]
pub(super) struct BulkDeletions(AtomicU8);

impl BulkDeletions {
    const TAKEN: u8 = 1;
    const REFUSED: u8 = 2;

    /// False once the endpoint has refused it, and never taken it.
    pub fn may_be_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Self::REFUSED
    }

    fn was_taken(&self) {
        self.0.store(Self::TAKEN, Ordering::Relaxed);
    }

    /// What was taken before is there, and this request was refused for what it holds.
    fn was_refused(&self, error: &Error) {
        if self.0.compare_exchange(0, Self::REFUSED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::info!(%error, "the endpoint does not delete many objects in one request; each takes its own");
        }
    }
}

/// An object as the request names it.
pub(super) struct Target<'a> {
    key: &'a RawKey,
    etag: Option<String>,
}

/// What the answer says of one object.
#[derive(Debug)]
pub(super) enum Told {
    Deleted,
    Refused {
        error: Error,
        /// Another request may be answered otherwise.
        passes: bool,
    },
    Nothing,
}

impl Writer<'_> {
    /// See [`Store::delete_many`](crate::Store::delete_many).
    pub async fn delete_many(&self, objects: &[(RawKey, Condition)]) -> Result<Vec<Result<()>>> {
        let mut outcomes: Vec<Option<Result<()>>> = objects.iter().map(|_| None).collect();
        let named = objects.iter().map(|(key, condition)| self.target(key, condition));
        let mut pending: Vec<(usize, Target<'_>)> =
            named.enumerate().filter_map(|(index, target)| Some((index, target?))).collect();
        let mut backoff = Backoff::default();
        let (mut moved, mut is_first) = (Instant::now(), true);
        while !pending.is_empty() {
            let targets: Vec<&Target<'_>> = pending.iter().map(|(_, target)| target).collect();
            let told = match self.ask_to_delete(&targets).await {
                Ok(told) => told,
                Err(error) if is_first => return Err(error),
                // Each has its own failure from before.
                Err(_) => break,
            };
            is_first = false;
            let before = pending.len();
            let mut failing = Vec::new();
            for ((index, target), told) in std::mem::take(&mut pending).into_iter().zip(told) {
                outcomes[index] = match told {
                    Told::Deleted => Some(Ok(())),
                    Told::Refused { error, passes } => {
                        failing.extend(passes.then_some((index, target)));
                        Some(Err(error))
                    }
                    Told::Nothing => None,
                };
            }
            if failing.len() < before {
                moved = Instant::now();
            }
            let delay = backoff.next_delay(None);
            if failing.is_empty() || moved.elapsed() + delay > self.pipeline.options.retry_deadline {
                break;
            }
            pending = failing;
            self.wait_to_retry(pending.len(), delay).await;
        }
        self.settle(objects, outcomes).await
    }

    async fn wait_to_retry(&self, count: usize, delay: Duration) {
        let (bucket, delay_ms) = (&self.pipeline.bucket, delay.as_millis() as u64);
        tracing::warn!(operation = OPERATION, bucket, count, delay_ms, "retrying those that failed");
        self.pipeline.counters.count_retry();
        tokio::time::sleep(delay).await;
    }

    /// Deletes by itself what has no outcome, and looks at what was refused for its condition: what is gone is deleted.
    async fn settle(
        &self,
        objects: &[(RawKey, Condition)],
        outcomes: Vec<Option<Result<()>>>,
    ) -> Result<Vec<Result<()>>> {
        let mut settling = Vec::new();
        for ((key, condition), outcome) in objects.iter().zip(outcomes) {
            settling.push(async move {
                match outcome {
                    None => self.delete(key, condition).await,
                    Some(Err(error)) if error.kind == ErrorKind::NotFound => Ok(()),
                    Some(Err(error)) if error.kind == ErrorKind::Precondition => {
                        if self.is_absent(key).await? { Ok(()) } else { Err(error) }
                    }
                    Some(outcome) => outcome,
                }
            });
        }
        Ok(futures::stream::iter(settling).buffered(SINGLE_REQUESTS_MAX).collect().await)
    }

    /// An object as DeleteObjects names it; `None` where it cannot, or where the endpoint does not enforce the condition there.
    pub fn target<'a>(&self, key: &'a RawKey, condition: &Condition) -> Option<Target<'a>> {
        let etag = match condition {
            Condition::None => None,
            Condition::IfVersion(version) if self.enforcement.bulk_delete && !version.is_unknown() => {
                let etag = match self.enforcement.unquoted_if_match {
                    true => unquoted(version),
                    false => quoted(version),
                };
                Some(String::from_utf8(etag).ok()?)
            }
            Condition::IfVersion(_) | Condition::IfAbsent => return None,
        };
        let is_held = is_held_by_xml(key.as_str()) && etag.as_deref().is_none_or(is_held_by_xml);
        is_held.then_some(Target { key, etag })
    }

    /// Sends one request, and reads what its answer says of each, in their order. Errors: those of [`Store::delete_many`](crate::Store::delete_many).
    pub async fn ask_to_delete(&self, targets: &[&Target<'_>]) -> Result<Vec<Told>> {
        let object = targets
            .iter()
            .map(|Target { key, etag }| xml::DeleteObject { key: key.as_str(), etag: etag.clone() });
        let document = xml::DeleteDocument { object: object.collect(), quiet: false };
        let failed = |kind, cause| self.pipeline.error(OPERATION, None, kind, cause);
        let document = xml::write(&document).map_err(|cause| failed(ErrorKind::Other, cause))?;
        let request = ApiRequest::new(OPERATION, Method::POST)
            .query("delete", "")
            .header("content-md5", &STANDARD.encode(Md5::digest(document.as_bytes())))
            .payload(Bytes::from(document).into())
            .long_running();
        let support = &self.pipeline.service.bulk_deletions;
        let answer = match self.pipeline.send(&request).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = of_missing_operation(error);
                if error.kind == ErrorKind::Unsupported {
                    support.was_refused(&error);
                }
                return Err(error);
            }
        };
        let told = self
            .told(targets, &answer.body)
            .map_err(|cause| Error { maybe_applied: true, ..failed(ErrorKind::Corrupt, cause) });
        match &told {
            Ok(_) => support.was_taken(),
            Err(error) => support.was_refused(error),
        }
        told
    }

    /// Errors: it is no answer to the request, or says nothing of any object.
    fn told(&self, targets: &[&Target<'_>], body: &[u8]) -> Result<Vec<Told>, String> {
        let answer: xml::DeleteAnswer = xml::parse(body)?;
        let mut by_key: HashMap<String, Option<xml::ErrorAnswer>> =
            answer.deleted.into_iter().map(|deleted| (deleted.key, None)).collect();
        by_key.extend(answer.error.into_iter().map(|failure| {
            let xml::DeleteFailure { key, code, message } = failure;
            (key, Some(xml::ErrorAnswer { code, message, ..xml::ErrorAnswer::default() }))
        }));
        let told = targets.iter().map(|target| match by_key.remove(target.key.as_str()) {
            None => Told::Nothing,
            Some(None) => Told::Deleted,
            Some(Some(answer)) => self.refused(target.key, answer),
        });
        let told: Vec<Told> = told.collect();
        match told.iter().all(|told| matches!(told, Told::Nothing)) {
            true => Err("the answer names none of the objects".to_owned()),
            false => Ok(told),
        }
    }

    fn refused(&self, key: &RawKey, answer: xml::ErrorAnswer) -> Told {
        let request = ApiRequest::on(OPERATION, Method::POST, key);
        let failure = failure_of_key(&request, answer, SystemTime::now());
        let passes = matches!(failure.retry, RetryAction::Wait(_));
        Told::Refused { error: self.pipeline.error_within(&request, failure), passes }
    }
}

/// Whether every reader of XML reads this text as it was written.
fn is_held_by_xml(text: &str) -> bool {
    text.trim() == text
        && !text.chars().any(|char| char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}'))
}

/// A server that does not know `?delete` may take it for another resource that is not there.
fn of_missing_operation(error: Error) -> Error {
    let is_of_bucket = error.code.as_deref() == Some("NoSuchBucket");
    match error.kind {
        ErrorKind::NoSuchBucket | ErrorKind::NotFound if !is_of_bucket => {
            Error { kind: ErrorKind::Unsupported, ..error }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_keys_in_xml_and_its_answer_is_read_in_any_order() {
        let object = |key, etag: Option<&str>| xml::DeleteObject { key, etag: etag.map(str::to_owned) };
        let object = vec![object("a&b<c>\"d'", None), object("é/ /..", Some("\"e\""))];
        let document = xml::write(&xml::DeleteDocument { object, quiet: false }).unwrap();
        assert_eq!(
            document,
            "<Delete><Object><Key>a&amp;b&lt;c&gt;\"d'</Key></Object><Object><Key>é/ /..</Key><ETag>\"e\"</ETag></Object>\
             <Quiet>false</Quiet></Delete>"
        );
        let answer: xml::DeleteAnswer = xml::parse(
            b"<?xml version=\"1.0\"?>\n<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Deleted><Key>a&amp;b</Key></Deleted>\
              <Error><Key>c</Key><Code>AccessDenied</Code><Message>No</Message></Error><Deleted><Key>d  e</Key><DeleteMarker>true</DeleteMarker>\
              </Deleted></DeleteResult>",
        )
        .unwrap();
        let deleted: Vec<_> = answer.deleted.iter().map(|deleted| deleted.key.as_str()).collect();
        assert_eq!((deleted, answer.error[0].code.as_str()), (vec!["a&b", "d  e"], "AccessDenied"));
        assert!(xml::parse::<xml::DeleteAnswer>(b"").is_err());
    }

    #[test]
    fn what_xml_may_change_is_told_from_what_it_keeps() {
        for kept in ["a", "a//b", "a b", "a&<>'\"", "%41", "é\u{1F600}", "a\\b", "../x"] {
            assert!(is_held_by_xml(kept), "{kept:?}");
        }
        for changed in
            [" a", "a ", "a\u{a0}", "a\nb", "a\tb", "a\rb", "\u{1}", "a\u{7f}", "a\u{fffe}", "a\u{85}b"]
        {
            assert!(!is_held_by_xml(changed), "{changed:?}");
        }
    }

    #[test]
    fn what_was_taken_once_is_there_whatever_one_request_is_told() {
        let refused = || Error::new(ErrorKind::Unsupported, OPERATION, "b", None, "no");
        let deletions = BulkDeletions::default();
        assert!(deletions.may_be_there());
        deletions.was_refused(&refused());
        assert!(!deletions.may_be_there());
        let deletions = BulkDeletions::default();
        deletions.was_taken();
        deletions.was_refused(&refused());
        assert!(deletions.may_be_there());
        let not_there = |code: Option<&str>| {
            let error = Error::new(ErrorKind::NoSuchBucket, OPERATION, "b", None, "404");
            of_missing_operation(Error { code: code.map(str::to_owned), ..error }).kind
        };
        assert_eq!(not_there(None), ErrorKind::Unsupported);
        assert_eq!(not_there(Some("NoSuchBucket")), ErrorKind::NoSuchBucket);
    }
}
