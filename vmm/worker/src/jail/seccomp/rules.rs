//! What each worker may call once it is sealed, with every argument pinned that can be.
//!
//! The tables hold for static glibc and the crates of Cargo.lock; a test walks every system call in
//! a sealed worker and compares.

use std::os::fd::RawFd;

use devices::blk::Shape;
use devices::throttle::Rates;

use crate::fds;
use crate::plan::{Backing, Device, Plan, Role};

/// `KVM_RUN`, the only KVM call of a running virtual machine.
pub const KVM_RUN: u64 = 0xae80;

/// An argument that has to have a value; compared in 32 bits, which is what the kernel reads of a
/// descriptor, a count or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Which argument, from 0.
    pub argument: u8,
    /// The value it has to have.
    pub value: u64,
}

/// One allowed system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Number of the system call.
    pub number: i64,
    /// Its name.
    pub name: &'static str,
    /// What its arguments have to be, all of them at once.
    pub pins: Vec<Pin>,
    /// Why the worker needs it.
    pub reason: &'static str,
}

fn rule(number: i64, name: &'static str, pins: &[(u8, u64)], reason: &'static str) -> Rule {
    let pins = pins.iter().map(|&(argument, value)| Pin { argument, value }).collect();
    Rule { number, name, pins, reason }
}

fn fd(number: RawFd) -> u64 {
    u64::from(number.unsigned_abs())
}

/// The allow-list of the worker that `plan` describes. `vcpus`: the vcpu worker's vCPUs.
pub fn rules(plan: &Plan, vcpus: &[RawFd]) -> Vec<Rule> {
    let mut rules = common();
    match plan.role {
        Role::Vcpu { record, .. } => {
            rules.extend(vcpu(plan, vcpus));
            rules.extend(record.then(|| recorder(plan)).into_iter().flatten());
        }
        Role::Console { agent, log, .. } => {
            rules.extend(device(plan));
            rules.extend(console(agent, log));
        }
        Role::Blk { device: index, backing, rates } => {
            rules.extend(device(plan));
            if let Some(Device::Blk(shape)) = plan.devices.get(usize::from(index)) {
                rules.extend(blk(*shape, backing));
            }
            rules.extend((rates != Rates::NONE).then(|| clock("keep the disk's rates")));
        }
    }
    rules
}

fn common() -> Vec<Rule> {
    vec![
        rule(libc::SYS_write, "write", &[(0, fd(fds::STATUS))], "tell the launcher"),
        rule(libc::SYS_exit_group, "exit_group", &[], "end"),
        rule(libc::SYS_brk, "brk", &[], "the heap, within RLIMIT_DATA"),
    ]
}

/// What every device worker needs for its transport.
fn device(plan: &Plan) -> Vec<Rule> {
    let mut rules =
        vec![rule(libc::SYS_ppoll, "ppoll", &[], "wait for the descriptors that are there")];
    for (index, device) in plan.served() {
        let control = fd(fds::control(index));
        let interrupt = fd(fds::interrupt(index));
        rules.push(rule(libc::SYS_read, "read", &[(0, control)], "Start, Stop and the end"));
        rules.push(rule(libc::SYS_write, "write", &[(0, control)], "Stopped"));
        rules.push(rule(libc::SYS_write, "write", &[(0, interrupt)], "raise the interrupt"));
        for queue in device.queues() {
            let kick = fd(fds::kick(index, queue));
            rules.push(rule(libc::SYS_read, "read", &[(0, kick)], "clear a kick"));
        }
    }
    rules
}

fn console(agent: bool, log: bool) -> Vec<Rule> {
    let mut rules = vec![
        rule(libc::SYS_read, "read", &[(0, 0)], "the user's input"),
        rule(libc::SYS_write, "write", &[(0, 1)], "the command's output"),
        clock("keep the rate of output"),
    ];
    if agent {
        rules.push(rule(libc::SYS_write, "write", &[(0, 2)], "the command's error output"));
        let orders = fd(fds::ORDERS);
        rules.push(rule(libc::SYS_read, "read", &[(0, orders)], "signals and sizes to forward"));
    }
    if log {
        rules.push(rule(libc::SYS_write, "write", &[(0, fd(fds::LOG))], "the kernel's console"));
    }
    rules
}

/// Where the vDSO can tell the time, this call is never made.
fn clock(reason: &'static str) -> Rule {
    let monotonic = u64::from(libc::CLOCK_MONOTONIC.unsigned_abs());
    rule(libc::SYS_clock_gettime, "clock_gettime", &[(0, monotonic)], reason)
}

fn blk(shape: Shape, backing: Backing) -> Vec<Rule> {
    let image = &[(0, fd(fds::IMAGE))];
    let mut rules = vec![rule(libc::SYS_preadv, "preadv", image, "read sectors")];
    // What is gone with the run has nothing to flush.
    match backing {
        Backing::Copy(_) => {
            let copy = &[(0, fd(fds::COPY))];
            rules.push(rule(libc::SYS_preadv, "preadv", copy, "read sectors that were written"));
            rules.push(rule(libc::SYS_pwritev, "pwritev", copy, "write sectors"));
            return rules;
        }
        Backing::Image => rules.push(rule(libc::SYS_fdatasync, "fdatasync", image, "flush")),
        Backing::Temporary => {}
    }
    if !shape.read_only {
        rules.push(rule(libc::SYS_pwritev, "pwritev", image, "write sectors"));
    }
    rules
}

fn vcpu(plan: &Plan, vcpus: &[RawFd]) -> Vec<Rule> {
    let wait = u64::from((libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG).unsigned_abs());
    let wake = u64::from((libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG).unsigned_abs());
    let mut rules = vec![
        rule(libc::SYS_read, "read", &[(0, fd(fds::GO))], "wait for the go"),
        rule(libc::SYS_futex, "futex", &[(1, wait)], "wait for another vCPU's register access"),
        rule(libc::SYS_futex, "futex", &[(1, wake)], "let another vCPU go on"),
    ];
    for &vcpu in vcpus {
        let pins = &[(0, fd(vcpu)), (1, KVM_RUN), (2, 0)];
        rules.push(rule(libc::SYS_ioctl, "ioctl", pins, "run a vCPU"));
    }
    for (index, _) in plan.served() {
        let control = fd(fds::control(index));
        rules.push(rule(libc::SYS_write, "write", &[(0, control)], "Start and Stop"));
        rules.push(rule(libc::SYS_read, "read", &[(0, control)], "wait for Stopped"));
    }
    rules
}

/// What the vcpu worker needs on top if it is to see every access, kicks too.
fn recorder(plan: &Plan) -> Vec<Rule> {
    let record = fd(fds::RECORD);
    let mut rules =
        vec![rule(libc::SYS_write, "write", &[(0, record)], "the record of the guest's accesses")];
    for (index, device) in plan.served() {
        rules.extend(device.queues().map(|queue| {
            let kick = fd(fds::kick(index, queue));
            rule(libc::SYS_write, "write", &[(0, kick)], "pass on a kick")
        }));
    }
    rules
}
