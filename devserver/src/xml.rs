//! Reading and writing the API's XML.
//!
//! Owns: [`XmlWriter`] for answers, [`Element`] for the small documents of requests.
//!
//! # Why not serde
//! Object keys may hold any character. S3 writes control characters as references (`&#x1;`), which general
//! serialisers do not, and a parsed key must keep its leading and trailing white space, which they drop.

use crate::error::S3Error;
use quick_xml::events::Event;
use std::fmt::Write;

/// The namespace of all answers.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Elements nest at most this deep in any request of the API.
const DEPTH_MAX: usize = 16;

/// Builds one answer document.
pub(crate) struct XmlWriter {
    out: String,
}

impl XmlWriter {
    /// A document with nothing but its declaration.
    pub(crate) fn document() -> Self {
        Self { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") }
    }

    /// A document whose root element, in the API's namespace, is open.
    pub(crate) fn root(name: &str) -> Self {
        let mut writer = Self::document();
        // Writing to a String cannot fail.
        let _ = write!(writer.out, "<{name} xmlns=\"{NAMESPACE}\">");
        writer
    }

    pub(crate) fn open(&mut self, name: &str) {
        let _ = write!(self.out, "<{name}>");
    }

    pub(crate) fn close(&mut self, name: &str) {
        let _ = write!(self.out, "</{name}>");
    }

    /// An element that holds text only.
    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.open(name);
        self.text(text);
        self.close(name);
    }

    /// Text within the element that is open.
    pub(crate) fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                c if c.is_control() => {
                    let _ = write!(self.out, "&#x{:x};", u32::from(c));
                }
                c => self.out.push(c),
            }
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        let _ = write!(self.out, "<{name}>{value}</{name}>");
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        let _ = write!(self.out, "<{name}>{value}</{name}>");
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// Closes the root element and returns the document.
    pub(crate) fn finish_root(mut self, name: &str) -> String {
        self.close(name);
        self.out
    }
}

/// One element of a request document.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Parses a document and returns its root. Errors: `MalformedXML`.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, S3Error> {
        let text = std::str::from_utf8(document).map_err(|_| S3Error::malformed_xml())?;
        let mut reader = quick_xml::Reader::from_str(text);
        let mut stack = vec![Element::default()];
        loop {
            let event = reader.read_event().map_err(|_| S3Error::malformed_xml())?;
            match event {
                Event::Start(start) if stack.len() < DEPTH_MAX => {
                    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                    stack.push(Element { name, ..Self::default() });
                }
                Event::Start(_) => return Err(S3Error::malformed_xml()),
                Event::Empty(start) => {
                    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                    top(&mut stack)?.children.push(Element { name, ..Self::default() });
                }
                Event::End(_) => {
                    let done = stack.pop().ok_or_else(S3Error::malformed_xml)?;
                    top(&mut stack)?.children.push(done);
                }
                Event::Text(text) => {
                    let text = text.xml10_content().map_err(|_| S3Error::malformed_xml())?;
                    top(&mut stack)?.text.push_str(&text);
                }
                Event::CData(text) => {
                    let text = text.xml10_content().map_err(|_| S3Error::malformed_xml())?;
                    top(&mut stack)?.text.push_str(&text);
                }
                Event::GeneralRef(reference) => {
                    let c = match reference.resolve_char_ref().map_err(|_| S3Error::malformed_xml())? {
                        Some(c) => c,
                        None => match &*reference {
                            b"amp" => '&',
                            b"lt" => '<',
                            b"gt" => '>',
                            b"quot" => '"',
                            b"apos" => '\'',
                            _ => return Err(S3Error::malformed_xml()),
                        },
                    };
                    top(&mut stack)?.text.push(c);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match (stack.pop(), stack.is_empty()) {
            (Some(mut outer), true) if outer.children.len() == 1 => {
                outer.children.pop().ok_or_else(S3Error::malformed_xml)
            }
            _ => Err(S3Error::malformed_xml()),
        }
    }

    /// The text of the first child of that name.
    pub(crate) fn child_text(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }

    /// All children of that name.
    pub(crate) fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn top(stack: &mut [Element]) -> Result<&mut Element, S3Error> {
    stack.last_mut().ok_or_else(S3Error::malformed_xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_keys_survive_writing_and_parsing() {
        for key in ["a\nb", "tab\t", "cr\r", " edge ", "<&>\"'", "\u{1}", "é🪣", "%41+"] {
            let mut writer = XmlWriter::root("Delete");
            writer.open("Object");
            writer.leaf("Key", key);
            writer.close("Object");
            let root = Element::parse(writer.finish_root("Delete").as_bytes()).unwrap();
            let object = root.children_named("Object").next().unwrap();
            assert_eq!(object.child_text("Key"), Some(key));
        }
    }

    #[test]
    fn broken_documents_are_refused() {
        for document in ["", "<a>", "<a></b>", "<a/><b/>", "<a>&nope;</a>"] {
            assert!(Element::parse(document.as_bytes()).is_err(), "{document}");
        }
        assert!(Element::parse("<a>".repeat(100).as_bytes()).is_err());
    }
}
