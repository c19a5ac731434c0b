//! (being written)

use crate::runner::trials;

trials![];
