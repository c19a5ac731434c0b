//! The product's own passes in a small world, explored in full.
//!
//! Every decision is the product's: [`BindingPass`](super::reconcile::BindingPass),
//! [`RevocationPass`](super::reconcile::RevocationPass), [`Safeguard`](super::reconcile::Safeguard),
//! [`record`](super::record) and [`plan`](super::plan) are called as the controller calls them. What is
//! modelled is the world that carries their effects out: Azure, the storage of Kubernetes, what an operator
//! sees of it, and everybody else who acts there. Any of them can act between two effects.
//!
//! Azure works on one write at a time on an identity, whoever has sent it, and refuses another meanwhile. A
//! write that it has begun ends, even if its sender has gone away.
//!
//! An explorer of our own, since a checker has to answer two questions that the common ones do not: whether
//! from *every* state, by the operators' own steps, a quiet one can be reached; and what a quiet state is:
//! one that no pass changes.

mod azure;
mod cases;
mod check;
mod driver;
mod effects;
mod explore;
mod moves;
mod pool;
mod records;
mod state;
mod tenant;
mod universe;
mod view;
