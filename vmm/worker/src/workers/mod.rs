//! The lives of the workers: get jailed, set up, get sealed, serve, end.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use devices::interrupt::Interrupt;
use devices::link::Link;
use devices::violation::Fault;
use devices::wires::Descriptors;
use rustix::thread::set_name;

use crate::fds::{self, Inherited};
use crate::jail::{self, Sealed, leave};
use crate::memory;
use crate::plan::{Plan, Role};
use crate::status::{Record, Status};

mod blk;
mod console;
mod vcpu;

/// Why a worker ends without having been told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A layer of the jail failed.
    #[error(transparent)]
    Jail(#[from] jail::Error),
    /// A descriptor of the plan is missing.
    #[error("descriptor {0} was not inherited")]
    Descriptor(RawFd),
    /// Memory could not be mapped.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// KVM refused something.
    #[error(transparent)]
    Vm(#[from] crate::vm::Error),
    /// A vCPU cannot go on.
    #[error(transparent)]
    Vcpu(#[from] crate::vcpu::Error),
    /// The kernel or the initramfs could not be loaded.
    #[error(transparent)]
    Boot(#[from] crate::boot::Error),
    /// The ACPI tables could not be written.
    #[error(transparent)]
    Acpi(#[from] crate::acpi::Error),
    /// A CPUID table could not be made.
    #[error(transparent)]
    Cpuid(#[from] crate::cpuid::TooLong),
    /// The guest broke the device contract, or a system call failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The plan has no vCPU.
    #[error("there is no vCPU to run")]
    NoVcpu,
    /// A system call failed.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] rustix::io::Errno),
}

/// Where this process reports; set once, for the panic hook as well.
static STATUS: OnceLock<Status> = OnceLock::new();

fn tell(record: &Record) {
    if let Some(status) = STATUS.get() {
        status.tell(record);
    }
}

/// Says that every layer is on. From here on the worker is the guest's to attack.
fn tell_sealed(sealed: &Sealed, take_over: Option<TakeOver>, kvm: &[RawFd]) {
    tell(&Record::Sealed(sealed.landlock, sealed.listener));
    if let Some(take_over) = take_over {
        take_over(kvm);
    }
}

/// What goes on in a worker's place once it is sealed: code that a guest brought in, as far as the host
/// is concerned. `kvm`: the virtual machine's descriptor and those of its vCPUs, in the vcpu worker.
///
/// No worker that casemate starts to run a guest has one; the drill's prober does.
pub type TakeOver = fn(kvm: &[RawFd]) -> !;

/// Lives the life of the worker that `plan` describes, to the end of the process, or to `take_over`.
pub fn live(plan: &Plan, take_over: Option<TakeOver>) -> ! {
    // Without a name of its own it is none the worse.
    let _ = CString::new(format!("casemate-{}", plan.name())).map(|name| set_name(&name));
    let result = jail::enter(plan).map_err(Error::from).and_then(|(jailed, mut fds)| {
        let status = fds.take(fds::STATUS).ok_or(Error::Descriptor(fds::STATUS))?;
        let _ = STATUS.set(Status::new(status));
        std::panic::set_hook(Box::new(|panic| {
            tell(&Record::Failed(panic.to_string()));
            // To abort would take calls that the filter forbids, and look like a breach.
            leave(1)
        }));
        match &plan.role {
            Role::Vcpu { cpus, cmdline, .. } => {
                vcpu::live(plan, *cpus, cmdline, jailed, &mut fds, take_over)
            }
            Role::Console { agent, output, forms, .. } => {
                console::live(plan, *agent, *output, *forms, jailed, &mut fds, take_over)
            }
            Role::Blk { device, backing, rates } => {
                blk::live(plan, *device, (*backing, *rates), jailed, &mut fds, take_over)
            }
        }
    });
    match result {
        Err(error) => fail(&error),
    }
}

/// Ends a sealed worker. What it still owns is not put in order: that would take calls that its
/// filter forbids.
fn end(result: Result<(), Fault>) -> ! {
    match result {
        Ok(()) => leave(0),
        Err(fault) => fail(&fault.into()),
    }
}

fn fail(error: &Error) -> ! {
    tell(&record_of(error));
    leave(1)
}

fn record_of(error: &Error) -> Record {
    match error {
        Error::Fault(Fault::Violation(violation)) => Record::Violation(*violation),
        Error::Boot(error) => Record::Boot(error.to_string()),
        other => Record::Failed(other.to_string()),
    }
}

/// Takes a descriptor that the plan says is there.
fn take(fds: &mut Inherited, number: RawFd) -> Result<std::os::fd::OwnedFd, Error> {
    fds.take(number).ok_or(Error::Descriptor(number))
}

/// Device `index`'s side of its transport.
fn link<'m>(
    plan: &Plan,
    index: u8,
    memory: &'m devices::Memory,
    pages: &std::os::fd::OwnedFd,
    fds: &mut Inherited,
) -> Result<Link<'m>, Error> {
    let device =
        plan.devices.get(usize::from(index)).ok_or(Error::Descriptor(fds::control(index)))?;
    let status = memory::control_page(pages, index)?;
    let line = take(fds, fds::interrupt(index))?;
    let control = take(fds, fds::control(index))?;
    let kicks = device
        .queues()
        .map(|queue| take(fds, fds::kick(index, queue)))
        .collect::<Result<_, _>>()?;
    let wires = Descriptors { control, kicks, line };
    Ok(Link::new(memory, device.identity(), wires, Interrupt::new(status)))
}
