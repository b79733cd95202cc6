//! The XML of the S3 API, as far as it is read and written here.
//!
//! Owns: the shapes of answers and the documents that are sent. Unknown elements are skipped, and what a server may
//! leave out is optional.

use quick_xml::de::from_reader;
use quick_xml::se::to_string;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ErrorAnswer {
    pub code: String,
    pub message: String,
    /// The bucket's region, in AuthorizationHeaderMalformed.
    pub region: Option<String>,
    /// In InvalidObjectState, what the object is archived in.
    pub storage_class: Option<String>,
    /// The same in Intelligent-Tiering.
    pub access_tier: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListAnswer {
    pub encoding_type: Option<String>,
    pub is_truncated: bool,
    pub next_continuation_token: Option<String>,
    pub contents: Vec<ListedObject>,
    pub common_prefixes: Vec<CommonPrefix>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedObject {
    pub key: String,
    pub last_modified: String,
    #[serde(rename = "ETag")]
    pub etag: String,
    pub size: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CommonPrefix {
    pub prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UploadAnswer {
    pub upload_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UploadsAnswer {
    pub encoding_type: Option<String>,
    pub upload: Vec<ListedUpload>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListedUpload {
    pub key: String,
    pub upload_id: String,
    pub initiated: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PartsAnswer {
    pub part: Vec<ListedPart>,
}

/// That it is there is all that matters.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListedPart {}

/// The answer to CopyObject, UploadPartCopy and CompleteMultipartUpload: of each, the ETag matters, and of a part its checksum.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EtagAnswer {
    #[serde(rename = "ETag")]
    pub etag: String,
    #[serde(rename = "ChecksumCRC64NVME")]
    pub checksum_crc64nvme: Option<String>,
}

/// The answer to GetObjectTagging.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TaggingAnswer {
    pub tag_set: TagSet,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TagSet {
    pub tag: Vec<Tag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Tag {
    pub key: String,
    pub value: String,
}

/// The answer to CreateSession. It is secret, and has no `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SessionAnswer {
    pub credentials: SessionCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SessionCredentials {
    pub session_token: String,
    pub secret_access_key: String,
    pub access_key_id: String,
    pub expiration: String,
}

#[derive(Debug, Serialize)]
#[serde(rename = "CompleteMultipartUpload")]
pub(super) struct CompleteDocument {
    #[serde(rename = "Part")]
    pub parts: Vec<CompletePart>,
}

#[derive(Debug, Serialize)]
pub(super) struct CompletePart {
    #[serde(rename = "PartNumber")]
    pub number: u32,
    #[serde(rename = "ETag")]
    pub etag: String,
}

/// What DeleteObjects asks for.
#[derive(Debug, Serialize)]
#[serde(rename = "Delete", rename_all = "PascalCase")]
pub(super) struct DeleteDocument<'a> {
    pub object: Vec<DeleteObject<'a>>,
    /// Whether the answer is to leave out what was deleted.
    pub quiet: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct DeleteObject<'a> {
    #[serde(rename = "Key")]
    pub key: &'a str,
    #[serde(rename = "ETag", skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// The answer to DeleteObjects.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteAnswer {
    pub deleted: Vec<DeletedObject>,
    pub error: Vec<DeleteFailure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeletedObject {
    pub key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteFailure {
    pub key: String,
    pub code: String,
    pub message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename = "CreateBucketConfiguration")]
pub(super) struct CreateBucketDocument {
    #[serde(rename = "LocationConstraint")]
    pub location: String,
}

/// The making of a directory bucket (API Reference, "CreateBucket").
#[derive(Debug, Serialize)]
#[serde(rename = "CreateBucketConfiguration", rename_all = "PascalCase")]
pub(super) struct CreateDirectoryDocument {
    pub location: DirectoryLocation,
    pub bucket: DirectoryBucket,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DirectoryLocation {
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DirectoryBucket {
    pub data_redundancy: &'static str,
    #[serde(rename = "Type")]
    pub kind: &'static str,
}

impl CreateDirectoryDocument {
    /// In that zone: `usw2-az1` is an Availability Zone, `use1-dfw2-az1` a Local Zone.
    pub fn of_zone(zone: &str) -> Self {
        let (kind, data_redundancy) = match zone.matches('-').count() {
            0 | 1 => ("AvailabilityZone", "SingleAvailabilityZone"),
            _ => ("LocalZone", "SingleLocalZone"),
        };
        Self {
            location: DirectoryLocation { name: zone.to_owned(), kind },
            bucket: DirectoryBucket { data_redundancy, kind: "Directory" },
        }
    }
}

/// Reads an answer. Errors: a sentence.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    from_reader(body).map_err(|e| format!("the answer is not the XML that was expected: {e}"))
}

/// Writes a document. Errors: a sentence.
pub(super) fn write<T: Serialize>(document: &T) -> Result<String, String> {
    to_string(document).map_err(|e| format!("the request's XML cannot be written: {e}"))
}

/// The error that a body holds, if its root element is one. A 200 may carry it: S3 sends the head of a long-running
/// answer before it knows how it ends.
pub(super) fn error_in(body: &[u8]) -> Option<ErrorAnswer> {
    let mut reader = quick_xml::Reader::from_reader(body);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Start(root)) => {
                return (root.local_name().as_ref() == b"Error").then(|| parse(body).unwrap_or_default());
            }
            Ok(quick_xml::events::Event::Eof) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let page: ListAnswer = parse(
            br#"<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
            <IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken><EncodingType>url</EncodingType>
            <Contents><Key>a+b</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>3</Size><Owner><ID>x</ID></Owner></Contents>
            <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>
            <Contents><Key>c</Key><Size>0</Size></Contents><CommonPrefixes><Prefix>q/</Prefix></CommonPrefixes></ListBucketResult>"#,
        )
        .unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.next_continuation_token.as_deref(), Some("t&1"));
        assert_eq!(page.contents[0].etag, "\"e\"");
        assert_eq!((page.contents.len(), page.common_prefixes.len()), (2, 2));
    }

    #[test]
    fn an_error_inside_a_200_is_found() {
        let body = b"<?xml version=\"1.0\"?>\n  <Error><Code>InternalError</Code><Message>try again</Message></Error>";
        assert_eq!(error_in(body).unwrap().code, "InternalError");
        assert!(error_in(b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>").is_none());
        assert!(error_in(b"").is_none());
    }

    #[test]
    fn a_directory_bucket_is_made_in_its_zone() {
        assert_eq!(
            write(&CreateDirectoryDocument::of_zone("usw2-az1")).unwrap(),
            "<CreateBucketConfiguration><Location><Name>usw2-az1</Name><Type>AvailabilityZone</Type></Location>\
             <Bucket><DataRedundancy>SingleAvailabilityZone</DataRedundancy><Type>Directory</Type></Bucket></CreateBucketConfiguration>"
        );
    }

    #[test]
    fn completion_is_written() {
        let parts = vec![CompletePart { number: 1, etag: "\"a\"".into() }];
        let document = write(&CompleteDocument { parts }).unwrap();
        assert_eq!(
            document,
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part></CompleteMultipartUpload>"
        );
    }
}
