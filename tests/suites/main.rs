//! Suites against a real kube-apiserver and an Azure emulator that is as strict as Azure.
//!
//! One binary and one shared control plane; every trial has its own namespace, its own Azure and its own
//! operators. A trial that changes what all share starts a control plane of its own.

mod authorization;
mod azure_drift;
mod azure_faults;
mod azure_lists;
mod chart;
mod crash;
mod documents;
mod gate;
mod generated;
mod gitops;
mod guide;
mod hostile;
mod input;
mod issuer;
mod kubernetes_faults;
mod kubernetes_outages;
mod kubernetes_rights;
mod kubernetes_stale;
mod kubernetes_watches;
mod kustomize;
mod late_writes;
mod leadership;
mod lifecycle;
mod limits;
mod mappings;
mod migrate;
mod migrate_live;
mod monitoring;
mod ownership;
mod process;
mod release;
mod removal;
mod repositories;
mod restores;
mod rewriting;
mod runner;
mod secrets;
mod server;
mod service_account;
mod settings;
mod tenants;
mod two_clusters;
mod webhook;

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
        azure_faults::trials(),
        azure_lists::trials(),
        hostile::trials(),
        input::trials(),
        issuer::trials(),
        limits::trials(),
        late_writes::trials(),
        process::trials(),
        release::trials(),
        removal::trials(),
        secrets::trials(),
        server::trials(),
        settings::trials(),
        tenants::trials(),
        gate::trials(),
        leadership::trials(),
        kubernetes_faults::trials(),
        kubernetes_watches::trials(),
        kubernetes_rights::trials(),
        kubernetes_outages::trials(),
        kubernetes_stale::trials(),
        monitoring::trials(),
        crash::trials(),
        documents::trials(),
        two_clusters::trials(),
        webhook::trials(),
        kustomize::trials(),
        gitops::trials(),
        chart::trials(),
        migrate::trials(),
        restores::trials(),
        repositories::trials(),
        rewriting::trials(),
        guide::trials(),
        migrate_live::trials(),
    ];
    runner::run(suites.into_iter().flatten().collect())
}
