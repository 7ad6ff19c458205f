//! The checks, in the order in which they are printed.

use super::finding::{Finding, Group, Row};
use super::setting::Setting;
use super::source::Source;
use super::{
    access, backend, cgroup, cmdline, confinement, kernel, kvm, memory, namespaces, platform,
    settings, smt, vulnerabilities,
};

/// One check.
#[derive(Debug)]
pub struct Check {
    group: Group,
    name: &'static str,
    /// Why it matters.
    why: &'static str,
    find: Find,
}

/// How a check comes by what it finds.
#[derive(Debug)]
enum Find {
    /// By a function.
    By(fn(&Source) -> Finding),
    /// By comparing a number.
    Number(Setting),
    /// By a function that makes as many rows as there are.
    Rows(fn(&Source) -> Vec<Row>),
}

use Find::{By, Number, Rows};
use Group::{Cpu, Jail, Kernel, Kvm, Memory, Platform};

const fn check(group: Group, name: &'static str, find: Find, why: &'static str) -> Check {
    Check { group, name, why, find }
}

/// All checks.
#[rustfmt::skip] // a row a line
const CHECKS: [Check; 44] = [
    check(Kvm, "kvm", By(backend::device), "without it nothing runs"),
    check(Kvm, "backend", By(backend::backend), "the CPU's own virtualization is the wall around a guest"),
    check(Kvm, "bare-metal", By(backend::bare_metal), "a hypervisor below this host sees all of it, and its own holes do not show here"),
    check(Kvm, "second-level-paging", By(kvm::second_level_paging), "without EPT or NPT, KVM follows page tables that the guest writes: much more code to attack"),
    check(Kvm, "unrestricted-guest", By(kvm::unrestricted_guest), "without it KVM's instruction emulator runs parts of the guest: much more code to attack"),
    check(Kvm, "nested", By(kvm::nested), "KVM's code for guests of guests is large; all that hides it from a guest is its CPUID"),
    check(Kvm, "nx-huge-pages", By(kvm::nx_huge_pages), "without it a guest can stop a host that has ITLB multihit"),
    check(Kvm, "kvm-options", By(kvm::options), "they open ports, the emulator or unknown MSRs to every guest"),
    check(Kvm, "halt-polling", Number(settings::HALT_POLLING), "a halted guest keeps a CPU busy, and its wake-ups tell of the host's load"),
    check(Kvm, "kvm-group", By(access::group), "whoever may open /dev/kvm can attack KVM without a jail around"),
    check(Kvm, "kvm-debugfs", By(access::debugfs), "it tells every user how every guest behaves"),

    check(Cpu, "mitigations", By(cmdline::mitigations), "these words on the kernel's command line open the CPU's holes again"),
    check(Cpu, "", Rows(vulnerabilities::rows), ""),
    check(Cpu, "smt", By(smt::smt), "two guests on the siblings of one core can time each other's work"),
    check(Cpu, "core-scheduling", By(smt::core_scheduling), "it keeps siblings from running two sandboxes at the same time"),
    check(Cpu, "microcode", By(platform::microcode), "most mitigations need microcode, and new ones need new microcode"),

    check(Memory, "ksm", Number(settings::KSM), "merged pages let one guest find out what another has in memory"),
    check(Memory, "swap", By(memory::swap), "what a guest had in memory stays readable on the disk"),
    check(Memory, "zswap", By(memory::zswap), "guests share a compressed pool, and can time what others keep there"),
    check(Memory, "huge-pages", By(memory::huge_pages), "guest memory in 4 KiB pages costs time, not safety"),

    check(Jail, "namespaces", By(namespaces::kinds), "each worker gets one of each kind"),
    check(Jail, "user-namespaces", By(namespaces::user), "a worker is nobody on the host only by a user namespace"),
    check(Jail, "apparmor-userns", By(namespaces::apparmor), "it takes away what the jail needs to set itself up without root"),
    check(Jail, "surroundings", By(namespaces::surroundings), "what casemate itself is confined by can forbid what the jail needs to set itself up"),
    check(Jail, "landlock", By(confinement::landlock), "a second wall behind namespaces and filter, of other code"),
    check(Jail, "seccomp", By(confinement::seccomp), "a worker that was broken into has only the calls that its filter lets through"),
    check(Jail, "cgroup", By(cgroup::version), "without limits one guest can starve the host"),
    check(Jail, "cgroup-delegation", By(cgroup::delegation), "limits need a control group that this user may divide"),
    check(Jail, "security-modules", By(confinement::security_modules), "rules of the host's own hold where casemate's fail"),

    check(Kernel, "kernel", By(kernel::age), "KVM's holes are mended in newer builds only"),
    check(Kernel, "lockdown", By(kernel::lockdown), "root, once reached, cannot alter the running kernel"),
    check(Kernel, "modules", Number(settings::MODULES), "root, once reached, loads code into the kernel; users bring in rarely tested modules"),
    check(Kernel, "core-pattern", By(kernel::core_pattern), "a program that runs as root reads the memory of a crashed process"),
    check(Kernel, "aslr", Number(settings::ASLR), "a worker is harder to break into when its addresses are not known"),
    check(Kernel, "io-uring", Number(settings::IO_URING), "it makes system calls past a seccomp filter, and has had many holes"),
    check(Kernel, "userfaultfd", Number(settings::USERFAULTFD), "it makes races in the kernel easy to win"),
    check(Kernel, "bpf", Number(settings::BPF), "programs of users inside the kernel make its speculation steerable"),
    check(Kernel, "perf", Number(settings::PERF), "the counters time the host and its guests, and have had many holes"),
    check(Kernel, "ptrace", Number(settings::PTRACE), "one process of a user takes over the others, casemate's too"),
    check(Kernel, "kptr", Number(settings::KPTR), "the kernel's addresses are what an exploit needs first"),
    check(Kernel, "dmesg", Number(settings::DMESG), "the kernel's log tells addresses and how an attack went"),
    check(Kernel, "tiocsti", Number(settings::TIOCSTI), "a process types commands into the terminal that it shares"),

    check(Platform, "iommu", By(platform::iommu), "without it any device reads and writes all memory"),
    check(Platform, "confidential", By(platform::confidential), "memory encryption keeps guests secret from the host, not the host safe from guests"),
];

/// Does all checks.
pub fn rows(source: &Source) -> Vec<Row> {
    let done = |check: &Check| {
        let finding = match &check.find {
            By(find) => find(source),
            Number(setting) => setting.find(source),
            Rows(find) => return find(source),
        };
        vec![Row::new(check.group, check.name, check.why, finding)]
    };
    CHECKS.iter().flat_map(done).collect()
}
