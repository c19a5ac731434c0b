//! Kubernetes operator that makes an Azure user-assigned managed identity trust a ServiceAccount.
//!
//! Start at [`core`] for the rules, at [`controller`] for the flow, at [`app`] for the wiring.

pub mod api;
pub mod app;
pub mod azure;
pub mod cli;
pub mod controller;
pub mod core;
pub mod fairness;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
pub mod migrate;
pub mod runtime;
