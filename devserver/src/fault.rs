//! Failures on demand.
//!
//! Owns: [`Fault`], [`FaultAction`] and the list of those that wait for their requests. Faults are asked for through
//! [`Server::inject`](crate::Server::inject) or `POST /_pail/faults`; the first that matches a request strikes it, one
//! for each request, and is used up after `times`.

use crate::error::S3Error;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// A failure that waits for its requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which operation it strikes, by its name in the API (`GetObject`, `objects.get`); any, if `None`.
    #[serde(default)]
    pub operation: Option<String>,
    /// Strikes only requests whose key contains this; any, if `None`. Of DeleteObjects it strikes single keys: their errors stand in the answer, which says nothing
    /// of those that it disconnects.
    #[serde(default)]
    pub key_contains: Option<String>,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests it strikes.
    #[serde(default = "one")]
    pub times: u32,
    /// What happens to them.
    pub action: FaultAction,
}

fn one() -> u32 {
    1
}

impl Fault {
    /// Strikes the next request of `operation` (any, if `None`).
    pub fn once(operation: Option<&str>, action: FaultAction) -> Self {
        Self { operation: operation.map(str::to_owned), key_contains: None, skip: 0, times: 1, action }
    }

    fn matches(&self, operation: &str, key: &str) -> bool {
        self.operation.as_deref().is_none_or(|name| name == operation)
            && self.key_contains.as_deref().is_none_or(|part| key.contains(part))
    }
}

/// What happens to a request. In JSON: `{"kind": "cut_body", "after_bytes": 100}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultAction {
    /// 503 SlowDown; nothing takes effect.
    SlowDown,
    /// 409 ConditionalRequestConflict, as S3 answers a conditional write that meets another request; nothing takes effect.
    Conflict,
    /// 403 AccessDenied; nothing takes effect.
    AccessDenied,
    /// 500 InternalError; nothing takes effect.
    InternalError,
    /// A 200 whose body is an error document, as CopyObject, UploadPartCopy and CompleteMultipartUpload may answer;
    /// nothing takes effect.
    ErrorInsideOk,
    /// The answer's body ends (FIN) after so many bytes, though its Content-Length says more.
    TruncateBody {
        /// Bytes sent before the end.
        after_bytes: u64,
    },
    /// The connection is reset (RST) after so many bytes of the answer's body. The request takes effect.
    CutBody {
        /// Bytes sent before the reset.
        after_bytes: u64,
    },
    /// The answer's body pauses after so many bytes.
    Stall {
        /// Bytes sent before the pause.
        after_bytes: u64,
        /// How long, in milliseconds; for ever, if absent.
        #[serde(default)]
        for_ms: Option<u64>,
    },
    /// One bit of the answer's body is another, after so many bytes.
    FlipBit {
        /// Bytes before it.
        after_bytes: u64,
    },
    /// The answer's head is late by so many milliseconds, beside the time to first byte that is set.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The answer carries the ETag of other bytes.
    WrongEtag,
    /// The answer has no ETag.
    NoEtag,
    /// The connection is closed before the request takes effect, and without an answer.
    Disconnect,
    /// The request takes effect, and the connection is closed without an answer.
    ApplyThenDisconnect,
    /// The connection is reset after so many bytes of the request's body; nothing takes effect.
    CutRequest {
        /// Bytes received before the reset.
        after_bytes: u64,
    },
}

/// The error that a fault asks for, where nothing takes effect.
pub(crate) fn error_of(action: &FaultAction) -> Option<S3Error> {
    match action {
        FaultAction::SlowDown => Some(S3Error::slow_down()),
        FaultAction::AccessDenied => Some(S3Error::access_denied()),
        FaultAction::Conflict => Some(S3Error::conflict()),
        FaultAction::InternalError | FaultAction::ErrorInsideOk => {
            Some(S3Error::internal("We encountered an internal error. Please try again."))
        }
        _ => None,
    }
}

/// What happens to the body of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BodyFault {
    Cut { after_bytes: u64, reset: bool },
    Stall { after_bytes: u64, for_ms: Option<u64> },
    Flip { after_bytes: u64 },
}

impl BodyFault {
    pub(crate) fn after_bytes(self) -> u64 {
        match self {
            Self::Cut { after_bytes, .. } | Self::Stall { after_bytes, .. } | Self::Flip { after_bytes } => {
                after_bytes
            }
        }
    }

    pub(crate) fn of(action: Option<&FaultAction>) -> Option<Self> {
        match *action? {
            FaultAction::TruncateBody { after_bytes } => Some(Self::Cut { after_bytes, reset: false }),
            FaultAction::CutBody { after_bytes } => Some(Self::Cut { after_bytes, reset: true }),
            FaultAction::Stall { after_bytes, for_ms } => Some(Self::Stall { after_bytes, for_ms }),
            FaultAction::FlipBit { after_bytes } => Some(Self::Flip { after_bytes }),
            _ => None,
        }
    }
}

/// The faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Guards the list, in the order of injection. A leaf: nothing else is locked while it is held.
    waiting: Mutex<Vec<Fault>>,
}

impl Faults {
    pub(crate) fn inject(&self, fault: Fault) {
        self.waiting.lock().push(fault);
    }

    pub(crate) fn clear(&self) {
        self.waiting.lock().clear();
    }

    pub(crate) fn waiting(&self) -> Vec<Fault> {
        self.waiting.lock().clone()
    }

    /// What is to happen to this request, whose operation is given by its name in the API.
    pub(crate) fn take(&self, operation: &str, key: &str) -> Option<FaultAction> {
        self.take_of(|fault| fault.matches(operation, key))
    }

    /// The same for a request whose key stands in its body and has become known now: those faults that ask for a key.
    pub(crate) fn take_by_key(&self, operation: &str, key: &str) -> Option<FaultAction> {
        self.take_of(|fault| fault.key_contains.is_some() && fault.matches(operation, key))
    }

    fn take_of(&self, matches: impl Fn(&Fault) -> bool) -> Option<FaultAction> {
        let mut waiting = self.waiting.lock();
        let mut struck = None;
        for fault in waiting.iter_mut().filter(|fault| matches(fault)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                struck = Some(fault.action.clone());
                break;
            }
        }
        waiting.retain(|fault| fault.times > 0);
        struck
    }
}
