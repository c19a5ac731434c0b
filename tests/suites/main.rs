//! Suites against a real kube-apiserver and an Azure emulator that is as strict as Azure.
//!
//! One binary and one shared control plane; every trial has its own namespace, its own Azure and its own
//! operators. A trial that changes what all share starts a control plane of its own.

mod lifecycle;
mod runner;

use std::process::ExitCode;

fn main() -> ExitCode {
    runner::run(lifecycle::trials())
}
