//! The virtual machine: RAM, interrupt controllers, and events in place of exits.
//!
//! Kicks are ioeventfds and interrupts irqfds, so that neither wakes this process. KVM ioctls fail
//! from another address space, so all of this happens in the vcpu worker.
#![expect(unsafe_code, reason = "hands descriptors and memory to KVM")]

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use devices::Memory;
use devices::mmio::QUEUE_NOTIFY;
use kvm_bindings::{
    CpuId, KVM_CAP_PMU_CAPABILITY, KVM_MAX_CPUID_ENTRIES, kvm_enable_cap,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuFd, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use crate::layout;

/// `KVM_CAP_PMU_CAPABILITY`: no virtual performance counters at all.
const KVM_PMU_CAP_DISABLE: i32 = 1;

/// A KVM call that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: {errno}")]
pub struct Error {
    operation: &'static str,
    errno: vmm_sys_util::errno::Error,
}

pub(crate) fn failed(operation: &'static str) -> impl Fn(vmm_sys_util::errno::Error) -> Error {
    move |errno| Error { operation, errno }
}

/// A virtual machine without vCPUs.
#[derive(Debug)]
pub struct Vm {
    fd: VmFd,
    supported: CpuId,
}

impl Vm {
    /// Creates a virtual machine through `kvm`, an open /dev/kvm, with `ram` as its memory.
    pub fn create(kvm: OwnedFd, ram: &Memory) -> Result<Self, Error> {
        // SAFETY: the descriptor is an open /dev/kvm and ownership moves.
        let kvm = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) };
        let supported = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(failed("ask KVM for its CPUID"))?;
        let fd = kvm.create_vm().map_err(failed("create a virtual machine"))?;
        let vm = Self { fd, supported };
        vm.hide_counters()?;
        vm.add_memory(ram)?;
        vm.fd
            .set_identity_map_address(layout::IDENTITY_MAP)
            .map_err(failed("place the identity map"))?;
        let tss = usize::try_from(layout::TSS).unwrap_or_default();
        vm.fd.set_tss_address(tss).map_err(failed("place the task state segment"))?;
        vm.fd.create_irq_chip().map_err(failed("create the interrupt controllers"))?;
        Ok(vm)
    }

    /// Turns the guest's performance counters off, where the kernel knows how (5.18 and later): CPUID
    /// alone does not hide AMD's old ones, which time the host as well as the guest.
    fn hide_counters(&self) -> Result<(), Error> {
        if self.fd.check_extension_raw(KVM_CAP_PMU_CAPABILITY.into()) & KVM_PMU_CAP_DISABLE == 0 {
            return Ok(());
        }
        let mut capability =
            kvm_enable_cap { cap: KVM_CAP_PMU_CAPABILITY, ..kvm_enable_cap::default() };
        capability.args[0] = u64::from(KVM_PMU_CAP_DISABLE.unsigned_abs());
        self.fd.enable_cap(&capability).map_err(failed("turn performance counters off"))
    }

    fn add_memory(&self, ram: &Memory) -> Result<(), Error> {
        for (slot, region) in (0..).zip(ram.iter()) {
            let slot = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: region.as_ptr().addr() as u64,
            };
            // SAFETY: the region stays mapped as long as this process lives.
            unsafe { self.fd.set_user_memory_region(slot) }
                .map_err(failed("give memory to the virtual machine"))?;
        }
        Ok(())
    }

    /// Makes a write of `queue` to device `index`'s QueueNotify register signal `kick`.
    pub fn wire_kick(&self, index: u8, queue: u8, kick: OwnedFd) -> Result<(), Error> {
        let register = IoEventAddress::Mmio(u64::from(layout::virtio(index)) + QUEUE_NOTIFY);
        self.fd
            .register_ioevent(&event(kick), &register, u32::from(queue))
            .map_err(failed("wire a kick"))
    }

    /// Makes a signal on `line` raise device `index`'s interrupt.
    pub fn wire_interrupt(&self, index: u8, line: OwnedFd) -> Result<(), Error> {
        self.fd
            .register_irqfd(&event(line), layout::gsi(index))
            .map_err(failed("wire an interrupt"))
    }

    /// Creates vCPU `index`.
    pub fn create_vcpu(&self, index: u8) -> Result<VcpuFd, Error> {
        self.fd.create_vcpu(u64::from(index)).map_err(failed("create a vCPU"))
    }

    /// The number of its descriptor.
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The CPUID that KVM can offer.
    pub fn supported_cpuid(&self) -> &CpuId {
        &self.supported
    }
}

/// KVM keeps its own reference; the descriptor closes with the value.
fn event(fd: OwnedFd) -> EventFd {
    // SAFETY: the descriptor is an eventfd and ownership moves.
    unsafe { EventFd::from_raw_fd(fd.into_raw_fd()) }
}
