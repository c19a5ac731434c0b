//! Azure's bad days, one at a time.

use std::time::Duration;

use azure_emulator::{Fault, FaultAction, Operation};
use fastrand::Rng;

/// A fault that passes by itself.
pub fn any(rng: &mut Rng) -> Fault {
    let operations = [
        Operation::GetIdentity,
        Operation::ListCredentials,
        Operation::PutCredential,
        Operation::DeleteCredential,
    ];
    let operation = rng.choice(operations).unwrap_or(Operation::ListCredentials);
    let fault = Fault::on(operation).times(rng.u32(1..4));
    match rng.u8(..10) {
        0 => fault.reset_before_commit(),
        1 => fault.reset_after_commit(),
        2 => fault.action(FaultAction::Html502),
        3 => fault.action(FaultAction::HalfBody),
        4 => fault.action(FaultAction::Garbage),
        5 => fault.action(FaultAction::Delay(Duration::from_secs(3))),
        6 => fault.action(FaultAction::DelayAfterCommit(Duration::from_secs(3))),
        7 => fault.status(503, "ServiceUnavailable", "try again"),
        8 => fault.status(429, "TooManyRequests", "Retry after 1 seconds."),
        _ => fault.status(500, "InternalServerError", "oops"),
    }
}
