//! The emulator, asked over TLS as an operator and as a workload would ask it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod arm_answers;
mod arm_callers;
mod arm_concurrency;
mod arm_limits;
mod arm_lists;
mod arm_surroundings;
mod arm_writes;
mod common;
mod entra_federation;
mod entra_issuers;
mod entra_logins;
mod faults;
mod issuer;
mod journal;
mod time;
mod workload;
