//! Azure for tests: Azure Resource Manager (user-assigned managed identities and their federated identity
//! credentials) and the Entra token endpoint behind one TLS listener on 127.0.0.1.
//!
//! It is meant to be **as strict as Azure**: one credential write at a time per identity, 20 credentials,
//! unique (issuer, subject), real verification of the tokens it is shown, Azure's own error texts. Every
//! behaviour that differs over time, by region or by source is a field of [`Knobs`]; every request leaves an
//! [`Entry`] in the journal.
//!
//! # How sure is a rule
//! Doc comments say where a rule comes from: *documented* (Microsoft Learn or the REST API specifications),
//! *observed* (traffic recorded by public test suites of Azure clients), *reported* (quoted in public issues)
//! or *unverified* (an assumption; do not build on the exact text).
//!
//! ```no_run
//! # async fn demo() -> anyhow::Result<()> {
//! use azure_emulator::{Emulator, Operation, Options};
//!
//! let azure = Emulator::start(Options::default()).await?;
//! let identity = azure.create_identity("rg-shop", "checkout");
//! println!("{} trusts {}", azure.url(), identity.client_id);
//! assert_eq!(azure.count(Operation::PutCredential), 0);
//! # Ok(()) }
//! ```

mod arm;
mod call;
pub mod client;
mod clock;
mod emulator;
mod entra;
mod faults;
mod history;
mod inject;
pub mod journal;
mod knobs;
mod limits;
mod model;
mod operation;
mod people;
mod rbac;
mod reply;
mod script;
mod server;
mod shared;
mod state;
mod throttle;
mod tls;

pub use clock::Clock;
pub use emulator::{Emulator, Options};
pub use faults::{External, Fault, FaultAction};
pub use journal::{Entry, overlapping_writes};
pub use knobs::{
    DeleteMissing, DuplicateError, ErrorShape, IdCase, Knobs, Latency, Lock, LockLevel, NextLink, Policy,
    RateHeaders, ReadLag, Shape, ThrottleAnswer, YoungAnswer, YoungIdentity,
};
pub use limits::{ArmBuckets, Limit, Rate, RpBuckets};
pub use model::{Credential, Identity};
pub use operation::Operation;
pub use people::ExternalWrite;
