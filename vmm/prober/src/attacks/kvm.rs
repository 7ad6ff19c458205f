//! KVM: another process's virtual machine, and the worker's own.

use std::os::fd::RawFd;

use prober::bait::leaked;
use worker::jail::seccomp::rules::KVM_RUN;

use super::{Attack, Attacker};
use crate::raw::{Attempt, IN_VAIN, at, at_mut, call, does, int};

// ioctl numbers of <linux/kvm.h>: direction and size, type 0xae, number.
const KVM_CREATE_VM: u64 = 0xae01;
const KVM_CREATE_VCPU: u64 = 0xae41;
const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
const KVM_IRQFD: u64 = 0x4020_ae76;
const KVM_GET_REGS: u64 = 0x8090_ae81;
const KVM_ENABLE_CAP: u64 = 0x4068_aea3;
const KVM_CREATE_DEVICE: u64 = 0xc00c_aee0;

pub const ATTACKS: &[(&str, Attack)] = &[
    ("leaked_create_vm", |_| ioctl(leaked::KVM, KVM_CREATE_VM, 0)),
    ("leaked_memory", |_| give_memory(leaked::VM)),
    ("leaked_run", |_| ioctl(leaked::VCPU, KVM_RUN, 0)),
    ("leaked_registers", |_| registers(leaked::VCPU)),
    ("own_memory", |attacker| give_memory(vm(attacker)?)),
    ("own_device", |attacker| {
        // struct kvm_create_device: KVM_DEV_TYPE_VFIO, room for the descriptor, no flags.
        let mut device = [4u32, 0, 0];
        ioctl(vm(attacker)?, KVM_CREATE_DEVICE, at_mut(&mut device))
    }),
    ("own_capability", |attacker| {
        // struct kvm_enable_cap: KVM_CAP_SPLIT_IRQCHIP of another machine's shape fails late.
        const KVM_CAP_EXCEPTION_PAYLOAD: u64 = 164;
        let mut capability = [0u64; 13];
        capability[0] = KVM_CAP_EXCEPTION_PAYLOAD;
        capability[1] = 1;
        ioctl(vm(attacker)?, KVM_ENABLE_CAP, at(&capability))
    }),
    ("own_vcpu", |attacker| ioctl(vm(attacker)?, KVM_CREATE_VCPU, 7)),
    ("own_registers", |attacker| registers(vcpu(attacker)?)),
    ("own_interrupt", |attacker| {
        let event = call(libc::SYS_eventfd2, &[0, 0])?;
        // struct kvm_irqfd: descriptor and GSI, then nothing.
        let irqfd = [event | 20 << 32, 0, 0, 0];
        ioctl(vm(attacker)?, KVM_IRQFD, at(&irqfd))
    }),
    // It would return at once, with EINVAL: the argument is no pointer and has to be zero.
    ("own_run_argument", |attacker| match ioctl(vcpu(attacker)?, KVM_RUN, 1) {
        Err(errno) if i32::from(errno) == libc::EINVAL => Ok(()),
        result => result,
    }),
];

fn ioctl(fd: RawFd, request: u64, argument: u64) -> Attempt {
    does(libc::SYS_ioctl, &[int(fd), request, argument])
}

fn vm(attacker: &Attacker) -> Attempt<RawFd> {
    attacker.kvm.first().copied().ok_or(IN_VAIN)
}

fn vcpu(attacker: &Attacker) -> Attempt<RawFd> {
    attacker.kvm.get(1).copied().ok_or(IN_VAIN)
}

/// A page of this process becomes guest memory.
fn give_memory(vm: RawFd) -> Attempt {
    let page = page();
    // struct kvm_userspace_memory_region: slot 30, no flags; where in the guest, size, where here.
    let region = [30u64, 0x8_0000_0000, 4096, page];
    ioctl(vm, KVM_SET_USER_MEMORY_REGION, at(&region))
}

/// The address of the page that this function's stack is on.
fn page() -> u64 {
    let here = 0u8;
    at(&here) & !0xfff
}

fn registers(vcpu: RawFd) -> Attempt {
    let mut registers = [0u64; 18];
    ioctl(vcpu, KVM_GET_REGS, at_mut(&mut registers))
}
