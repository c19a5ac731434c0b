//! The sources, rewritten. Pure.

mod group;

pub use group::Group;
