//! The jail: the layers between a worker and the host, in order.
//!
//! | step | file | from then on |
//! |---|---|---|
//! | parent | [`parent`] | the worker dies with the launcher, and has no terminal |
//! | descriptors | [`descriptors`] | nothing is open but what the plan names |
//! | limits | [`limits`] | no core dump |
//! | privileges | [`privileges`] | nothing can be gained by execve; /proc/PID is closed to peers |
//!
//! [`enter`] returns [`Jailed`], in which the worker may still set itself up. [`Jailed::seal`]
//! returns [`Sealed`], which every loop over guest input takes by value: only this module makes one.

use std::os::fd::RawFd;

use crate::fds::Inherited;

mod descriptors;
mod limits;
mod parent;
mod privileges;

/// A layer that could not be put on.
#[derive(Debug, thiserror::Error)]
#[error("jail layer {layer}: cannot {step}: {errno}")]
pub struct Error {
    layer: &'static str,
    step: &'static str,
    errno: rustix::io::Errno,
}

impl Error {
    fn new(layer: &'static str, step: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self { layer, step, errno }
    }
}

/// The worker is jailed and may still set itself up.
#[derive(Debug)]
pub struct Jailed(());

/// Every layer is on.
#[derive(Debug)]
pub struct Sealed(());

/// Puts on every layer that set-up can live with. `keep`: the descriptors of the plan.
pub fn enter(keep: Vec<RawFd>) -> Result<(Jailed, Inherited), Error> {
    parent::die_with()?;
    let inherited = descriptors::close_all_but(keep)?;
    limits::set()?;
    privileges::give_up()?;
    Ok((Jailed(()), inherited))
}

impl Jailed {
    /// Puts on the rest.
    pub fn seal(self) -> Result<Sealed, Error> {
        Ok(Sealed(()))
    }
}
