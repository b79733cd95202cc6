//! The walk of a bucket.
//!
//! Owns: the answer to what a source is (an object, a prefix, nothing), and [`Pages`], the listing of a prefix, which runs ahead of those who
//! take its pages by [`PAGES_AHEAD_MAX`], and is listed in ranges where it is long ([`range_listing`]).

use crate::range_listing::{self, lists_from_anywhere};
use crate::{Error, Source};
use pail_store::{ErrorKind, ListPage, ListRequest, ObjectMeta, RawKey, Result, Store};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Pages that wait to be planned.
const PAGES_AHEAD_MAX: usize = 4;
/// So many pages are listed one after another, before a listing counts as long: most are shorter, and cost no request more.
const PAGES_IN_TURN: u32 = 3;

/// What a source is.
pub(crate) enum Found {
    Object(ObjectMeta),
    /// Something is below it. With it the object that has the prefix's name without its `/`, where there is one too.
    Prefix {
        prefix: String,
        first: ListPage,
        beside: Option<ObjectMeta>,
    },
}

/// Looks what a source is. Errors: nothing is there; the store's.
pub(crate) async fn look(store: &Arc<dyn Store>, source: &Source) -> Result<Found, Error> {
    let uri = |path: &str| format!("{}/{path}", store.uri());
    let failed = |path: &str| {
        let doing = format!("look at {}", uri(path));
        move |error| Error::Store { doing, source: Box::new(error) }
    };
    match source {
        Source::Object(key) => match head(store, key).await.map_err(failed(key.as_str()))? {
            Some(object) => Ok(Found::Object(object)),
            None => {
                let below = first_page(store, &format!("{}/", key.as_str()), Some(1)).await;
                let is_prefix = below.is_ok_and(|page| !page.objects.is_empty());
                let uri = uri(key.as_str());
                Err(if is_prefix { Error::IsPrefix { uri } } else { Error::NothingThere { uri } })
            }
        },
        Source::Prefix(prefix) => {
            let first = first_page(store, prefix, None).await.map_err(failed(prefix))?;
            match first.objects.is_empty() {
                true => Err(Error::NothingThere { uri: uri(prefix) }),
                false => Ok(Found::Prefix { prefix: prefix.clone(), first, beside: None }),
            }
        }
        Source::Either(name) => {
            let prefix = format!("{name}/");
            let key = RawKey::new(name.as_str()).ok();
            let object = async {
                match &key {
                    Some(key) => head(store, key).await,
                    None => Ok(None),
                }
            };
            let (first, object) = tokio::join!(first_page(store, &prefix, None), object);
            let first = first.map_err(failed(&prefix))?;
            if !first.objects.is_empty() {
                // Whoever may list and not look at this one object still gets what is below it.
                return Ok(Found::Prefix { prefix, first, beside: object.unwrap_or(None) });
            }
            let found = object.map_err(failed(name))?;
            found.map(Found::Object).ok_or_else(|| Error::NothingThere { uri: uri(name) })
        }
    }
}

async fn head(store: &Arc<dyn Store>, key: &RawKey) -> Result<Option<ObjectMeta>> {
    match store.head(key).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn first_page(store: &Arc<dyn Store>, prefix: &str, max_keys: Option<u32>) -> Result<ListPage> {
    store
        .list(ListRequest { prefix: prefix.to_owned(), max_keys, attributes: true, ..ListRequest::default() })
        .await
}

/// The pages of a listing as they come, in the order of their keys. Dropped, it ends.
#[derive(Debug)]
pub struct Pages {
    pages: mpsc::Receiver<Result<ListPage>>,
    lister: JoinSet<()>,
    uri: String,
}

impl Pages {
    /// Goes on behind `first`, without a delimiter. A listing of more than three pages is listed in ranges at the same time, where the store can.
    pub fn after(store: Arc<dyn Store>, prefix: String, first: ListPage) -> Self {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD_MAX);
        let (mut lister, uri) = (JoinSet::new(), store.uri().to_owned());
        lister.spawn(list(store, prefix, first, sender));
        Self { pages, lister, uri }
    }

    /// The next page; `None` at the end, and after an error.
    pub async fn next(&mut self) -> Option<Result<ListPage>> {
        if let Some(page) = self.pages.recv().await {
            return Some(page);
        }
        // A listing that was cut short must not look complete.
        let lost = self.lister.join_next().await?.err()?;
        let message = format!("the listing was cut short: {lost}");
        Some(Err(pail_store::Error::new(ErrorKind::Other, "ListObjectsV2", &self.uri, None, message)))
    }
}

async fn list(
    store: Arc<dyn Store>,
    prefix: String,
    first: ListPage,
    sender: mpsc::Sender<Result<ListPage>>,
) {
    let mut page = Ok(first);
    for turn in 1.. {
        let next = page.as_ref().ok().and_then(|page| page.next.clone());
        let last = match (&page, turn) {
            (Ok(page), PAGES_IN_TURN) if next.is_some() && lists_from_anywhere(&store) => Some(ends_of(page)),
            _ => None,
        };
        if sender.send(page).await.is_err() || next.is_none() {
            return;
        }
        if let Some(last) = last {
            return range_listing::list_on(store, prefix, &last, sender).await;
        }
        let request =
            ListRequest { prefix: prefix.clone(), token: next, attributes: true, ..ListRequest::default() };
        page = store.list(request).await;
    }
}

/// The first and the last object of a page, and where it goes on.
fn ends_of(page: &ListPage) -> ListPage {
    let ends = page.objects.first().into_iter().chain(page.objects.last());
    ListPage { objects: ends.cloned().collect(), next: page.next.clone(), ..ListPage::default() }
}
