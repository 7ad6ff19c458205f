//! The doctor on hosts that are directories.

mod hosts;
mod output;
mod rows;
mod tree;
mod user;
