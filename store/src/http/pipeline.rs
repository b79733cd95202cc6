//! The one way by which requests reach the bucket.
//!
//! Owns: [`Pipeline`]: sending, timeouts, retries, the bound on requests in flight, and what was learned of the server's clock on the way.
//! How a request is addressed and authorized, and what an answer means, its [`Service`] knows: one for each API.
//!
//! # Why one pipeline, and no `object_store`
//! Its keys are normalised paths, so half of the operations would need a second way to the server beside it, with a
//! second pool, second retries and second credentials.
//!
//! Invariants:
//! - Every attempt is authorized anew, with the credentials and the clock of its time.
//! - Whatever is waited for counts towards the request's deadline (see [`deadline`](super::deadline)).
//! - No error and no log line holds a header, a query or a secret.

use super::body::{Progress, RequestBody};
use super::counters::{InFlight, RequestCounters, Retrying};
use super::deadline::{Movement, Waiting};
use super::exchange::{AnswerBody, ExchangeError};
use super::failure::{Failure, RetryAction, innermost};
use super::request::ApiRequest;
use super::retry::Backoff;
use super::service::Service;
use super::transport::HttpClient;
use crate::contract::{Error, ErrorKind, RawKey, StoreOptions};
use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderMap, Request, Response, header};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

/// The largest answer that is read as a whole: a listing page of 1,000 long, encoded keys has 4 MiB.
const ANSWER_SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long the server may work on a copy or a completion before it answers.
const LONG_RUNNING_TIMEOUT: Duration = Duration::from_secs(300);

/// How often a request is sent again whose answers cannot be understood.
const TRIES_AGAIN_MAX: u32 = 2;

/// The state behind one store's requests.
pub(crate) struct Pipeline<S> {
    pub bucket: String,
    pub options: StoreOptions,
    pub service: S,
    pub counters: Arc<RequestCounters>,
    /// Whether anything of this store moves.
    pub movement: Arc<Movement>,
    client: HttpClient,
    in_flight: Arc<Semaphore>,
    /// The server's clock less ours.
    clock_skew_ms: AtomicI64,
}

/// What came back. The body is whole or, for [`Pipeline::open`], still on its way.
pub(crate) struct Answer<B = Bytes> {
    pub headers: HeaderMap,
    /// By which the headers' case is told, where the request asked for it (`header_case`).
    pub extensions: Extensions,
    pub body: B,
    /// The CRC-64/NVME of what this answer's request carried, where it was to be made.
    pub sent_crc64: Option<u64>,
}

/// A body on its way, and its place among the requests in flight.
pub(crate) struct OpenBody {
    pub body: AnswerBody,
    pub in_flight: InFlight,
}

/// What it took to get an answer.
#[derive(Debug, Clone, Default)]
struct History {
    pub attempts: u32,
    /// An attempt that failed may have taken effect all the same.
    pub maybe_applied: bool,
}

/// Which retries a request has used up that help once or a few times.
#[derive(Default)]
struct Tried {
    again: u32,
    region: bool,
    clock: bool,
    credentials: bool,
}

impl<S: Service> Pipeline<S> {
    pub fn new(options: StoreOptions, service: S, client: HttpClient) -> Self {
        Self {
            bucket: options.bucket.bucket.clone(),
            service,
            counters: Arc::default(),
            movement: Movement::new(),
            client,
            in_flight: Arc::new(Semaphore::new(
                options.requests_in_flight_max.clamp(1, Semaphore::MAX_PERMITS),
            )),
            clock_skew_ms: AtomicI64::new(0),
            options,
        }
    }

    /// An error of this bucket that no attempt is behind.
    pub fn error(
        &self,
        operation: &'static str,
        key: Option<&RawKey>,
        kind: ErrorKind,
        message: String,
    ) -> Error {
        Error::new(kind, operation, self.bucket.as_str(), key, message)
    }

    /// The wait for a request that begins now.
    pub fn waiting(&self) -> Arc<Waiting> {
        Waiting::begin(&self.movement, self.options.retry_deadline)
    }

    /// Sends until there is an answer, and reads it whole.
    pub async fn send(&self, request: &ApiRequest<'_>) -> Result<Answer, Error> {
        let waiting = self.waiting();
        let _in_flight = self.place(request, &waiting).await?;
        self.send_placed(request, &waiting).await
    }

    /// As [`Pipeline::send`], in the place of a body that waits meanwhile: who has one place and waits for another may wait for ever.
    pub async fn send_beside(
        &self,
        _place: &InFlight,
        request: &ApiRequest<'_>,
        waiting: &Arc<Waiting>,
    ) -> Result<Answer, Error> {
        self.send_placed(request, waiting).await
    }

    async fn send_placed(&self, request: &ApiRequest<'_>, waiting: &Arc<Waiting>) -> Result<Answer, Error> {
        self.retrying(request, waiting, |response| async {
            let (parts, body) = response.into_parts();
            Ok((parts, self.collect(body, waiting).await?))
        })
        .await
    }

    /// Sends until there is the head of a good answer, and hands over its body as it arrives. Waits no longer than `waiting` says.
    pub async fn open(
        &self,
        request: &ApiRequest<'_>,
        waiting: &Arc<Waiting>,
    ) -> Result<Answer<OpenBody>, Error> {
        let in_flight = self.place(request, waiting).await?;
        let answer = self
            .retrying(request, waiting, |response| async {
                let (parts, body) = response.into_parts();
                match parts.status.is_success() {
                    true => Ok((parts, OpenOrRead::Open(body))),
                    false => Ok((parts, OpenOrRead::Read(self.collect(body, waiting).await?))),
                }
            })
            .await?;
        match answer.body {
            OpenOrRead::Open(body) => {
                let Answer { headers, extensions, .. } = answer;
                Ok(Answer { headers, extensions, body: OpenBody { body, in_flight }, sent_crc64: None })
            }
            // `retrying` returns only successes, and those are open.
            OpenOrRead::Read(_) => Err(self.failed(
                request,
                Failure::last(ErrorKind::Other, "an answer without a body"),
                History::default(),
            )),
        }
    }

    /// A place among the requests in flight. Errors: there is none, and nothing of those that have one moves.
    async fn place(&self, request: &ApiRequest<'_>, waiting: &Waiting) -> Result<InFlight, Error> {
        let mut acquired = pin!(self.in_flight.clone().acquire_owned());
        loop {
            let (began, until) = (Instant::now(), waiting.deadline());
            let acquired = timeout_at(until.into(), &mut acquired).await;
            waiting.was_queued(began);
            match acquired {
                Ok(Ok(permit)) => return Ok(InFlight::new(permit, self.counters.clone())),
                Ok(Err(_)) => unreachable!("the semaphore is never closed"),
                Err(_) => {}
            }
            if waiting.left().is_zero() {
                self.counters.count_error(ErrorKind::Unreachable);
                let message = format!(
                    "none of the {} requests in flight to {} moves, and no more may be",
                    self.options.requests_in_flight_max,
                    self.service.url()
                );
                return Err(self.failed(request, Failure::transport(message, false), History::default()));
            }
        }
    }

    async fn retrying<B: AsRef<[u8]>, F>(
        &self,
        request: &ApiRequest<'_>,
        waiting: &Arc<Waiting>,
        read: impl Fn(Response<AnswerBody>) -> F,
    ) -> Result<Answer<B>, Error>
    where
        F: Future<Output = Result<(http::response::Parts, B), Failure>>,
    {
        let mut history = History::default();
        let mut backoff = Backoff::default();
        let mut tried = Tried::default();
        let mut trouble = None;
        loop {
            history.attempts += 1;
            let failure = match self.attempt(request, waiting, &read).await {
                Ok(answer) => {
                    self.movement.moved();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            self.counters.count_error(failure.kind);
            history.maybe_applied |= failure.maybe_applied && request.writes();
            let delay = self.prepare_retry(&failure.retry, &mut tried, &mut backoff);
            match delay {
                Some(delay) if delay < waiting.left() => {
                    tracing::warn!(
                        operation = request.operation,
                        bucket = self.bucket,
                        key = request.key.map(tracing::field::display),
                        status = failure.status,
                        code = failure.code,
                        cause = failure.message,
                        attempt = history.attempts,
                        delay_ms = delay.as_millis() as u64,
                        "retrying"
                    );
                    self.counters.count_retry();
                    let told = self.failed(request, failure, History::default());
                    trouble
                        .get_or_insert_with(|| Retrying::new(self.counters.clone()))
                        .because(told.to_string());
                    tokio::time::sleep(delay).await;
                }
                _ => {
                    // Whoever says no has answered.
                    if !matches!(failure.kind, ErrorKind::Unreachable | ErrorKind::Exhausted) {
                        self.movement.moved();
                    }
                    return Err(self.failed(request, failure, history));
                }
            }
        }
    }

    /// Applies what another attempt needs. Returns how long to wait before the next attempt, or `None` if there is no use in one.
    fn prepare_retry(
        &self,
        retry: &RetryAction,
        tried: &mut Tried,
        backoff: &mut Backoff,
    ) -> Option<Duration> {
        match retry {
            RetryAction::None => None,
            RetryAction::Wait(asked) => Some(backoff.next_delay(*asked)),
            RetryAction::Again => {
                tried.again += 1;
                (tried.again <= TRIES_AGAIN_MAX).then(|| backoff.next_delay(None))
            }
            RetryAction::Region(region) => {
                if std::mem::replace(&mut tried.region, true) {
                    return None;
                }
                self.service.move_to(region).then_some(Duration::ZERO)
            }
            RetryAction::Clock(theirs) => {
                if std::mem::replace(&mut tried.clock, true) {
                    return None;
                }
                let ours = SystemTime::now();
                let skew_ms = match theirs.duration_since(ours) {
                    Ok(ahead) => ahead.as_millis() as i64,
                    Err(behind) => -(behind.duration().as_millis() as i64),
                };
                tracing::warn!(skew_ms, "this machine's clock is wrong; requests are signed by the server's");
                self.clock_skew_ms.store(skew_ms, Ordering::Relaxed);
                Some(Duration::ZERO)
            }
            RetryAction::Credentials => {
                self.service.forget_credentials();
                (!std::mem::replace(&mut tried.credentials, true)).then_some(Duration::ZERO)
            }
        }
    }

    /// Signs, sends, and reads one answer.
    async fn attempt<B: AsRef<[u8]>, F>(
        &self,
        request: &ApiRequest<'_>,
        waiting: &Arc<Waiting>,
        read: impl Fn(Response<AnswerBody>) -> F,
    ) -> Result<Answer<B>, Failure>
    where
        F: Future<Output = Result<(http::response::Parts, B), Failure>>,
    {
        if let Some(name) = request.unsendable {
            let message = format!("the value of the header {name} cannot be sent");
            return Err(Failure::last(ErrorKind::Unsupported, message));
        }
        let progress = Progress::new(waiting, request.summed);
        let patience = waiting.until(Instant::now(), self.options.head_timeout);
        let authorized = timeout_at(patience.into(), self.service.authorization_for(request)).await;
        let authorized = authorized.unwrap_or_else(|_| Err("the lookup takes too long".to_owned()));
        let authorization = authorized.map_err(|cause| {
            Failure::last(ErrorKind::Credentials, format!("the credentials cannot be loaded: {cause}"))
        })?;
        let http_request = self.http_request(request, &authorization, progress.clone())?;
        self.counters.count_request(request.operation);
        let started = Instant::now();
        let sending = self.client.request(http_request);
        let response = self.head_of(request, sending, &progress, waiting).await;
        self.counters.count_sent(progress.sent_bytes());
        let response = response?;
        let status = response.status();
        tracing::debug!(
            operation = request.operation,
            key = request.key.map(tracing::field::display),
            status = status.as_u16(),
            ms = started.elapsed().as_millis() as u64,
            "request"
        );
        let (parts, body) = read(response).await?;
        match self.service.failure_in(request, status, &parts.headers, body.as_ref(), self.now()) {
            Some(failure) => Err(failure),
            None => {
                let sent_crc64 = progress.sent_crc64();
                Ok(Answer { headers: parts.headers, extensions: parts.extensions, body, sent_crc64 })
            }
        }
    }

    fn http_request(
        &self,
        request: &ApiRequest<'_>,
        authorization: &S::Authorization,
        progress: Arc<Progress>,
    ) -> Result<Request<RequestBody>, Failure> {
        let invalid = |cause: String| Failure::last(ErrorKind::Unsupported, cause);
        let uri = self.service.uri(request).map_err(invalid)?;
        let host = uri.authority().and_then(|authority| authority.as_str().parse().ok());
        let host = host.ok_or_else(|| invalid("the endpoint's host is not valid".to_owned()))?;
        let mut http_request = Request::new(RequestBody::new(&request.payload, progress));
        *http_request.method_mut() = request.method.clone();
        *http_request.uri_mut() = uri;
        *http_request.extensions_mut() = request.extensions.clone();
        let headers = http_request.headers_mut();
        *headers = request.headers.clone();
        headers.insert(header::HOST, host);
        if request.writes() {
            headers.insert(header::CONTENT_LENGTH, request.payload.len().into());
        }
        headers.insert(
            header::USER_AGENT,
            const { http::HeaderValue::from_static(concat!("pail/", env!("CARGO_PKG_VERSION"))) },
        );
        self.service.add_headers(request, headers);
        self.service.authorize(&mut http_request, authorization, self.now()).map_err(invalid)?;
        Ok(http_request)
    }

    /// Waits for the answer's head: as long as the upload moves, and then for the head timeout or to the deadline.
    async fn head_of(
        &self,
        request: &ApiRequest<'_>,
        sending: impl Future<Output = Result<Response<AnswerBody>, ExchangeError>>,
        progress: &Progress,
        waiting: &Waiting,
    ) -> Result<Response<AnswerBody>, Failure> {
        let until = || match request.long_running {
            true => progress.sent_at() + LONG_RUNNING_TIMEOUT,
            false => waiting.until(progress.sent_at(), self.options.head_timeout),
        };
        tokio::pin!(sending);
        loop {
            let patience = until();
            match timeout_at(patience.into(), &mut sending).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => {
                    return Err(match progress.source_error() {
                        Some(cause) => Failure::last(
                            ErrorKind::Source,
                            format!("what is to be uploaded cannot be read: {cause}"),
                        ),
                        None => Failure::of_exchange(&error, &self.service.url()),
                    });
                }
                Err(_) if until() > patience => {}
                Err(_) => {
                    let waited = patience.saturating_duration_since(progress.sent_at());
                    let message =
                        format!("{} did not answer within {} s", self.service.url(), waited.as_secs());
                    return Err(Failure::transport(message, true));
                }
            }
        }
    }

    async fn collect(&self, mut body: AnswerBody, waiting: &Waiting) -> Result<Bytes, Failure> {
        let mut bytes = BytesMut::new();
        let mut buffer = [0; 8 * 1024];
        loop {
            let patience = waiting.until(Instant::now(), self.options.stall_timeout);
            match timeout_at(patience.into(), body.read(&mut buffer)).await {
                Ok(Ok(0)) => return Ok(bytes.freeze()),
                Ok(Ok(count)) => {
                    bytes.extend_from_slice(&buffer[..count]);
                    waiting.received(bytes.len() as u64);
                }
                Ok(Err(error)) => {
                    return Err(Failure::transport(
                        format!("the answer broke off: {}", innermost(&error)),
                        true,
                    ));
                }
                Err(_) => return Err(Failure::transport("the answer stalled".to_owned(), true)),
            }
            if bytes.len() > ANSWER_SIZE_BYTES_MAX {
                return Err(Failure::last(ErrorKind::Corrupt, "the answer is longer than any can be"));
            }
        }
    }

    /// Now, by the server's clock.
    fn now(&self) -> SystemTime {
        let skew_ms = self.clock_skew_ms.load(Ordering::Relaxed);
        let skew = Duration::from_millis(skew_ms.unsigned_abs());
        if skew_ms < 0 { SystemTime::now() - skew } else { SystemTime::now() + skew }
    }

    /// The error of one of several things that were asked for by `request`, as its answer tells it.
    pub fn error_within(&self, request: &ApiRequest<'_>, failure: Failure) -> Error {
        self.counters.count_error(failure.kind);
        let history = History { attempts: 1, maybe_applied: failure.maybe_applied };
        self.failed(request, failure, history)
    }

    fn failed(&self, request: &ApiRequest<'_>, failure: Failure, history: History) -> Error {
        let message = match failure.kind {
            ErrorKind::NoSuchBucket => format!("{} at {}", failure.message, self.service.url()),
            ErrorKind::Exhausted => format!("{}; {} keeps failing", failure.message, self.service.url()),
            _ => self.service.explained(&failure),
        };
        Error {
            status: failure.status,
            code: failure.code,
            attempts: history.attempts,
            maybe_applied: history.maybe_applied,
            ..self.error(request.operation, request.key, failure.kind, message)
        }
    }
}

enum OpenOrRead {
    Open(AnswerBody),
    Read(Bytes),
}

impl AsRef<[u8]> for OpenOrRead {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Open(_) => &[],
            Self::Read(bytes) => bytes,
        }
    }
}
