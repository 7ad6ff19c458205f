//! The techniques, in the order in which they are printed.
//!
//! Most are the ones that break-outs of containers and device models have used. Each does the whole of what an attacker wants: a call that is refused
//! for another reason than a layer counts as refused all the same, and the column `host`, with no layer
//! on, tells which those are.

use worker::jail::layers::Layer;

/// What a technique is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Paths, /proc and /sys.
    Files,
    /// New processes, programs and credentials.
    Processes,
    /// Other processes.
    Others,
    /// Sockets.
    Sockets,
    /// What takes privilege.
    Privileges,
    /// Inherited descriptors.
    Descriptors,
    /// KVM.
    Kvm,
    /// Parts of the kernel that no worker needs.
    Kernel,
    /// Memory that is written and executed.
    Memory,
    /// Resources.
    Resources,
    /// Time.
    Time,
}

impl Group {
    /// The group's heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Files => "files, /proc and /sys",
            Self::Processes => "new processes, programs, credentials",
            Self::Others => "other processes",
            Self::Sockets => "sockets",
            Self::Privileges => "privileged operations",
            Self::Descriptors => "inherited descriptors",
            Self::Kvm => "KVM",
            Self::Kernel => "the kernel's surface",
            Self::Memory => "memory written and executed",
            Self::Resources => "resources",
            Self::Time => "time",
        }
    }
}

/// In which workers a technique makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In each.
    Any,
    /// In the worker of a disk that may be written.
    Disk,
    /// In the worker of a read-only disk.
    ReadOnlyDisk,
    /// In the worker that owns the virtual machine.
    Vcpu,
    /// In those that serve a device.
    Device,
}

/// One technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Technique {
    /// Its name.
    pub id: &'static str,
    /// What it belongs to.
    pub group: Group,
    /// What it does.
    pub what: &'static str,
    /// Which workers try it.
    pub place: Where,
    /// The layer behind which success stays inside the sandbox: it changes a namespace of its own.
    pub confined_by: Option<Layer>,
}

const fn row(
    group: Group,
    id: &'static str,
    what: &'static str,
    place: Where,
    confined_by: Option<Layer>,
) -> Technique {
    Technique { id, group, what, place, confined_by }
}

/// For every worker, and reaching the host where it succeeds.
const fn any(group: Group, id: &'static str, what: &'static str) -> Technique {
    row(group, id, what, Where::Any, None)
}

/// For every worker, and harmless behind a layer.
const fn own(group: Group, id: &'static str, layer: Layer, what: &'static str) -> Technique {
    row(group, id, what, Where::Any, Some(layer))
}

const fn at(group: Group, place: Where, id: &'static str, what: &'static str) -> Technique {
    row(group, id, what, place, None)
}

use Group::{
    Descriptors, Files, Kernel, Kvm, Memory, Others, Privileges, Processes, Resources, Sockets,
    Time,
};
use Where::{Device, Disk, ReadOnlyDisk, Vcpu};

/// All of them.
#[rustfmt::skip] // a technique a line
pub const TECHNIQUES: &[Technique] = &[
    any(Files, "open_passwd", "open and read /etc/passwd"),
    any(Files, "openat2_passwd", "the same through openat2"),
    any(Files, "openat_dotdot", "the same through ../../.."),
    any(Files, "proc_self_root", "the same through /proc/self/root"),
    any(Files, "stat_path", "find out whether a host file exists"),
    any(Files, "access_path", "the same through faccessat2"),
    any(Files, "list_root", "list /"),
    any(Files, "watch_path", "watch /etc through inotify"),
    any(Files, "create_file", "create a host file"),
    any(Files, "make_directory", "create a host directory"),
    any(Files, "link_file", "make a hard link to a host file"),
    any(Files, "make_symlink", "make a symbolic link on the host"),
    any(Files, "rename_file", "rename a host file"),
    any(Files, "unlink_file", "remove a host file"),
    any(Files, "truncate_path", "empty a host file by its path"),
    any(Files, "chmod_path", "change a host file's mode by its path"),
    any(Files, "set_times", "change a host file's times by its path"),
    any(Files, "make_fifo", "make a FIFO on the host"),
    any(Files, "make_device", "make a node of the host's disk and open it"),
    any(Files, "open_kvm", "open /dev/kvm"),
    any(Files, "write_sysfs", "open a file in /sys for writing"),
    any(Files, "write_core_pattern", "open kernel.core_pattern for writing"),
    any(Files, "leave_cgroup", "open the control group above for writing"),
    any(Files, "open_by_handle", "open a host file by its handle, from a leaked directory"),
    any(Files, "reopen_writable", "open a read-only descriptor for writing through /proc/self/fd"),
    any(Files, "own_memory_file", "open /proc/self/mem for writing"),

    any(Processes, "execute", "execute a host program"),
    any(Processes, "execute_set_id", "gain another user by a set-user-id program"),
    any(Processes, "execute_memfd", "execute a program from memory (memfd_create, execveat)"),
    any(Processes, "fork", "fork"),
    any(Processes, "fork_clone3", "fork through clone3, whose flags a filter cannot read"),
    any(Processes, "clone_vm", "clone a process that shares memory (CLONE_VM without CLONE_THREAD)"),
    any(Processes, "clone_thread", "start a thread"),
    any(Processes, "clone_user_ns", "clone into a new user namespace"),
    any(Processes, "unshare_user_ns", "enter a new user namespace"),
    any(Processes, "unshare_mount_ns", "enter a new mount namespace"),
    any(Processes, "unshare_time_ns", "make a new time namespace"),
    any(Processes, "become_other_user", "take another user id"),
    any(Processes, "become_other_group", "take another group id"),
    any(Processes, "set_groups", "take supplementary groups"),
    any(Processes, "raise_capability", "raise CAP_SYS_ADMIN"),
    any(Processes, "raise_ambient", "raise an ambient capability"),
    any(Processes, "become_dumpable", "become dumpable"),
    any(Processes, "ignore_sigsys", "ignore SIGSYS, to mute a filter that traps"),
    any(Processes, "clear_death_signal", "outlive the launcher (PR_SET_PDEATHSIG 0)"),
    any(Processes, "add_filter", "install a seccomp filter of one's own, with a listener"),

    any(Others, "read_environment", "read another process's environment"),
    any(Others, "open_memory", "open another process's memory"),
    any(Others, "attach", "attach to another process (ptrace)"),
    any(Others, "read_memory", "read another process's memory (process_vm_readv)"),
    any(Others, "write_memory", "write another process's memory (process_vm_writev)"),
    any(Others, "enter_namespaces", "enter another process's namespaces (setns)"),
    any(Others, "signal_process", "signal another process"),
    any(Others, "signal_thread", "signal another process's thread (tgkill)"),
    any(Others, "signal_parent", "signal the launcher"),
    any(Others, "signal_all", "signal every process (kill -1)"),
    any(Others, "signal_by_pidfd", "signal another process through a pidfd"),
    any(Others, "open_pidfd", "open a pidfd of another process"),
    any(Others, "take_descriptor", "take a descriptor of another process (pidfd_getfd)"),
    any(Others, "read_limits", "read another process's limits"),
    any(Others, "renice", "change another process's priority"),
    any(Others, "pin_to_cpu", "change another process's CPUs"),
    any(Others, "own_io_signal", "have the kernel signal another process (F_SETOWN)"),

    any(Sockets, "connect_path", "connect to a socket by its path"),
    any(Sockets, "send_path", "send to a datagram socket by its path"),
    any(Sockets, "connect_abstract", "connect to an abstract socket"),
    any(Sockets, "connect_tcp", "connect to a TCP port of the host"),
    any(Sockets, "send_udp", "send to a UDP port of the host"),
    any(Sockets, "socket_inet6", "make an IPv6 socket"),
    any(Sockets, "socket_netlink", "make a netlink socket"),
    any(Sockets, "socket_vsock", "make a vsock socket"),
    any(Sockets, "socket_alg", "make a kernel-crypto socket"),
    any(Sockets, "socket_raw", "make a raw IP socket"),
    any(Sockets, "socket_packet", "make a packet socket"),
    any(Sockets, "socket_pair", "make a socket pair"),
    any(Sockets, "pass_descriptor", "pass a descriptor to another worker (SCM_RIGHTS)"),

    own(Privileges, "mount", Layer::Root, "mount a file system"),
    any(Privileges, "mount_detached", "make a mount without a place (fsopen, fsmount)"),
    own(Privileges, "clone_tree", Layer::Root, "clone the mount of / (open_tree)"),
    any(Privileges, "chroot", "change the root directory"),
    any(Privileges, "chroot_escape", "leave a chroot the classic way and read /etc/passwd"),
    own(Privileges, "set_host_name", Layer::UtsNs, "set the host's name"),
    any(Privileges, "reboot", "get as far as rebooting the machine"),
    any(Privileges, "accounting", "get as far as switching process accounting"),
    any(Privileges, "swap_off", "get as far as switching swap off"),
    any(Privileges, "load_module", "get as far as loading a kernel module"),
    any(Privileges, "unload_module", "get as far as unloading a kernel module"),
    any(Privileges, "kexec", "get as far as loading another kernel"),
    any(Privileges, "set_clock", "get as far as setting the clock"),
    any(Privileges, "read_kernel_log", "read the kernel's log"),
    any(Privileges, "io_privilege", "raise the I/O privilege level (iopl)"),
    any(Privileges, "io_ports", "open an I/O port (ioperm)"),

    any(Descriptors, "leaked_directory", "open /etc/passwd from a leaked directory"),
    any(Descriptors, "leaked_file", "read a leaked descriptor of a secret file"),
    any(Descriptors, "leaked_terminal", "type into a leaked terminal (TIOCSTI)"),
    any(Descriptors, "chmod_leaked", "change a leaked file's mode"),
    any(Descriptors, "grow_leaked", "grow a leaked file"),
    any(Descriptors, "lock_leaked", "lock a leaked file (flock)"),
    any(Descriptors, "lease_leaked", "take a lease on a leaked file"),
    any(Descriptors, "splice_leaked", "splice a leaked file into a pipe"),
    any(Descriptors, "map_leaked", "map a leaked file"),
    any(Descriptors, "duplicate", "duplicate a descriptor"),
    any(Descriptors, "set_flags", "change a descriptor's flags"),
    any(Descriptors, "any_ioctl", "make an ioctl that nothing needs (FIONREAD)"),
    any(Descriptors, "read_unpinned", "read a leaked descriptor with the worker's own system call"),
    at(Descriptors, Device, "forge_kick", "kick the device's own queue, as the guest would"),
    at(Descriptors, ReadOnlyDisk, "write_read_only", "write to a read-only image"),
    at(Descriptors, Disk, "grow_image", "grow the image (ftruncate)"),
    at(Descriptors, Disk, "punch_image", "punch a hole into the image"),
    at(Descriptors, Disk, "write_past_image", "write past the image's end"),
    at(Descriptors, Disk, "lock_image", "lock the image's bytes for ever (F_SETLK)"),
    at(Descriptors, Disk, "chmod_image", "change the image's mode"),

    any(Kvm, "leaked_create_vm", "create a virtual machine from a leaked /dev/kvm"),
    any(Kvm, "leaked_memory", "give memory to a leaked virtual machine"),
    any(Kvm, "leaked_run", "run a leaked vCPU"),
    any(Kvm, "leaked_registers", "read a leaked vCPU's registers"),
    at(Kvm, Vcpu, "own_memory", "give the worker's own memory to the guest"),
    at(Kvm, Vcpu, "own_device", "create a device in the kernel"),
    at(Kvm, Vcpu, "own_capability", "enable a capability of KVM"),
    at(Kvm, Vcpu, "own_vcpu", "create one more vCPU"),
    at(Kvm, Vcpu, "own_registers", "read the vCPU's registers"),
    at(Kvm, Vcpu, "own_interrupt", "wire a new interrupt event"),
    at(Kvm, Vcpu, "own_run_argument", "run the vCPU with an argument"),

    any(Kernel, "bpf_program", "load a BPF program"),
    any(Kernel, "bpf_map", "create a BPF map"),
    any(Kernel, "perf_events", "count events of every process (perf_event_open)"),
    any(Kernel, "io_uring", "set up an io_uring, which runs calls past a filter"),
    any(Kernel, "userfaultfd", "make a userfaultfd"),
    any(Kernel, "session_keyring", "look at the session's keyring"),
    any(Kernel, "add_key", "add a key"),
    own(Kernel, "shared_memory", Layer::IpcNs, "make a System V shared memory segment"),
    own(Kernel, "semaphores", Layer::IpcNs, "make System V semaphores"),
    own(Kernel, "messages", Layer::IpcNs, "make a System V message queue"),
    own(Kernel, "posix_queue", Layer::IpcNs, "make a POSIX message queue"),
    any(Kernel, "modify_ldt", "read the local descriptor table"),
    any(Kernel, "int80", "open /etc/passwd through the 32-bit system calls"),
    any(Kernel, "x32", "open /etc/passwd through the x32 system calls"),
    any(Kernel, "fanotify", "watch a whole file system (fanotify)"),
    any(Kernel, "personality", "make every mapping executable (personality)"),
    any(Kernel, "timers", "make a timer"),
    any(Kernel, "events", "make an eventfd and an epoll"),
    any(Kernel, "unmap", "release an address that code is at (munmap)"),

    any(Memory, "map_wx", "map memory that is writable and executable"),
    any(Memory, "protect_x", "make written memory executable"),
    any(Memory, "protect_code", "make code writable"),
    any(Memory, "protect_pkey", "make written memory executable (pkey_mprotect)"),
    any(Memory, "attach_x", "attach executable shared memory (SHM_EXEC)"),
    any(Memory, "move_mapping", "move a mapping (mremap)"),
    any(Memory, "make_memfd", "make a file in memory"),
    any(Memory, "punch_memory", "punch a hole into shared memory (MADV_REMOVE)"),

    any(Resources, "use_memory", "use 512 MiB by mapping it"),
    any(Resources, "use_heap", "use 128 MiB of heap (brk, which is allowed)"),
    any(Resources, "use_descriptors", "use 512 descriptors"),
    any(Resources, "use_processes", "use 32 processes"),
    any(Resources, "use_threads", "use 64 threads"),
    any(Resources, "lock_memory", "lock 16 MiB of memory"),
    any(Resources, "real_time", "take real-time priority"),
    any(Resources, "raise_priority", "take a higher priority (nice)"),
    any(Resources, "raise_limits", "raise a resource limit"),
    any(Resources, "dump_core", "have memory dumped to a file"),

    any(Time, "rdtsc", "read the time stamp counter"),
];

/// The techniques that get through all layers, and why they may: what a process can do without asking
/// the kernel.
pub const DOCUMENTED: &[(&str, &str)] =
    &[("rdtsc", "an instruction: timing is not hidden from a worker")];

/// The technique of this name.
pub fn find(id: &str) -> Option<&'static Technique> {
    TECHNIQUES.iter().find(|technique| technique.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn at_least_ninety_and_no_name_twice() {
        let names: BTreeSet<&str> = TECHNIQUES.iter().map(|technique| technique.id).collect();
        assert_eq!(names.len(), TECHNIQUES.len());
        assert!(names.len() >= 90, "{}", names.len());
        assert!(DOCUMENTED.iter().all(|(id, _)| find(id).is_some()));
    }
}
