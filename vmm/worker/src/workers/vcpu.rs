//! The vcpu worker: the virtual machine, its boot, and the registers of its devices.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;

use devices::Memory;
use devices::mmio::Registers;
use kvm_bindings::Msrs;
use kvm_ioctls::VcpuFd;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Error, TakeOver, take, tell, tell_sealed};
use crate::bus::Bus;
use crate::earlycon::Early;
use crate::fds::{self, Inherited};
use crate::jail::{Jailed, Sealed, leave};
use crate::plan::{Plan, Role};
use crate::recorder::Recorder;
use crate::status::Record;
use crate::vm::{Vm, failed};
use crate::{acpi, boot, cpuid, memory, registers, vcpu};

/// A vCPU thread's stack in bytes: its loop is shallow and has no recursion.
const STACK: usize = 64 * 1024;

pub(super) fn live(
    plan: &Plan,
    cpus: u8,
    cmdline: &OsStr,
    jailed: Jailed,
    fds: &mut Inherited,
    take_over: Option<TakeOver>,
) -> Result<Infallible, Error> {
    let ram = memory::ram(take(fds, fds::MEMORY)?, plan.memory, plan.transparent)?;
    let entry = load(plan, cpus, cmdline, &ram, fds)?;
    let vm = Vm::create(take(fds, fds::KVM)?, &ram)?;
    let mut bus = wire(plan, &vm, fds)?;
    if let Role::Vcpu { early: true, .. } = plan.role {
        bus.add_early(Early::new(tell));
    }
    if let Role::Vcpu { record: true, .. } = plan.role {
        let recorder = Recorder::new(plan, ram.clone(), take(fds, fds::RECORD)?, tell)
            .map_err(|errno| Error::System("begin the record", errno))?;
        bus.add_recorder(recorder);
    }
    let vcpus = (0..cpus)
        .map(|index| create_vcpu(&vm, index, cpus, &entry))
        .collect::<Result<Vec<_>, _>>()?;

    let go = take(fds, fds::GO)?;
    run(plan, jailed, vcpus, bus, go, |sealed, vcpus| {
        let kvm: Vec<RawFd> = std::iter::once(vm.number()).chain(vcpus.iter().copied()).collect();
        tell_sealed(sealed, take_over, &kvm);
    })
}

/// Puts the kernel, the initramfs and the tables where the guest expects them.
fn load(
    plan: &Plan,
    cpus: u8,
    cmdline: &OsStr,
    ram: &Memory,
    fds: &mut Inherited,
) -> Result<boot::Entry, Error> {
    let mut kernel = File::from(take(fds, fds::KERNEL)?);
    let mut initrd = fds.take(fds::INITRD).map(File::from);
    let mut seed = [0; 64];
    getrandom(&mut seed, GetRandomFlags::empty())
        .map_err(|errno| Error::System("get random bytes", errno))?;
    let devices = u8::try_from(plan.devices.len()).unwrap_or(u8::MAX);
    let rsdp = acpi::write(ram, cpus, devices)?;
    Ok(boot::load(ram, &mut kernel, initrd.as_mut(), cmdline.as_bytes(), rsdp, &seed)?)
}

/// Wires every device's kicks and interrupt, and makes its registers.
fn wire(plan: &Plan, vm: &Vm, fds: &mut Inherited) -> Result<Bus, Error> {
    let pages = take(fds, fds::CONTROL_PAGES)?;
    let mut bus = Bus::default();
    for (index, device) in plan.served() {
        let mut kicks = Vec::new();
        for queue in device.queues() {
            let kick = take(fds, fds::kick(index, queue))?;
            match plan.role {
                // KVM would keep them to itself.
                Role::Vcpu { record: true, .. } => kicks.push(kick),
                _ => vm.wire_kick(index, queue, kick)?,
            }
        }
        vm.wire_interrupt(index, take(fds, fds::interrupt(index))?)?;
        let status = memory::control_page(&pages, index)?;
        let registers = Registers::new(device.identity(), status);
        bus.add(registers, take(fds, fds::control(index))?, kicks);
    }
    Ok(bus)
}

fn create_vcpu(vm: &Vm, index: u8, cpus: u8, entry: &boot::Entry) -> Result<VcpuFd, Error> {
    let vcpu = vm.create_vcpu(index)?;
    let cpuid = cpuid::guest(vm.supported_cpuid(), index, cpus)?;
    vcpu.set_cpuid2(&cpuid).map_err(failed("set CPUID"))?;
    let msrs = Msrs::from_entries(&registers::msrs()).map_err(|_| {
        Error::System("list the model-specific registers", rustix::io::Errno::NOMEM)
    })?;
    vcpu.set_msrs(&msrs).map_err(failed("set the model-specific registers"))?;
    // The others wait for the first to start them, as the architecture has it.
    if index == 0 {
        let sregs = vcpu.get_sregs().map_err(failed("read the system registers"))?;
        let (regs, sregs) = registers::boot(entry, sregs);
        vcpu.set_sregs(&sregs).map_err(failed("set the system registers"))?;
        vcpu.set_regs(&regs).map_err(failed("set the registers"))?;
    }
    Ok(vcpu)
}

/// Set when every layer is on and the launcher said go; the vCPU threads wait for it.
static SEALED: OnceLock<Sealed> = OnceLock::new();

/// Seals the process with all of its threads parked, calls `told`, waits for the go, and runs the vCPUs.
fn run(
    plan: &Plan,
    jailed: Jailed,
    vcpus: Vec<VcpuFd>,
    bus: Bus,
    go: OwnedFd,
    told: impl FnOnce(&Sealed, &[RawFd]),
) -> Result<Infallible, Error> {
    let bus = Arc::new(bus);
    let numbers: Vec<RawFd> = vcpus.iter().map(AsRawFd::as_raw_fd).collect();
    let parked = Arc::new(Barrier::new(vcpus.len()));
    let mut vcpus = vcpus.into_iter();
    let mut first = vcpus.next().ok_or(Error::NoVcpu)?;
    for mut vcpu in vcpus {
        let (bus, parked) = (bus.clone(), parked.clone());
        let body = move || {
            parked.wait();
            run_vcpu(&mut vcpu, &bus, SEALED.wait())
        };
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(body)
            .map_err(|error| Error::System("start a vCPU thread", errno(&error)))?;
    }
    // Every thread has made the calls that starting takes.
    parked.wait();
    let sealed = jailed.seal(plan, &numbers)?;
    told(&sealed, &numbers);
    let byte = rustix::io::retry_on_intr(|| rustix::io::read(&go, &mut [0]));
    if byte.map_err(|errno| Error::System("wait for the go", errno))? == 0 {
        // The launcher is gone. It may have been before its death could be asked to be ours.
        leave(0);
    }
    tell(&Record::Entered);
    run_vcpu(&mut first, &bus, SEALED.get_or_init(|| sealed))
}

fn errno(error: &std::io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::AGAIN)
}

/// Runs one vCPU, reports how the virtual machine ended, and ends the process with it.
fn run_vcpu(vcpu: &mut VcpuFd, bus: &Bus, sealed: &Sealed) -> ! {
    match vcpu::run(vcpu, bus, sealed) {
        Ok(how) => tell(&Record::VmEnded(how, bus.started())),
        Err(error) => tell(&Record::Failed(error.to_string())),
    }
    leave(0)
}
