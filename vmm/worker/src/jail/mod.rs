//! The jail: the layers between a worker and the host, in order.
//!
//! | step | by | file | from then on |
//! |---|---|---|---|
//! | cgroup, core-sched | launcher | | limits on memory, processes and CPU; no shared core |
//! | user-ns, pid-ns, … | launcher | | nothing of the host has a name |
//! | parent | worker | [`parent`] | dies with the launcher, has no terminal |
//! | descriptors | worker | [`descriptors`] | nothing is open but what the plan names |
//! | user-ns | worker | [`root`] | no user namespace inside this one |
//! | root | worker | [`root`] | an empty read-only root |
//! | limits | worker | [`limits`] | no core dump, nothing locked |
//! | capabilities | worker | [`capabilities`] | none, and none to come back |
//! | no-new-privs | worker | [`privileges`] | execve gains nothing; /proc/PID is closed to peers |
//! | landlock | worker | [`landlock`] | every right the kernel knows is denied |
//! | – | worker | [`heap`] | one heap for all threads, grown by brk alone |
//! | – | worker | | set-up, closing as it goes |
//! | – | worker | [`code`] | code that only set-up ran is no longer mapped |
//! | limits | worker | [`limits`] | no new descriptor, process, memory beyond the plan |
//! | seccomp | worker | [`seccomp`] | the allow-list |
//!
//! [`enter`] returns [`Jailed`], in which the worker may still set itself up. [`Jailed::seal`]
//! returns [`Sealed`], which every loop over guest input takes: only this module makes one.

use std::os::fd::RawFd;

use rustix::process::Resource;

use crate::fds::Inherited;
use crate::plan::Plan;

mod capabilities;
pub mod code;
mod descriptors;
mod heap;
mod landlock;
pub mod layers;
pub mod limits;
mod parent;
mod privileges;
mod root;
pub mod seccomp;

use layers::{Layer, Layers};
use seccomp::rules::Rule;

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
pub struct Jailed {
    layers: Layers,
    landlock: u8,
}

/// Every layer is on.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    /// The Landlock ABI in force; 0: none.
    pub landlock: u8,
    /// Number of the filter's listener, for the launcher to take.
    pub listener: Option<RawFd>,
}

/// Puts on every layer of `plan` that set-up can live with.
pub fn enter(plan: &Plan) -> Result<(Jailed, Inherited), Error> {
    enter_with(plan.layers, plan.descriptors(), None)
}

/// Puts on every one of `layers` that set-up can live with, in any process of casemate's that keeps
/// the descriptors in `keep`. Below the directory `writable`, one of them, it may make files.
pub fn enter_with(
    layers: Layers,
    keep: Vec<RawFd>,
    writable: Option<RawFd>,
) -> Result<(Jailed, Inherited), Error> {
    heap::keep_simple();
    parent::die_with()?;
    let inherited = if layers.has(Layer::Descriptors) {
        descriptors::close_all_but(keep)?
    } else {
        Inherited::new(keep)
    };
    if layers.has(Layer::UserNs) {
        root::forbid_user_namespaces()?;
    }
    if layers.has(Layer::Root) {
        root::empty()?;
    }
    if layers.has(Layer::Limits) {
        limits::enter()?;
    }
    if layers.has(Layer::Capabilities) {
        capabilities::drop_all()?;
    }
    if layers.has(Layer::NoNewPrivs) {
        privileges::give_up()?;
    }
    let writable = writable.and_then(|number| inherited.lend(number));
    let landlock =
        if layers.has(Layer::Landlock) { landlock::deny_all(false, writable)? } else { 0 };
    Ok((Jailed { layers, landlock }, inherited))
}

impl Jailed {
    /// Puts on the rest, for every thread there is. `vcpus`: the vcpu worker's vCPUs.
    pub fn seal(self, plan: &Plan, vcpus: &[RawFd]) -> Result<Sealed, Error> {
        let limits = |next| limits::for_the_loop(plan, next);
        self.seal_with(limits, &seccomp::rules::rules(plan, vcpus))
    }

    /// Puts on the rest with these limits and this allow-list. `limits` is told the number that the
    /// filter's listener will have.
    pub fn seal_with(
        self,
        limits: impl FnOnce(u64) -> Vec<(Resource, u64)>,
        rules: &[Rule],
    ) -> Result<Sealed, Error> {
        if self.layers.has(Layer::Limits) {
            limits::seal(&limits(descriptors::lowest_free()?))?;
        }
        let filter = seccomp::program(rules)?;
        code::forget_start_up();
        let listener =
            if self.layers.has(Layer::Seccomp) { Some(seccomp::install(&filter)?) } else { None };
        Ok(Sealed { landlock: self.landlock, listener })
    }
}

/// The numbers that the next two descriptors of this process will have: the filter's listener, and one
/// after it.
pub fn next_descriptors() -> Result<[RawFd; 2], Error> {
    descriptors::lowest_two()
}

/// Confines the launcher, which keeps its user, its namespaces and its descriptors. What `rules` does
/// not allow kills it.
pub fn confine(rules: &[Rule]) -> Result<(), Error> {
    heap::keep_simple();
    capabilities::drop_all()?;
    privileges::give_up()?;
    landlock::deny_all(true, None)?;
    let filter = seccomp::fatal_program(rules)?;
    code::forget_stack();
    seccomp::enforce(&filter)
}

/// Closes every descriptor but `keep`, in a process that the launcher cloned from itself and that does
/// nothing else with descriptors.
pub fn keep_only(keep: &[RawFd]) -> Result<(), Error> {
    descriptors::close_all_but(keep.to_vec()).map(|_| ())
}

/// Ends the process without the calls that a returning main makes and the filter does not allow.
#[expect(unsafe_code, reason = "_exit has no safe wrapper")]
pub fn leave(status: u8) -> ! {
    // SAFETY: nothing of this process has to be put in order: it owns no file but by descriptor.
    unsafe { libc::_exit(i32::from(status)) }
}
