//! Servers that are known not to be what they claim to be.
//!
//! Owns: [`Deviation`], and the list of them.

/// A case in which a server is known not to be what it claims to be, through no fault of its client.
pub struct Deviation {
    /// The server.
    pub server: &'static str,
    /// The case, or one key of it: `odd_keys "a//b"`.
    pub case: &'static str,
    /// What the server does instead.
    pub reason: &'static str,
}

const DOTS_OF_AZURE: &str = "a name that is . or .. cannot be in a request's address; refused";
const PATHS_OF_THE_LIBRARY: &str = "the library's paths cannot name it; refused";

/// What is known of the servers that the suite runs against.
pub const KNOWN_DEVIATIONS: &[Deviation] = &[
    Deviation {
        server: "moto",
        case: "odd_keys \"new\\nline\"",
        reason: "its routes match no path with a newline: 404 on PutObject",
    },
    Deviation {
        server: "moto",
        case: "aborted_upload",
        reason: "CompleteMultipartUpload of an upload that is gone is 500: it looks it up without a check",
    },
    Deviation {
        server: "moto",
        case: "upload_times",
        reason: "ListMultipartUploads dates every upload 2010: its answer has a constant there",
    },
    Deviation {
        server: "fake-gcs-server",
        case: "aborted_upload",
        reason: "objects.compose of what is not there is 500, not 404",
    },
    Deviation {
        server: "gcs",
        case: "odd_keys \"new\\nline\"",
        reason: "names of objects have no line breaks (Cloud Storage documentation, \"About Cloud Storage objects\")",
    },
    Deviation {
        server: "rgw",
        case: "aborted_upload",
        reason: "CompleteMultipartUpload of an upload that is gone is 500: it takes the missing lock for a held one",
    },
    Deviation {
        server: "rgw",
        case: "tags",
        reason: "CreateMultipartUpload ignores x-amz-tagging: what is uploaded in parts has no tags",
    },
    Deviation { server: "azurite", case: "odd_keys \"./x\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \"../x\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \"a/./b\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \"a/../b\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \".\"", reason: DOTS_OF_AZURE },
    Deviation { server: "azurite", case: "odd_keys \"..\"", reason: DOTS_OF_AZURE },
    Deviation {
        server: "azurite",
        case: "odd_keys \"new\\nline\"",
        reason: "names of Azure have no control characters; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"tab\\there\"",
        reason: "names of Azure have no control characters; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"\\u{1}\"",
        reason: "names of Azure have no control characters; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"del\\u{7f}\"",
        reason: "names of Azure have no control characters; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"dot.\"",
        reason: "Azure drops a full stop at a name's end; refused",
    },
    Deviation {
        server: "azurite",
        case: "odd_keys \"back\\\\slash\"",
        reason: "Azure takes a backslash for a slash; refused",
    },
    Deviation { server: "azurite", case: "open_uploads", reason: "Azure does not list uploads" },
    Deviation { server: "azurite", case: "upload_times", reason: "Azure does not list uploads" },
    Deviation { server: "object_store-memory", case: "odd_keys \"d/\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"d//\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"a//b\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"/a\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"//\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"./x\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"../x\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"a/./b\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"a/../b\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \".\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation { server: "object_store-memory", case: "odd_keys \"..\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation {
        server: "object_store-memory",
        case: "odd_keys \"new\\nline\"",
        reason: PATHS_OF_THE_LIBRARY,
    },
    Deviation {
        server: "object_store-memory",
        case: "odd_keys \"tab\\there\"",
        reason: PATHS_OF_THE_LIBRARY,
    },
    Deviation { server: "object_store-memory", case: "odd_keys \"\\u{1}\"", reason: PATHS_OF_THE_LIBRARY },
    Deviation {
        server: "object_store-memory",
        case: "odd_keys \"del\\u{7f}\"",
        reason: PATHS_OF_THE_LIBRARY,
    },
    Deviation { server: "object_store-memory", case: "rename", reason: PATHS_OF_THE_LIBRARY },
    Deviation {
        server: "object_store-memory",
        case: "multipart",
        reason: "the library's store in memory takes parts without gaps alone",
    },
    Deviation {
        server: "object_store-memory",
        case: "open_uploads",
        reason: "the library does not list uploads",
    },
    Deviation {
        server: "object_store-memory",
        case: "upload_times",
        reason: "the library does not list uploads",
    },
];

/// The deviations of one server, for [`run`](super::run).
pub fn known_deviations(server: &str) -> Vec<&'static str> {
    KNOWN_DEVIATIONS.iter().filter(|known| known.server == server).map(|known| known.case).collect()
}
