//! What of a call the library has no words for, and what became of its requests.
//!
//! Owns: [`Call`], which goes along with a call into the library by the task that makes it, and so reaches whatever sends the library's
//! requests ([`Backend`](super::Backend)): the exact key, headers, a payload that is read while it is sent. Back come the answer's headers,
//! and the error in this crate's own terms.

use crate::contract::{Error, Payload, RawKey};
use http::HeaderMap;
use parking_lot::Mutex;
use std::sync::Arc;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// What an answer tells beside what the library takes of it.
#[derive(Debug, Default)]
pub(crate) struct AnswerHead {
    pub headers: HeaderMap,
    /// Names of user metadata in the case that the store has them in; none where that does not matter.
    pub metadata_names: Vec<String>,
}

/// One call into the library.
#[derive(Debug)]
pub(crate) struct Call {
    /// The operation in the S3 API's word.
    pub operation: &'static str,
    /// The exact key.
    pub key: RawKey,
    /// Headers beside those of the library.
    pub headers: HeaderMap,
    /// Names of user metadata among what is sent, whose case is to be kept.
    pub metadata_names: Vec<String>,
    /// What is sent, where the library was given nothing.
    pub payload: Option<Payload>,
    /// A leaf, as `error`.
    answer: Mutex<Option<AnswerHead>>,
    error: Mutex<Option<Error>>,
}

impl Call {
    pub fn new(operation: &'static str, key: &RawKey) -> Self {
        Self {
            operation,
            key: key.clone(),
            headers: HeaderMap::new(),
            metadata_names: Vec::new(),
            payload: None,
            answer: Mutex::default(),
            error: Mutex::default(),
        }
    }

    /// The call that this task is in.
    pub fn current() -> Option<Arc<Self>> {
        CALL.try_with(Arc::clone).ok()
    }

    pub async fn run<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        CALL.scope(self.clone(), work).await
    }

    pub fn answered(&self, head: AnswerHead) {
        *self.answer.lock() = Some(head);
    }

    pub fn failed(&self, error: Error) {
        *self.error.lock() = Some(error);
    }

    /// The head of the answer, where there was one.
    pub fn take_answer(&self) -> AnswerHead {
        self.answer.lock().take().unwrap_or_default()
    }

    pub fn take_error(&self) -> Option<Error> {
        self.error.lock().take()
    }
}
