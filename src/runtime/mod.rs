//! What any operator needs around its controller: a client with deadlines, the issuer, health,
//! metrics, logs, leader election. Knows nothing of Azure and nothing of the domain.

pub mod client;
pub mod crd;
pub mod issuer;
pub mod leader;
pub mod metrics;
pub mod pace;
pub mod readiness;
pub mod server;
pub mod telemetry;
