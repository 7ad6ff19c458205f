//! The system-call allow-list. What it does not list stops the worker before the call is made, and
//! the launcher reads from the kernel which call it was and with which arguments.
//!
//! | file | job |
//! |---|---|
//! | [`rules`] | what each worker may call, and why |
//! | [`install`] | the filter and its listener |

mod install;
pub mod rules;

pub use install::{enforce, fatal_program, install, program};
