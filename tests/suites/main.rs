//! Suites against a real kube-apiserver and an Azure emulator that is as strict as Azure.
//!
//! One binary and one shared control plane; every trial has its own namespace, its own Azure and its own
//! operators. A trial that changes what all share starts a control plane of its own.

mod authorization;
mod azure_drift;
mod gate;
mod generated;
mod input;
mod issuer;
mod late_writes;
mod leadership;
mod lifecycle;
mod limits;
mod mappings;
mod ownership;
mod process;
mod runner;
mod secrets;
mod service_account;

use std::process::ExitCode;

fn main() -> ExitCode {
    let suites = [
        lifecycle::trials(),
        mappings::trials(),
        service_account::trials(),
        authorization::trials(),
        ownership::trials(),
        azure_drift::trials(),
        generated::trials(),
        input::trials(),
        issuer::trials(),
        limits::trials(),
        late_writes::trials(),
        process::trials(),
        secrets::trials(),
        gate::trials(),
        leadership::trials(),
    ];
    runner::run(suites.into_iter().flatten().collect())
}
