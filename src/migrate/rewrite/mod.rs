//! The sources, rewritten. Pure.

mod components;
mod group;

pub use group::Group;
