//! Listings of directory buckets (S3 Express One Zone).
//!
//! Owns: [`list`]. A directory bucket lists in no order, takes only prefixes that end in `/`, and has no `start-after`, while the contract's
//! pages are in UTF-8 byte order. So everything below the folder that is asked for is listed first, and then put in order: one page tells all.
//! A prefix within a name (`dir/na`) lists the folder, and then what is below the folders of it that begin so.
//!
//! # Why not page by page
//! A page that is in order for itself is not one of a listing in order: whoever takes a name that does not come where it belongs for absent would
//! lose files. The cost is memory, and that a listing's first page comes with its last: hence a bound, beyond which a listing is refused.
//!
//! Source: Amazon S3 User Guide, "Differences for directory buckets".

use super::Pipeline;
use super::listing;
use crate::contract::{ErrorKind, ListPage, ListRequest, ObjectMeta, Result};
use std::collections::BTreeMap;

/// The most names that one listing may have: about 100 MB.
const NAMES_MAX: usize = 500_000;

/// What a name in a listing is.
enum Listed {
    Object(ObjectMeta),
    Prefix,
}

/// One page; see [`Store::list`](crate::Store::list). The token is the last name of the page before.
pub(super) async fn list(pipeline: &Pipeline, wanted: ListRequest) -> Result<ListPage> {
    let folder_len = wanted.prefix.rfind('/').map_or(0, |slash| slash + 1);
    let folder = &wanted.prefix[..folder_len];
    let is_folder = folder.len() == wanted.prefix.len();
    let mut names = BTreeMap::new();
    collect(pipeline, folder, wanted.delimiter || !is_folder, &wanted.prefix, &mut names).await?;
    if !is_folder && !wanted.delimiter {
        let folders: Vec<String> = names
            .iter()
            .filter(|(_, listed)| matches!(listed, Listed::Prefix))
            .map(|(name, _)| name.clone())
            .collect();
        for folder in folders {
            names.remove(&folder);
            collect(pipeline, &folder, false, &folder, &mut names).await?;
        }
    }
    Ok(page_of(names, &wanted))
}

/// All pages below `folder`; of their names those that begin with `prefix`. Errors: more than there may be.
async fn collect(
    pipeline: &Pipeline,
    folder: &str,
    delimiter: bool,
    prefix: &str,
    names: &mut BTreeMap<String, Listed>,
) -> Result<()> {
    let mut token = None;
    loop {
        let request = ListRequest { prefix: folder.to_owned(), delimiter, token, ..ListRequest::default() };
        let page = listing::list(pipeline, request).await?;
        let objects = page.objects.into_iter().filter(|object| object.key.as_str().starts_with(prefix));
        names.extend(objects.map(|object| (object.key.as_str().to_owned(), Listed::Object(object))));
        let folders = page.prefixes.into_iter().filter(|folder| folder.starts_with(prefix));
        names.extend(folders.map(|folder| (folder, Listed::Prefix)));
        if names.len() > NAMES_MAX {
            let message = format!(
                "a directory bucket lists in no order, and {folder:?} has more than the {NAMES_MAX} names that are put in order at most; \
                 use a deeper prefix"
            );
            return Err(pipeline.error("ListObjectsV2", None, ErrorKind::Unsupported, message));
        }
        token = page.next;
        if token.is_none() {
            return Ok(());
        }
    }
}

fn page_of(names: BTreeMap<String, Listed>, wanted: &ListRequest) -> ListPage {
    let page_len = wanted.max_keys.map_or(usize::MAX, |max| max as usize);
    let mut page = ListPage::default();
    let mut last = None;
    for (name, listed) in names {
        let is_before = match (&wanted.token, &wanted.start_after) {
            (Some(last), _) => name <= *last,
            // A folder in whose midst the listing begins is told.
            (None, Some(after)) => {
                name <= *after && !(matches!(listed, Listed::Prefix) && after.starts_with(&name))
            }
            (None, None) => false,
        };
        if is_before {
            continue;
        }
        if page.objects.len() + page.prefixes.len() >= page_len {
            page.next = last;
            return page;
        }
        match listed {
            Listed::Object(object) => page.objects.push(object),
            Listed::Prefix => page.prefixes.push(name.clone()),
        }
        last = Some(name);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{RawKey, Version};
    use std::time::SystemTime;

    fn names(all: &[&str]) -> BTreeMap<String, Listed> {
        let listed = |name: &&str| match name.ends_with('/') {
            true => Listed::Prefix,
            false => Listed::Object(ObjectMeta {
                key: RawKey::new(*name).unwrap(),
                size: 0,
                version: Version::Unknown,
                last_modified: SystemTime::UNIX_EPOCH,
                attributes: None,
                checksum: None,
                md5: None,
            }),
        };
        all.iter().map(|name| ((*name).to_owned(), listed(name))).collect()
    }

    #[test]
    fn pages_follow_each_other_in_order() {
        let all = ["b", "a/", "é", "c/", "d"];
        let mut request = ListRequest { max_keys: Some(2), ..ListRequest::default() };
        let mut seen = Vec::new();
        loop {
            let page = page_of(names(&all), &request);
            let objects = page.objects.iter().map(|object| object.key.as_str().to_owned());
            let mut of_page: Vec<_> = objects.chain(page.prefixes).collect();
            of_page.sort();
            assert!(of_page.len() <= 2);
            seen.extend(of_page);
            match page.next {
                Some(next) => request.token = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, ["a/", "b", "c/", "d", "é"]);
    }

    #[test]
    fn a_listing_begins_in_the_midst_of_a_folder() {
        let request = ListRequest { start_after: Some("c/x".to_owned()), ..ListRequest::default() };
        let page = page_of(names(&["a/", "c/", "d"]), &request);
        assert_eq!((page.prefixes, page.objects.len()), (vec!["c/".to_owned()], 1));
    }
}
