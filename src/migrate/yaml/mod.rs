//! YAML and JSON with positions: every node knows its file, line and bytes. Pure.
//!
//! The parser is granit-parser, the one below the YAML of kube: it gives the span of every event, and goes on with
//! the next document after a broken one. Nothing is ever made of a document that is broken.

mod build;
mod node;
mod scalar;

#[cfg(test)]
pub use build::parsed_bytes;
pub use build::{Broken, Parsed, parse};
pub use node::{Mark, Node, Value};
pub use scalar::{can_be_copied, is_placeholder, plain_bool, plain_number};

#[cfg(test)]
mod tests;
