//! The filter, compiled from the rules, and its listener.
//!
//! What is not allowed is answered with SECCOMP_RET_USER_NOTIF: the kernel stops the caller before
//! the call and tells whoever holds the listener, which is the launcher; it kills. The worker cannot
//! mute that: it has no call to answer itself. The listener stays open in the worker, where nothing that
//! can be done with it is allowed; when nobody else holds it any more, the call is held back until the
//! parent-death signal.
#![expect(unsafe_code, reason = "installs a seccomp filter")]

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::rules::Rule;
use crate::jail::Error;

/// A return instruction of classic BPF with a constant.
const RETURN: u16 = 0x06;
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;

const LAYER: &str = "seccomp";

/// Compiles `rules` into a filter that notifies for everything else, a foreign architecture included.
pub fn program(rules: &[Rule]) -> Result<BpfProgram, Error> {
    let mut program = compile(rules).map_err(|_| uncompiled())?;
    // The compiler has no word for notification.
    for instruction in &mut program {
        if instruction.code == RETURN && instruction.k == RET_KILL_PROCESS {
            instruction.k = RET_USER_NOTIF;
        }
    }
    Ok(program)
}

/// A filter that kills the process for everything that `rules` does not allow.
pub fn fatal_program(rules: &[Rule]) -> Result<BpfProgram, Error> {
    compile(rules).map_err(|_| uncompiled())
}

/// Installs a filter for this thread, without a listener.
pub fn enforce(program: &BpfProgram) -> Result<(), Error> {
    seccompiler::apply_filter(program)
        .map_err(|_| Error::new(LAYER, "install the filter")(Errno::INVAL))
}

fn uncompiled() -> Error {
    Error::new(LAYER, "compile the filter")(Errno::INVAL)
}

fn compile(rules: &[Rule]) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules {
        let pins = rule.pins.iter().map(|pin| {
            SeccompCondition::new(
                pin.argument,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::Eq,
                pin.value,
            )
        });
        let pins = pins.collect::<Result<Vec<_>, _>>()?;
        let alternatives = calls.entry(rule.number).or_default();
        // No alternative at all is how the compiler is told that every argument will do.
        if !pins.is_empty() {
            alternatives.push(SeccompRule::new(pins)?);
        }
    }
    let (stop, allow) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(calls, stop, allow, TargetArch::x86_64)?;
    BpfProgram::try_from(filter)
}

/// Installs `program` for every thread of the process. Returns the listener's number.
pub fn install(program: &BpfProgram) -> Result<RawFd, Error> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len())
            .map_err(|_| Error::new(LAYER, "install a filter so long")(Errno::OVERFLOW))?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC
        | libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH
        | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: `filter` names the instructions of `program`, which outlives the call; the kernel
    // copies and checks them.
    let listener = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter)
    };
    match RawFd::try_from(listener) {
        Ok(listener) if listener >= 0 => Ok(listener),
        _ => {
            let errno = Errno::from_io_error(&std::io::Error::last_os_error());
            Err(Error::new(LAYER, "install the filter")(errno.unwrap_or(Errno::INVAL)))
        }
    }
}
