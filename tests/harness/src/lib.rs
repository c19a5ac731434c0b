//! What the tests, the demo and the benches stand on: a real Kubernetes control plane, an Azure that is as
//! strict as Azure, and operators that run in this process against both.
//!
//! [`Cluster`] is a control plane with the CRD and the operator's RBAC on it. [`World`] is one test's part of
//! it: a namespace, an Azure of its own, and the operators that the test starts.

mod audit;
pub mod cluster;
pub mod control_plane;
pub mod gate;
mod go;
pub mod markdown;
mod operator;
mod platform;
mod pod;
pub mod program;
pub mod repository;
pub mod sequences;
pub mod world;

pub use audit::{Call, Write};
pub use cluster::Cluster;
pub use go::Tool;
pub use operator::Operator;
pub use pod::Pod;
pub use program::Program;
pub use repository::Repository;
pub use world::World;

/// Audience of the tokens that workloads exchange.
pub const AUDIENCE: &str = "api://AzureADTokenExchange";
