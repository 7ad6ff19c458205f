//! From a [`Guest`] to its processes: memory, events, sockets and pipes, and who gets which.
//!
//! When [`start`] returns, the launcher holds nothing of the sandbox but what [`Sandbox`] names:
//! every other descriptor lives in the workers alone, so that each end of a socket closes with its
//! process.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{CoreSchedulingScope, create_core_scheduling_cookie};
use worker::jail::layers::{Layer, Layers};
use worker::plan::{Device, Plan, Role};
use worker::{fds, layout};

use crate::cgroup::{self, Cgroup, Entrance};
use crate::collect::Collector;
use crate::guest::Guest;
use crate::host;
use crate::identity::Identity;
use crate::layers::Given;
use crate::memory::{Memory, control_pages};
use crate::spawn::{Program, spawn};
use crate::streams::{self, Streams};
use crate::watched::Watched;

/// One worker, started.
#[derive(Debug)]
pub struct Worker {
    /// `vcpu`, `console`, `blk0`, …
    pub name: String,
    /// What it was told to be.
    pub plan: Plan,
    /// The process.
    pub process: Watched,
    /// It said that every layer is on, and they were read back.
    pub sealed: bool,
}

/// A sandbox whose workers have been started and whose guest has not.
#[derive(Debug)]
pub struct Sandbox {
    /// Every worker.
    pub workers: Vec<Worker>,
    /// A byte written to it lets the guest run; closed without one, the vcpu worker ends.
    pub go: OwnedFd,
    /// What the console worker is to tell the command is written to it.
    pub orders: OwnedFd,
    /// The command has the user's terminal.
    pub terminal: bool,
    /// The agent runs a command.
    pub agent: bool,
    /// The kernel's console is kept in a file.
    pub console_file: bool,
    /// There is an early console.
    pub early: bool,
    /// The guest's accesses are recorded.
    pub record: bool,
    /// What is booted, for messages.
    pub boots: String,
    /// Guest RAM.
    pub memory: Memory,
    /// The workers' control group, if it could be had.
    pub cgroup: Option<Cgroup>,
    /// What the launcher did for every worker.
    pub given: Given,
    /// Processes that wait for what comes out.
    pub collectors: Vec<Collector>,
}

/// A device's descriptors, both sides.
struct Wires {
    vcpu_end: OwnedFd,
    device_end: OwnedFd,
    interrupt: OwnedFd,
    kicks: Vec<OwnedFd>,
}

/// Everything that workers inherit.
pub struct Parts {
    guest: Guest,
    devices: Vec<Device>,
    wires: Vec<Wires>,
    ram: OwnedFd,
    control_pages: OwnedFd,
    kvm: File,
    null: File,
    go: OwnedFd,
    orders: OwnedFd,
    streams: Streams,
}

/// Starts the workers of `guest` behind `layers`.
pub fn start(guest: Guest, layers: Layers) -> Result<Sandbox> {
    let program = host::companion("casemate-worker")?;
    // The first of all, since its janitor holds a copy of whatever there is until it has closed it.
    let roles = roles(&guest);
    let limits = cgroup::Limits::of(guest.memory.bytes, guest.cpus, roles.len());
    let cgroup = Cgroup::behind(layers, limits);
    let (parts, Ends { go, orders }) = match Parts::of(guest) {
        Ok(parts) => parts,
        Err(error) => {
            cgroup.into_iter().for_each(Cgroup::remove);
            return Err(error);
        }
    };
    let identity = Identity::of_sandbox()?;
    let core_sched = share_no_core(layers);
    let collectors = parts.guest.collected.iter().map(|output| output.start(layers));
    let collectors = collectors.collect::<Result<_>>()?;
    let entrance = cgroup.as_ref().ok().map(Cgroup::entrance).transpose()?;
    let mut workers = Vec::new();
    for role in roles {
        let plan = parts.plan(role, layers);
        let program = Start { file: program.as_fd(), args: plan.to_args(), more: &[] };
        workers.push(parts.start_worker(&program, &plan, &identity, entrance.as_ref())?);
    }
    let given = Given {
        layers,
        cgroup: cgroup.as_ref().map(Cgroup::read_back).map_err(Clone::clone),
        core_sched,
        uid: identity.uid,
        gid: identity.gid,
    };
    Ok(Sandbox {
        workers,
        go,
        orders,
        terminal: parts.guest.terminal,
        agent: parts.guest.agent,
        console_file: parts.guest.console.is_some(),
        early: parts.guest.early,
        record: parts.guest.record.is_some(),
        boots: parts.guest.name,
        memory: parts.guest.memory,
        cgroup: cgroup.ok(),
        given,
        collectors,
    })
}

/// Gives this process, and so every worker, a core-scheduling cookie of its own.
fn share_no_core(layers: Layers) -> Result<(), String> {
    if !layers.has(Layer::CoreSched) {
        return Err("not asked for".to_owned());
    }
    let own = rustix::process::getpid();
    create_core_scheduling_cookie(own, CoreSchedulingScope::ThreadGroup).map_err(
        |errno| match errno {
            Errno::NODEV => "the CPU has no SMT, or it is off".to_owned(),
            Errno::INVAL => "the kernel has no core scheduling".to_owned(),
            errno => format!("cannot make a core-scheduling cookie: {errno}"),
        },
    )
}

/// The devices in the order in which the guest finds them.
fn devices(guest: &Guest) -> Result<Vec<Device>> {
    let consoles = usize::from(consoles(guest));
    let mut devices = vec![Device::Console; consoles];
    devices.extend(guest.disks.iter().map(|image| Device::Blk(image.shape)));
    let most = usize::from(layout::DEVICES_MAX);
    if devices.len() > most {
        bail!("too many disks: {} are given, {} can be", guest.disks.len(), most - consoles);
    }
    Ok(devices)
}

/// How many consoles a guest has, which come before its disks.
fn consoles(guest: &Guest) -> u8 {
    if guest.agent { 2 } else { 1 }
}

/// Every worker's role, the vcpu worker's first.
fn roles(guest: &Guest) -> Vec<Role> {
    let mut roles = vec![
        Role::Vcpu {
            cpus: guest.cpus,
            initrd: guest.initrd.is_some(),
            early: guest.early,
            record: guest.record.is_some(),
            cmdline: guest.cmdline.clone(),
        },
        Role::Console {
            agent: guest.agent,
            log: guest.console.is_some(),
            output: guest.output,
            forms: streams::forms(guest),
            file_size: streams::most_file_size(guest),
        },
    ];
    let disks = (consoles(guest)..=u8::MAX).zip(&guest.disks);
    roles.extend(disks.map(|(device, image)| Role::Blk {
        device,
        backing: image.backing,
        rates: image.rates,
    }));
    roles
}

fn wires(device: &Device) -> Result<Wires> {
    let flags = SocketFlags::CLOEXEC;
    let (vcpu_end, device_end) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .context("cannot make a control socket")?;
    let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let kicks = device.queues().map(|_| event()).collect::<Result<_, _>>();
    Ok(Wires {
        vcpu_end,
        device_end,
        interrupt: event().context("cannot make an event")?,
        kicks: kicks.context("cannot make an event")?,
    })
}

/// The launcher's ends of what [`Parts`] holds the workers' ends of.
pub struct Ends {
    /// Where the go is written.
    pub go: OwnedFd,
    /// Where orders for the console worker are written.
    pub orders: OwnedFd,
}

/// What a worker is started from.
pub struct Start<'a> {
    /// The executable.
    pub file: BorrowedFd<'a>,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Descriptors besides those of its plan.
    pub more: &'a [(RawFd, BorrowedFd<'a>)],
}

impl Parts {
    /// Makes what the workers of `guest` inherit.
    pub fn of(mut guest: Guest) -> Result<(Self, Ends)> {
        let kvm = host::kvm()?;
        let devices = devices(&guest)?;
        let (go_out, go) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        let (orders_out, orders) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).context("cannot make a pipe")?;
        let null = host::null()?;
        let (ram, memory) = guest.memory.make()?;
        guest.memory = memory;
        let parts = Self {
            wires: devices.iter().map(wires).collect::<Result<_>>()?,
            ram,
            control_pages: control_pages(devices.len())?,
            devices,
            kvm,
            streams: Streams::of(&guest, null.as_fd())?,
            null,
            go: go_out,
            orders: orders_out,
            guest,
        };
        Ok((parts, Ends { go, orders }))
    }

    /// What the worker in this role is told.
    pub fn plan(&self, role: Role, layers: Layers) -> Plan {
        let Memory { bytes, transparent, .. } = self.guest.memory;
        Plan { role, memory: bytes, transparent, devices: self.devices.clone(), layers }
    }

    /// Every worker's role.
    pub fn roles(&self) -> Vec<Role> {
        roles(&self.guest)
    }

    /// Starts a worker, maps it to `identity`, in the control group behind `entrance`.
    pub fn start_worker(
        &self,
        start: &Start<'_>,
        plan: &Plan,
        identity: &Identity,
        entrance: Option<&Entrance>,
    ) -> Result<Worker> {
        let name = plan.name();
        let (status, status_in) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        let mut table = self.table(plan, status_in.as_fd());
        table.extend(start.more);
        let program = Program { file: start.file, args: start.args.clone(), table };
        let child = spawn(program, plan.layers, identity, entrance)
            .with_context(|| format!("cannot start the {name} worker"))?;
        let process = Watched::new(child, status);
        Ok(Worker { name, plan: plan.clone(), process, sealed: false })
    }

    /// The descriptors of one worker by their numbers: [`fds`] has the table.
    fn table<'a>(&'a self, plan: &Plan, status: BorrowedFd<'a>) -> Vec<(RawFd, BorrowedFd<'a>)> {
        let mut table = vec![
            (fds::STATUS, status),
            (fds::MEMORY, self.ram.as_fd()),
            (fds::CONTROL_PAGES, self.control_pages.as_fd()),
        ];
        let is_vcpu = matches!(plan.role, Role::Vcpu { .. });
        match plan.role {
            Role::Vcpu { .. } => {
                table.push((fds::KVM, self.kvm.as_fd()));
                table.push((fds::KERNEL, self.guest.kernel.as_fd()));
                table.push((fds::GO, self.go.as_fd()));
                table.extend(self.guest.initrd.iter().map(|file| (fds::INITRD, file.as_fd())));
                table.extend(self.guest.record.iter().map(|file| (fds::RECORD, file.as_fd())));
            }
            Role::Console { .. } => {
                let Streams { stdin, stdout, stderr } = &self.streams;
                table.extend([(0, stdin.as_fd()), (1, stdout.as_fd()), (2, stderr.as_fd())]);
                table.extend(self.guest.agent.then(|| (fds::ORDERS, self.orders.as_fd())));
                table.extend(self.guest.console.iter().map(|file| (fds::LOG, file.as_fd())));
            }
            Role::Blk { device, .. } => {
                let disk = self.guest.disks.get(usize::from(device - consoles(&self.guest)));
                table.extend(disk.map(|image| (fds::IMAGE, image.file.as_fd())));
                let copy = disk.and_then(|image| image.copy.as_ref());
                table.extend(copy.map(|copy| (fds::COPY, copy.as_fd())));
            }
        }
        if !matches!(plan.role, Role::Console { .. }) {
            table.extend([0, 1, 2].map(|number| (number, self.null.as_fd())));
        }
        for (index, _) in plan.served() {
            let Some(wires) = self.wires.get(usize::from(index)) else { continue };
            let control = if is_vcpu { &wires.vcpu_end } else { &wires.device_end };
            table.push((fds::control(index), control.as_fd()));
            table.push((fds::interrupt(index), wires.interrupt.as_fd()));
            let kicks = (0u8..).zip(&wires.kicks);
            table.extend(kicks.map(|(queue, kick)| (fds::kick(index, queue), kick.as_fd())));
        }
        table
    }
}
