//! Bodies that are accounted for.
//!
//! Owns: [`CountedBody`], which tells of the bytes of a body as they pass, and holds something until its end.

use crate::contract::{GetResult, ObjectBody, Result};
use async_trait::async_trait;

/// A body, and what is held until it was read to its end or dropped.
pub(super) struct CountedBody<H, F> {
    body: Box<dyn ObjectBody>,
    held: Option<H>,
    left: u64,
    passed: F,
}

impl<H: Send + 'static, F: FnMut(Result<u64, &crate::contract::Error>) + Send + 'static> CountedBody<H, F> {
    /// `got`, of whose bytes `passed` is told, and of what broke it.
    pub fn over(got: GetResult, held: H, passed: F) -> GetResult {
        let left = got.range.end - got.range.start;
        let held = Some(held).filter(|_| left > 0);
        GetResult { body: Box::new(Self { body: got.body, held, left, passed }), ..got }
    }
}

#[async_trait]
impl<H: Send, F: FnMut(Result<u64, &crate::contract::Error>) + Send> ObjectBody for CountedBody<H, F> {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let filled = self.body.fill(buffer).await;
        (self.passed)(filled.as_ref().map(|count| *count as u64));
        let count = filled?;
        self.left = self.left.saturating_sub(count as u64);
        if self.left == 0 || count < buffer.len() {
            self.held = None;
        }
        Ok(count)
    }
}
