//! Tries every system call in a sealed worker and compares what the filter lets through with the table.
//!
//! The drill answers each forbidden call with an errno of its own, [`FORBIDDEN`], so that one process
//! can try them all. A call that needs no pinned argument is made with arguments that no kernel accepts.
//! A pinned one is made as the table has it, with nothing to read or write, and then with each pinned
//! argument changed.

use std::os::fd::RawFd;

use prober::answer::{Answer, FORBIDDEN};
use worker::jail::seccomp::rules::{self, Rule};
use worker::plan::Plan;

use crate::raw::call;

/// Every number that a system call of x86_64 has or may have, and some more.
const NUMBERS: i64 = 1024;
/// Not tried: the end of the process, by which the prober ends, and two that Linux lets through every
/// filter from 6.14 on (uretprobe, uprobe): they serve probes alone and end any other caller by a signal.
const LEFT_OUT: [i64; 3] = [libc::SYS_exit_group, 335, 336];
/// The x32 system calls.
const X32: i64 = 0x4000_0000;
/// No address, no descriptor, no length.
const NONSENSE: u64 = 0x7fff_ffff_7fff_f001;

#[derive(Default)]
struct Walk {
    tried: u32,
    mismatch: u32,
}

impl Walk {
    /// Makes a call and compares.
    fn try_call(&mut self, rules: &[Rule], number: i64, args: [u64; 6]) {
        self.tried += 1;
        let forbidden = call(number, &args) == Err(FORBIDDEN);
        if forbidden == allows(rules, number, args) && self.mismatch == 0 {
            self.mismatch = u32::try_from(number).map_or(u32::MAX, |number| number + 1);
        }
    }
}

/// What the table says of a call.
fn allows(rules: &[Rule], number: i64, args: [u64; 6]) -> bool {
    let holds = |rule: &&Rule| {
        rule.number == number
            && rule.pins.iter().all(|pin| {
                let argument = args.get(usize::from(pin.argument)).copied().unwrap_or(0);
                argument & 0xffff_ffff == pin.value & 0xffff_ffff
            })
    };
    rules.iter().find(holds).is_some()
}

/// Tries everything. `kvm`: the virtual machine and its vCPUs, in the vcpu worker.
pub fn all(plan: &Plan, kvm: &[RawFd]) -> Answer {
    let rules = rules::rules(plan, kvm.get(1..).unwrap_or_default());
    let mut walk = Walk::default();
    for number in (0..NUMBERS).filter(|number| !LEFT_OUT.contains(number)) {
        walk.try_call(&rules, number, [NONSENSE; 6]);
        walk.try_call(&rules, number | X32, [NONSENSE; 6]);
    }
    for rule in rules.iter().filter(|rule| !rule.pins.is_empty()) {
        let mut args = [0; 6];
        for pin in &rule.pins {
            if let Some(slot) = args.get_mut(usize::from(pin.argument)) {
                *slot = pin.value;
            }
        }
        walk.try_call(&rules, rule.number, args);
        for pin in &rule.pins {
            for changed in [pin.value ^ 1, pin.value + 64, pin.value | 1 << 31] {
                let mut args = args;
                if let Some(slot) = args.get_mut(usize::from(pin.argument)) {
                    *slot = changed;
                }
                // What another rule allows is tried as that rule's own.
                if !allows(&rules, rule.number, args) {
                    walk.try_call(&rules, rule.number, args);
                }
            }
        }
    }
    let mut numbers: Vec<i64> = rules.iter().map(|rule| rule.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let allowed = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    Answer::Walked { tried: walk.tried, allowed, mismatch: walk.mismatch }
}
