//! Which layers are really on, read back from the kernel, and whether that is enough.
//!
//! [`read_back`] looks, [`Floor`] decides.

use std::fmt;

use serde::Serialize;
use worker::jail::layers::Layer;

mod as_planned;
mod floor;
mod read_back;

pub use floor::{Floor, Requirement, parse_layer, parse_requirement, remedy_for};
pub use read_back::{Given, Subject, next, read_back};

/// How far a layer is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In full.
    Active,
    /// In part, and what is missing.
    Partial(String),
    /// Not at all, and why.
    Absent(String),
}

/// One layer of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The worker.
    pub worker: String,
    /// The layer.
    pub layer: Layer,
    /// What was found.
    pub state: State,
    /// The layer's level where it has one: the Landlock ABI.
    pub level: u8,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => write!(f, "active"),
            Self::Partial(reason) => write!(f, "partial: {reason}"),
            Self::Absent(reason) => write!(f, "absent: {reason}"),
        }
    }
}
