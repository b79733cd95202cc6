//! What runs on a node.
//!
//! Owns: `place`, the making of directories where the user may not write.

pub mod place;
