//! What `casemate drill` and its prober agree on.
//!
//! The drill starts the prober in a worker's place, behind the worker's own jail and with its own
//! descriptors. Once sealed, the prober tries one technique of the [`catalogue`] on the [`bait`] that
//! the drill laid out, and says on the status pipe what came of it ([`answer`]).

pub mod answer;
pub mod bait;
pub mod catalogue;
pub mod helper;
