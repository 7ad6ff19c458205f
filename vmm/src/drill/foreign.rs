//! A virtual machine of the drill's own, to be leaked into the prober.
#![expect(unsafe_code, reason = "KVM's ioctls return bare descriptors")]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use crate::host;

const KVM_CREATE_VM: u64 = 0xae01;
const KVM_CREATE_VCPU: u64 = 0xae41;

/// A virtual machine with a vCPU, without memory.
pub struct Foreign {
    vm: OwnedFd,
    vcpu: OwnedFd,
}

impl Foreign {
    /// Makes one.
    pub fn machine() -> Result<Self> {
        let kvm: File = host::kvm()?;
        let vm = create(kvm.as_fd(), KVM_CREATE_VM).context("cannot create a virtual machine")?;
        let vcpu = create(vm.as_fd(), KVM_CREATE_VCPU).context("cannot create a vCPU")?;
        Ok(Self { vm, vcpu })
    }

    /// The virtual machine.
    pub fn vm(&self) -> BorrowedFd<'_> {
        self.vm.as_fd()
    }

    /// Its vCPU.
    pub fn vcpu(&self) -> BorrowedFd<'_> {
        self.vcpu.as_fd()
    }
}

/// An ioctl that takes 0 and returns a descriptor.
fn create(fd: BorrowedFd<'_>, request: u64) -> std::io::Result<OwnedFd> {
    // SAFETY: the request reads and writes no memory of ours.
    let made = unsafe { libc::ioctl(fd.as_raw_fd(), request, 0) };
    if made < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: KVM has just returned this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}
