//! What a sealed worker has, compared with what its plan says it has: descriptors and limits.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use rustix::process::Resource;
use worker::plan::On;

use super::State;

/// Compares what is open with the plan, the filter's listener, and what KVM gives a worker with vCPUs.
pub fn descriptors(
    planned: &[(RawFd, On)],
    cpus: u8,
    listener: Option<RawFd>,
    mut open: BTreeMap<RawFd, String>,
) -> State {
    for (number, on) in planned {
        let target = open.remove(number).unwrap_or_default();
        let as_planned = match on {
            On::Pipe => target.starts_with("pipe:"),
            On::Socket => target.starts_with("socket:"),
            On::Event => target == "anon_inode:[eventfd]",
            On::Anything => !target.is_empty() && !is_kvm(&target),
        };
        if !as_planned {
            return State::Partial(format!("descriptor {number} is {target:?}"));
        }
    }
    if let Some(number) = listener {
        let target = open.remove(&number).unwrap_or_default();
        if target != "anon_inode:seccomp notify" {
            return State::Partial(format!("the filter's listener is {target:?}"));
        }
    }
    if cpus > 0 {
        let machine = (0..cpus).map(|index| format!("anon_inode:kvm-vcpu:{index}"));
        let machine: Vec<String> = machine.chain(["anon_inode:kvm-vm".to_owned()]).collect();
        let all = open.len();
        open.retain(|_, target| !machine.contains(target));
        if all - open.len() != machine.len() {
            return State::Partial(
                "the virtual machine's descriptors are not all there".to_owned(),
            );
        }
    }
    match open.pop_first() {
        Some((number, target)) => {
            State::Partial(format!("descriptor {number} is open too, on {target:?}"))
        }
        None => State::Active,
    }
}

fn is_kvm(target: &str) -> bool {
    target == "/dev/kvm" || target.starts_with("anon_inode:kvm")
}

/// Compares /proc/PID/limits with what was to be set, soft and hard.
pub fn resource_limits(text: &str, wanted: &[(Resource, u64)]) -> State {
    for &(resource, most) in wanted {
        let Some(name) = proc_name(resource) else { continue };
        let values = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let mut values = values.split_ascii_whitespace();
        let (soft, hard) = (values.next(), values.next());
        let most = most.to_string();
        if soft != Some(&*most) || hard != Some(&*most) {
            let found = hard.unwrap_or("not told");
            return State::Partial(format!("{name} is {found}, and should be {most}"));
        }
    }
    State::Active
}

/// The name of a resource in /proc/PID/limits.
fn proc_name(resource: Resource) -> Option<&'static str> {
    Some(match resource {
        Resource::Core => "Max core file size",
        Resource::Memlock => "Max locked memory",
        Resource::Msgqueue => "Max msgqueue size",
        Resource::Rtprio => "Max realtime priority",
        Resource::Nice => "Max nice priority",
        Resource::As => "Max address space",
        Resource::Data => "Max data size",
        Resource::Stack => "Max stack size",
        Resource::Nproc => "Max processes",
        Resource::Fsize => "Max file size",
        Resource::Nofile => "Max open files",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use devices::blk::Shape;
    use devices::throttle::Rates;
    use worker::jail::layers::Layers;
    use worker::jail::limits;
    use worker::plan::{Backing, Device, Plan, Role};

    use super::*;

    fn plan(role: Role) -> Plan {
        let disk = Device::Blk(Shape { sectors: 8, read_only: false });
        let devices = vec![Device::Console, disk];
        Plan { role, memory: 1 << 30, transparent: true, devices, layers: Layers::ALL }
    }

    fn vcpu() -> Plan {
        plan(Role::Vcpu {
            cpus: 2,
            initrd: false,
            early: false,
            record: false,
            cmdline: OsString::new(),
        })
    }

    fn open(rows: &[(RawFd, &str)]) -> BTreeMap<RawFd, String> {
        rows.iter().map(|&(number, target)| (number, target.to_owned())).collect()
    }

    const BLK_ROLE: Role = Role::Blk { device: 1, backing: Backing::Image, rates: Rates::NONE };
    const LISTENER: (RawFd, &str) = (4, "anon_inode:seccomp notify");
    const VCPU: [(RawFd, &str); 8] = [
        (0, "anon_inode:kvm-vm"),
        (1, "anon_inode:kvm-vcpu:0"),
        (2, "anon_inode:kvm-vcpu:1"),
        (3, "pipe:[1]"),
        LISTENER,
        (8, "pipe:[2]"),
        (16, "socket:[3]"),
        (20, "socket:[4]"),
    ];
    const BLK: [(RawFd, &str); 6] = [
        (3, "pipe:[1]"),
        LISTENER,
        (5, "/somewhere/a.img"),
        (20, "socket:[4]"),
        (21, "anon_inode:[eventfd]"),
        (22, "anon_inode:[eventfd]"),
    ];

    #[test]
    fn descriptors_are_those_of_the_plan_and_no_other() {
        for (plan, rows) in [(vcpu(), &VCPU[..]), (plan(BLK_ROLE), &BLK[..])] {
            let cpus = if matches!(plan.role, Role::Vcpu { .. }) { 2 } else { 0 };
            let check = |open| descriptors(&plan.sealed_descriptors(), cpus, Some(4), open);
            assert_eq!(check(open(rows)), State::Active);
            for index in 0..rows.len() {
                // One is missing, or is open on something else.
                let mut without = open(rows);
                without.remove(&rows[index].0);
                assert_ne!(check(without), State::Active, "without {:?}", rows[index]);
                let mut other = open(rows);
                other.insert(rows[index].0, "anon_inode:kvm-vcpu:7".to_owned());
                assert_ne!(check(other), State::Active, "instead of {:?}", rows[index]);
            }
            for more in [
                (9, "/dev/kvm"),
                (9, "/guest-memory"),
                (9, "/memfd:guest-memory (deleted)"),
                (9, "/"),
            ] {
                let all = open(&[rows, &[more]].concat());
                assert!(matches!(check(all), State::Partial(_)), "{more:?}");
            }
        }
    }

    #[test]
    fn every_limit_of_the_plan_is_compared() {
        let plan = plan(BLK_ROLE);
        let mut wanted = limits::FROM_THE_START.to_vec();
        wanted.extend(limits::for_the_loop(&plan, 4));
        let mut rows: Vec<(&str, String)> = wanted
            .iter()
            .map(|(resource, most)| (proc_name(*resource).unwrap(), most.to_string()))
            .collect();
        assert_eq!(rows.len(), 11);
        let text = |rows: &[(&str, String)]| {
            let lines =
                rows.iter().map(|(name, most)| format!("{name:26}{most:21}{most:21}bytes\n"));
            lines.collect::<String>()
        };
        assert_eq!(resource_limits(&text(&rows), &wanted), State::Active);
        for index in 0..rows.len() {
            let was = std::mem::replace(&mut rows[index].1, "unlimited".to_owned());
            let found = resource_limits(&text(&rows), &wanted);
            assert!(matches!(found, State::Partial(_)), "{}", rows[index].0);
            rows[index].1 = was;
        }
    }
}
