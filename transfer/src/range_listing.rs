//! A long listing, in ranges at the same time.
//!
//! Owns: [`list_on`], which goes on with a listing that has turned out to be long. Where requests would be idle, the earliest range that is not listed to its end is cut
//! ([`Levels`]); pages are given on in the order of their keys all the same.
//!
//! Bounds: [`REQUESTS_MAX`] requests and [`PAGES_MAX`] pages that wait for an earlier one.
//!
//! Invariant: every key is in exactly one range, and is given on once, whatever the guesses come to and also where a server ignores where it is
//! to begin: what is not in the range that was asked for is left out.

use crate::key_ranges::{Boundary, Levels};
use pail_store::{Error, ErrorKind, ListPage, ListRequest, Result, Store};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

/// Requests at the same time.
const REQUESTS_MAX: usize = 16;
/// Pages that wait for one before them, about 300 kB each.
const PAGES_MAX: usize = 64;

/// Whether a store lists from any key on as cheaply as from the first: Azure's emulator does not, and directory buckets of S3 have no order.
pub(crate) fn lists_from_anywhere(store: &Arc<dyn Store>) -> bool {
    let uri = store.uri();
    !uri.starts_with("az://") && !uri.ends_with("--x-s3")
}

/// A part of the keys, and how far it is listed.
struct Range {
    id: u64,
    /// The last key that was listed, or the boundary at which it begins.
    after: String,
    /// The last key that may be in it; `None` is the listing's end.
    until: Option<String>,
    token: Option<String>,
    /// What guess it began with.
    guess: Option<Boundary>,
    /// How many pages were listed of it; `None` once it was cut.
    listed: Option<usize>,
    pages: VecDeque<ListPage>,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Idle,
    Asked,
    Done,
}

/// A listing under way.
struct Listing {
    store: Arc<dyn Store>,
    prefix: String,
    /// In the order of their keys.
    ranges: VecDeque<Range>,
    requests: JoinSet<(u64, Result<ListPage>)>,
    levels: Levels,
    last_id: u64,
    /// A server began elsewhere than it was asked to.
    is_cut_no_more: bool,
}

/// Lists what follows behind `last`, a page that has a successor, and gives it to `sender`. The last page may be empty.
pub(crate) async fn list_on(
    store: Arc<dyn Store>,
    prefix: String,
    last: &ListPage,
    sender: mpsc::Sender<Result<ListPage>>,
) {
    let mut listing = Listing {
        store,
        prefix,
        ranges: VecDeque::new(),
        requests: JoinSet::new(),
        levels: Levels::default(),
        last_id: 0,
        is_cut_no_more: false,
    };
    let after = last.objects.last().map(|object| object.key.as_str().to_owned()).unwrap_or_default();
    listing.ranges.push_back(Range {
        id: 0,
        after,
        until: None,
        token: last.next.clone(),
        guess: None,
        listed: None,
        pages: VecDeque::new(),
        status: Status::Idle,
    });
    let first = last.objects.first().map(|object| object.key.as_str().to_owned()).unwrap_or_default();
    listing.cut(0, &first);
    while let Some(page) = listing.next().await {
        let is_end = page.as_ref().map_or(true, |page| page.next.is_none());
        if sender.send(page).await.is_err() || is_end {
            return;
        }
    }
}

impl Listing {
    /// The next page in order; one without a successor ends it.
    async fn next(&mut self) -> Option<Result<ListPage>> {
        loop {
            while let Some(front) = self.ranges.front_mut() {
                if let Some(page) = front.pages.pop_front() {
                    return Some(Ok(page));
                }
                if front.status != Status::Done {
                    break;
                }
                self.ranges.pop_front();
            }
            if self.ranges.is_empty() {
                return Some(Ok(ListPage::default()));
            }
            self.ask();
            let (id, page) = match self.requests.join_next().await? {
                Ok(answer) => answer,
                // A task that panicked leaves its range unlisted: the listing must not look complete.
                Err(lost) => return Some(Err(self.lost(&lost))),
            };
            match page {
                Ok(page) => self.take(id, page),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn lost(&self, error: &JoinError) -> Error {
        let message = format!("a worker was lost: {error}");
        Error::new(ErrorKind::Other, "ListObjectsV2", self.store.uri(), None, message)
    }

    /// Sends requests for the earliest ranges, as far as there is room for their answers.
    fn ask(&mut self) {
        let mut waiting: usize = self.ranges.iter().map(|range| range.pages.len()).sum();
        waiting += self.requests.len();
        for (index, range) in self.ranges.iter_mut().enumerate() {
            if self.requests.len() >= REQUESTS_MAX {
                return;
            }
            // Half of the room is for those whose turn is soon.
            let room = if index < REQUESTS_MAX / 2 { PAGES_MAX } else { PAGES_MAX / 2 };
            if range.status != Status::Idle || (index > 0 && waiting >= room) {
                continue;
            }
            range.status = Status::Asked;
            waiting += 1;
            let request = ListRequest {
                prefix: self.prefix.clone(),
                start_after: range.token.is_none().then(|| range.after.clone()),
                token: range.token.clone(),
                attributes: true,
                ..ListRequest::default()
            };
            let (id, store) = (range.id, self.store.clone());
            self.requests.spawn(async move { (id, store.list(request).await) });
        }
    }

    /// Takes the answer for a range: keeps what is in it, and cuts what is left of it where requests are to spare.
    fn take(&mut self, id: u64, mut page: ListPage) {
        let Some(index) = self.ranges.iter().position(|range| range.id == id) else { return };
        let range = &mut self.ranges[index];
        let found = page.objects.first().map(|object| object.key.as_str().to_owned());
        if let Some(guess) = range.guess.as_ref().filter(|_| range.listed == Some(0)) {
            self.levels.learn(guess, found.as_deref());
        }
        let begins_elsewhere = found.as_deref().is_some_and(|found| found <= range.after.as_str());
        if begins_elsewhere {
            self.is_cut_no_more = true;
        }
        let is_within = |key: &str, range: &Range| {
            key > range.after.as_str() && range.until.as_deref().is_none_or(|until| key <= until)
        };
        let last = page.objects.last().map(|object| object.key.as_str().to_owned());
        let is_past = match (&range.until, &last) {
            (Some(until), Some(last)) => last > until,
            _ => false,
        };
        page.objects.retain(|object| is_within(object.key.as_str(), range));
        page.names_too_long.retain(|name| is_within(name, range));
        range.status = if page.next.is_none() || is_past { Status::Done } else { Status::Idle };
        range.token = page.next.take();
        if let Some(last) = last.filter(|last| *last > range.after) {
            range.after = last;
        }
        if !page.objects.is_empty() || !page.names_too_long.is_empty() {
            // Whether it is the last one only the end of the last range tells.
            page.next = Some(String::new());
            range.pages.push_back(page);
            range.listed = range.listed.map(|listed| listed + 1);
        }
        if let (Some(guess), Some(listed), Status::Done) = (&range.guess, range.listed, range.status) {
            self.levels.measure(guess, listed);
        }
        if range.status == Status::Done {
            self.skip_empty(index, found.as_deref());
        } else if let Some(found) = found {
            self.cut(index, &found);
        }
    }

    /// Ranges behind a range that has ended, which the first key of its last answer has passed over.
    fn skip_empty(&mut self, index: usize, found: Option<&str>) {
        if self.is_cut_no_more {
            return;
        }
        for range in self.ranges.iter_mut().skip(index + 1) {
            // Nothing found is nothing to the listing's end.
            if found.is_some_and(|found| range.until.as_deref().is_none_or(|until| until >= found)) {
                return;
            }
            if range.status == Status::Idle && range.token.is_none() && range.listed == Some(0) {
                range.status = Status::Done;
            }
        }
    }

    /// Cuts what is left of a range into as many as requests are to spare. `first` is the first key of the page that was listed of it last.
    fn cut(&mut self, index: usize, first: &str) {
        let idle = self.ranges.iter().filter(|range| range.status == Status::Idle).count();
        let spare = REQUESTS_MAX.saturating_sub(self.requests.len() + idle);
        if spare == 0 || self.is_cut_no_more {
            return;
        }
        let range = &mut self.ranges[index];
        let until = range.until.as_deref();
        let boundaries = self.levels.boundaries(self.prefix.len(), first, &range.after, until, spare);
        let Some(end) = boundaries.first().map(|boundary| boundary.key.clone()) else { return };
        let mut until = range.until.replace(end);
        range.listed = None;
        // From the last one on: each ends where the one behind it begins.
        for boundary in boundaries.into_iter().rev() {
            self.last_id += 1;
            let begin = boundary.key.clone();
            let cut = Range {
                id: self.last_id,
                after: begin.clone(),
                until: until.replace(begin),
                token: None,
                guess: Some(boundary),
                listed: Some(0),
                pages: VecDeque::new(),
                status: Status::Idle,
            };
            self.ranges.insert(index + 1, cut);
        }
    }
}
