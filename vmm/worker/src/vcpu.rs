//! The vCPU loop: run the guest, answer its exits, until the virtual machine ends.

use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::bus::{Bus, Gone};
use crate::jail::Sealed;
use crate::power;
use crate::status::VmEnd;

/// Why a vCPU cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// KVM refused to run it.
    #[error("cannot run a vCPU: {0}")]
    Run(#[from] vmm_sys_util::errno::Error),
    /// The hardware refused the guest's state.
    #[error("the CPU refused the guest's state (reason {0:#x})")]
    Entry(u64),
    /// KVM met something that it cannot emulate.
    #[error("KVM cannot go on: {0}")]
    Unhandled(String),
    /// A device worker is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// Runs `vcpu` until the guest ends the virtual machine.
pub fn run(vcpu: &mut VcpuFd, bus: &Bus, _sealed: &Sealed) -> Result<VmEnd, Error> {
    loop {
        let exit = match vcpu.run() {
            Ok(exit) => exit,
            Err(errno) if matches!(errno.errno(), libc::EINTR | libc::EAGAIN) => continue,
            Err(errno) => return Err(errno.into()),
        };
        match exit {
            VcpuExit::MmioRead(address, data) => bus.read(address, data),
            VcpuExit::MmioWrite(address, data) => bus.write(address, data)?,
            VcpuExit::IoOut(port, data) => {
                if let Some(end) = power::write(port, data) {
                    return Ok(end);
                }
                bus.port_out(port, data);
            }
            VcpuExit::IoIn(port, data) => {
                data.fill(bus.port_in(port).unwrap_or_else(|| power::read(port)));
            }
            VcpuExit::Shutdown => return Ok(VmEnd::TripleFault),
            VcpuExit::FailEntry(reason, _) => return Err(Error::Entry(reason)),
            VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt => {}
            other => return Err(Error::Unhandled(format!("{other:?}"))),
        }
    }
}
