//! floor MIB: the fewest system calls that make a virtual machine, run one instruction and take it down.
//!
//! What no VMM can be faster than: open /dev/kvm, a VM, one slot of memory, one vCPU. The slot ends at
//! 4 GiB, so that the vCPU's reset vector is its last paragraph and no register has to be set; there lies
//! HLT, and without an interrupt controller KVM hands that out. Prints the microseconds from `main` to the
//! entry into the guest.
#![allow(unsafe_code, reason = "a memory slot is plain memory that KVM is told of")]

use std::ffi::c_void;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

const HLT: u8 = 0xf4;
/// From the reset vector to the end of the first 4 GiB.
const RESET_VECTOR: usize = 16;

fn main() -> Result<()> {
    let begun = Instant::now();
    let mebibytes = std::env::args().nth(1).context("usage: floor MIB")?;
    let size = mebibytes.parse::<usize>().context("not a number of MiB")? << 20;
    let memory = memory(size)?;
    let vm = Kvm::new()?.create_vm()?;
    let slot = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: (4 << 30) - u64::try_from(size)?,
        memory_size: u64::try_from(size)?,
        userspace_addr: u64::try_from(memory.addr())?,
    };
    // SAFETY: the mapping is `size` bytes and lives until the process ends.
    unsafe { vm.set_user_memory_region(slot) }.context("cannot give the guest memory")?;
    let mut vcpu = vm.create_vcpu(0)?;
    let entered = begun.elapsed();
    match vcpu.run()? {
        VcpuExit::Hlt => println!("{}", entered.as_nanos() / 1000),
        exit => bail!("the guest did something else: {exit:?}"),
    }
    Ok(())
}

/// `size` bytes with one instruction where the vCPU begins.
fn memory(size: usize) -> Result<*mut c_void> {
    let (access, kind) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping wherever there is room touches nothing else.
    let memory = unsafe { mmap_anonymous(std::ptr::null_mut(), size, access, kind) }?;
    // SAFETY: the reset vector is less than `size` bytes into the mapping, which is at least 1 MiB.
    let vector = unsafe { memory.cast::<u8>().add(size - RESET_VECTOR) };
    // SAFETY: it points into the mapping, which nobody else knows of yet.
    unsafe { vector.write(HLT) };
    Ok(memory)
}
