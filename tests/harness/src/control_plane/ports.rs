//! Free ports.

use std::net::TcpListener;
use std::ops::Range;

use anyhow::{Result, bail};

/// Below the range from which systems take the ports of outgoing connections (from 32768 on Linux). While the API
/// server is down, a client that keeps trying could otherwise be given the very port it connects to.
const RANGE: Range<u16> = 20_000..30_000;

const ATTEMPTS: usize = 100;

/// A port on which nobody listens. Somebody else may take it before we do: the caller tries again then.
pub(super) fn free_port() -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
        let port = RANGE.start + u16::try_from(random % u64::from(RANGE.end - RANGE.start))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {RANGE:?}")
}

/// Whether an error says, in the log it carries, that somebody was faster.
pub(super) fn is_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}
