//! What the target of a copy between buckets has.
//!
//! Owns: [`TargetObjects`], which is asked for keys in ascending order and reads the target's listing along with them, so that what is remembered is a page.

use crate::Error;
use pail_store::{ErrorKind, ListRequest, ObjectMeta, RawKey, Store};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

/// The objects below a prefix.
pub(crate) struct TargetObjects {
    store: Arc<dyn Store>,
    request: ListRequest,
    page: VecDeque<ObjectMeta>,
    has_ended: bool,
}

impl TargetObjects {
    /// Sends nothing yet.
    pub fn new(store: Arc<dyn Store>, prefix: String) -> Self {
        let request = ListRequest { prefix, ..ListRequest::default() };
        Self { store, request, page: VecDeque::new(), has_ended: false }
    }

    /// The object at `key`, which is greater than the one that was asked for before. `None` where there is none, or it may not be
    /// looked at. Errors: the store's.
    pub async fn of(&mut self, key: &RawKey) -> Result<Option<ObjectMeta>, Error> {
        loop {
            while let Some(listed) = self.page.front() {
                match listed.key.as_str().cmp(key.as_str()) {
                    Ordering::Less => drop(self.page.pop_front()),
                    // Some servers leave the versions out.
                    Ordering::Equal if listed.version.is_unknown() => return self.look(key).await,
                    Ordering::Equal => return Ok(Some(listed.clone())),
                    Ordering::Greater => return Ok(None),
                }
            }
            if self.has_ended {
                return Ok(None);
            }
            self.turn().await?;
        }
    }

    async fn turn(&mut self) -> Result<(), Error> {
        let page = match self.store.list(self.request.clone()).await {
            Ok(page) => page,
            // Who may write and not list copies again.
            Err(error) if matches!(error.kind, ErrorKind::Denied) => {
                self.has_ended = true;
                return Ok(());
            }
            Err(error) => return Err(self.failed("list", &self.request.prefix, error)),
        };
        self.page.extend(page.objects);
        self.has_ended = page.next.is_none();
        self.request.token = page.next;
        Ok(())
    }

    async fn look(&self, key: &RawKey) -> Result<Option<ObjectMeta>, Error> {
        match self.store.head(key).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Denied) => Ok(None),
            Err(error) => Err(self.failed("look at", key.as_str(), error)),
        }
    }

    fn failed(&self, doing: &str, path: &str, error: pail_store::Error) -> Error {
        Error::Store { doing: format!("{doing} {}/{path}", self.store.uri()), source: Box::new(error) }
    }
}
