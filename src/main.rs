//! wib
fn main() {}
