//! The XML of Azure's Blob Storage API, as far as it is read here.
//!
//! Owns: the readers of errors and listings. Text is taken as it is, blanks included; unknown elements are skipped. A name that XML cannot hold
//! comes percent-encoded, with `Encoded="true"` (List Blobs, service version 2021-02-12).

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use std::collections::BTreeMap;

/// What an error's document says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorAnswer {
    pub code: String,
    pub message: String,
}

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListAnswer {
    pub blobs: Vec<ListedBlob>,
    pub prefixes: Vec<String>,
    pub next_marker: String,
}

/// A blob, as a listing has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListedBlob {
    pub name: String,
    pub etag: String,
    pub last_modified: String,
    pub size: Option<u64>,
    /// Base64 of the MD5 that it keeps.
    pub md5: String,
    /// `BlockBlob` and others.
    pub kind: String,
    /// `directory` for those of a hierarchical namespace.
    pub resource_type: String,
}

/// Reads a blob's tags. Errors: what is wrong with them.
pub(super) fn tags(document: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let (mut tags, mut name) = (BTreeMap::new(), String::new());
    walk(document, |path, text, _| match path {
        ["Tags", "TagSet", "Tag", "Key"] => name = text,
        ["Tags", "TagSet", "Tag", "Value"] => drop(tags.insert(std::mem::take(&mut name), text)),
        _ => {}
    })?;
    Ok(tags)
}

/// Names of a blob's blocks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct BlockNames {
    /// Of those that it consists of, in their order.
    pub committed: Vec<String>,
    /// Of those that wait.
    pub uncommitted: Vec<String>,
}

/// Reads a list of blocks. Errors: what is wrong with it.
pub(super) fn blocks(document: &[u8]) -> Result<BlockNames, String> {
    let mut names = BlockNames::default();
    walk(document, |path, text, _| match path {
        ["BlockList", "CommittedBlocks", "Block", "Name"] => names.committed.push(text),
        ["BlockList", "UncommittedBlocks", "Block", "Name"] => names.uncommitted.push(text),
        _ => {}
    })?;
    Ok(names)
}

/// Reads an error; what cannot be read says nothing.
pub(super) fn error(document: &[u8]) -> ErrorAnswer {
    let mut answer = ErrorAnswer::default();
    let _ = walk(document, |path, text, _| match path {
        ["Error", "Code"] => answer.code = text.trim().to_owned(),
        // After the first line come the request's id and its time.
        ["Error", "Message"] => answer.message = text.trim().lines().next().unwrap_or_default().to_owned(),
        _ => {}
    });
    answer
}

/// Reads a listing. Errors: what is wrong with it.
pub(super) fn listing(document: &[u8]) -> Result<ListAnswer, String> {
    const ROOT: &str = "EnumerationResults";
    let mut answer = ListAnswer::default();
    let mut blob = ListedBlob::default();
    let mut is_listing = false;
    let mut bad_name = None;
    let mut named = |text: String, encoded: bool| match encoded {
        false => text,
        true => percent_decode_str(&text).decode_utf8().map(|name| name.into_owned()).unwrap_or_else(|_| {
            bad_name = Some(text);
            String::new()
        }),
    };
    walk(document, |path, text, encoded| match path {
        [ROOT] => is_listing = true,
        [ROOT, "NextMarker"] => answer.next_marker = text,
        [ROOT, "Blobs", "BlobPrefix", "Name"] => answer.prefixes.push(named(text, encoded)),
        [ROOT, "Blobs", "Blob"] => answer.blobs.push(std::mem::take(&mut blob)),
        [ROOT, "Blobs", "Blob", "Name"] => blob.name = named(text, encoded),
        [ROOT, "Blobs", "Blob", "Properties", property] => match *property {
            "Etag" => blob.etag = text,
            "Last-Modified" => blob.last_modified = text,
            "Content-Length" => blob.size = text.trim().parse().ok(),
            "Content-MD5" => blob.md5 = text,
            "BlobType" => blob.kind = text,
            "ResourceType" => blob.resource_type = text,
            _ => {}
        },
        _ => {}
    })?;
    if let Some(name) = bad_name {
        return Err(format!("the listing has a name that is not UTF-8: {name}"));
    }
    match is_listing {
        true => Ok(answer),
        false => Err("the answer is no listing".to_owned()),
    }
}

/// Tells of each element at its end: the names that lead to it, its own text, and whether that is encoded.
fn walk(document: &[u8], mut told: impl FnMut(&[&str], String, bool)) -> Result<(), String> {
    struct Open {
        name: String,
        text: String,
        encoded: bool,
    }
    let invalid = |why: &dyn std::fmt::Display| format!("the answer is not the XML it should be: {why}");
    let document = document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document);
    let mut reader = Reader::from_reader(document);
    let mut open: Vec<Open> = Vec::new();
    let mut end = |open: &mut Vec<Open>| {
        let names: Vec<&str> = open.iter().map(|element| element.name.as_str()).collect();
        if let Some(last) = open.last() {
            told(&names, last.text.clone(), last.encoded);
        }
        open.pop();
    };
    let begun = |start: &BytesStart<'_>| -> Result<Open, String> {
        let name = String::from_utf8_lossy(start.name().as_ref()).into_owned();
        let encoded = start.try_get_attribute("Encoded").map_err(|err| invalid(&err))?;
        let encoded = encoded.is_some_and(|value| value.value.eq_ignore_ascii_case(b"true"));
        Ok(Open { name, text: String::new(), encoded })
    };
    loop {
        match reader.read_event().map_err(|err| invalid(&err))? {
            Event::Start(start) => open.push(begun(&start)?),
            Event::Empty(start) => {
                open.push(begun(&start)?);
                end(&mut open);
            }
            Event::End(_) => end(&mut open),
            Event::Text(text) => {
                let text = text.decode().map_err(|err| invalid(&err))?;
                open.last_mut().into_iter().for_each(|element| element.text.push_str(&text));
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|err| invalid(&err))?;
                open.last_mut().into_iter().for_each(|element| element.text.push_str(&text));
            }
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|err| invalid(&err))?;
                let name = reference.decode().map_err(|err| invalid(&err))?;
                let text = match character {
                    Some(character) => character.to_string(),
                    None => resolve_predefined_entity(&name)
                        .ok_or_else(|| invalid(&format!("it names the entity {name}")))?
                        .to_owned(),
                };
                open.last_mut().into_iter().for_each(|element| element.text.push_str(&text));
            }
            Event::Eof if open.is_empty() => return Ok(()),
            Event::Eof => return Err(invalid(&"it ends too early")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_blanks_and_what_xml_cannot_hold_is_decoded() {
        let document = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://x/\"><Prefix> p</Prefix><Blobs>\
            <Blob><Name> lead</Name><Properties><Last-Modified>Mon, 02 Jan 2023 03:04:05 GMT</Last-Modified><Etag>0x1</Etag>\
            <Content-Length>7</Content-Length><Content-MD5>rvr3UC1SmUw7AZV2NqPN0g==</Content-MD5><BlobType>BlockBlob</BlobType></Properties><Metadata /></Blob>\
            <Blob><Name>&amp;&lt;a&#x20;b&gt;</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>\
            <BlobPrefix><Name>d /</Name></BlobPrefix>\
            <Blob><Name Encoded=\"true\">a%EF%BF%BEb%2541</Name><Properties/></Blob></Blobs><NextMarker>m!1</NextMarker></EnumerationResults>";
        let listed = listing(document.as_bytes()).unwrap();
        let names: Vec<_> = listed.blobs.iter().map(|blob| blob.name.as_str()).collect();
        assert_eq!(names, [" lead", "&<a b>", "a\u{fffe}b%41"]);
        assert_eq!((listed.prefixes, listed.next_marker.as_str()), (vec!["d /".to_owned()], "m!1"));
        assert_eq!((listed.blobs[0].size, listed.blobs[0].etag.as_str()), (Some(7), "0x1"));
        assert_eq!(
            (listed.blobs[0].md5.as_str(), listed.blobs[0].kind.as_str()),
            ("rvr3UC1SmUw7AZV2NqPN0g==", "BlockBlob")
        );
        assert_eq!((listed.blobs[2].size, listed.blobs[2].md5.as_str()), (None, ""));
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        for document in [
            "",
            "<EnumerationResults><Blobs>",
            "<html></html>",
            "<EnumerationResults>&unknown;</EnumerationResults>",
            "<EnumerationResults><Blobs><Blob><Name Encoded=\"true\">%FF</Name></Blob></Blobs></EnumerationResults>",
        ] {
            assert!(listing(document.as_bytes()).is_err(), "{document}");
        }
    }

    #[test]
    fn tags_and_blocks_are_read() {
        let document = b"<Tags><TagSet><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value/></Tag></TagSet></Tags>";
        let wanted = [("a", "1"), ("b", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(tags(document).unwrap(), wanted.into());
        let document = b"<BlockList><CommittedBlocks><Block><Name>MQ==</Name><Size>1</Size></Block><Block><Name>Mg==</Name><Size>1</Size></Block>\
            </CommittedBlocks><UncommittedBlocks><Block><Name>Mw==</Name></Block></UncommittedBlocks></BlockList>";
        let names = blocks(document).unwrap();
        assert_eq!(names.committed, ["MQ==", "Mg=="]);
        assert_eq!(names.uncommitted, ["Mw=="]);
    }

    #[test]
    fn errors_are_read_as_far_as_they_can() {
        let document = b"<?xml version=\"1.0\"?><Error><Code>BlobNotFound</Code><Message>The specified blob does not exist.\nRequestId:1\nTime:2</Message></Error>";
        assert_eq!(
            error(document),
            ErrorAnswer { code: "BlobNotFound".into(), message: "The specified blob does not exist.".into() }
        );
        assert_eq!(error(b"<html>"), ErrorAnswer::default());
    }
}
