//! What a worker is told to be, and what follows from it: its name, its descriptors. [`args`] has the
//! argument vector that says so.

use std::ffi::OsString;
use std::os::fd::RawFd;

use devices::blk::{SECTOR, Shape};
use devices::bounds::Bounds;
use devices::console;
use devices::mmio::Identity;
use devices::throttle::Rates;
use devices::visible::Form;

use crate::fds;
use crate::jail::layers::Layers;

pub mod args;

/// One of the sandbox's processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns the virtual machine.
    Vcpu {
        /// Number of vCPUs.
        cpus: u8,
        /// There is an initramfs.
        initrd: bool,
        /// There is an early console.
        early: bool,
        /// The guest's accesses are recorded.
        record: bool,
        /// The kernel's command line.
        cmdline: OsString,
    },
    /// Serves all consoles.
    Console {
        /// The second console is the agent's channel; without it the first is stdin and stdout.
        agent: bool,
        /// There is a file for the kernel's console.
        log: bool,
        /// How much output there may be, of each stream.
        output: Bounds,
        /// How stdout, stderr and the kernel's console in its file are written.
        forms: [Form; 3],
        /// The size in bytes that no file behind an output grows beyond; `u64::MAX`: no bound.
        file_size: u64,
    },
    /// Serves one block device.
    Blk {
        /// Index of the device.
        device: u8,
        /// What it keeps its sectors in.
        backing: Backing,
        /// How fast it may be.
        rates: Rates,
    },
}

/// What a block device keeps its sectors in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// The image.
    Image,
    /// The image is only read; what is written goes to a file without a name, in which it takes at most
    /// so many bytes.
    Copy(u64),
    /// A file without a name, which is gone with the run.
    Temporary,
}

/// A device of the virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A virtio console.
    Console,
    /// A virtio block device.
    Blk(Shape),
}

impl Device {
    /// The device as the transport presents it.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Console => console::IDENTITY,
            Self::Blk(shape) => shape.identity(),
        }
    }

    /// Indices of the device's queues.
    pub fn queues(&self) -> impl Iterator<Item = u8> + use<> {
        (0..).take(self.identity().queues.len())
    }
}

/// What a descriptor is open on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A pipe.
    Pipe,
    /// A socket.
    Socket,
    /// An event.
    Event,
    /// What the user gave: a file, a terminal, whatever it is.
    Anything,
}

/// Everything a worker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which worker it is.
    pub role: Role,
    /// Size of guest RAM in bytes.
    pub memory: u64,
    /// Transparent huge pages may back RAM.
    pub transparent: bool,
    /// Every device of the virtual machine.
    pub devices: Vec<Device>,
    /// The layers of the jail to put on.
    pub layers: Layers,
}

impl Plan {
    /// Indices and devices that this worker serves, or, for the vcpu worker, all.
    pub fn served(&self) -> impl Iterator<Item = (u8, &Device)> {
        (0u8..).zip(&self.devices).filter(|(index, device)| match self.role {
            Role::Vcpu { .. } => true,
            Role::Console { .. } => matches!(device, Device::Console),
            Role::Blk { device, .. } => device == *index,
        })
    }

    /// Size in bytes of the image behind device `index`, if it is a block device.
    pub fn image_size(&self, index: u8) -> Option<u64> {
        match self.devices.get(usize::from(index))? {
            Device::Blk(shape) => shape.sectors.checked_mul(SECTOR),
            Device::Console => None,
        }
    }

    /// Every descriptor the worker inherits on purpose.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut numbers = vec![fds::STATUS, fds::MEMORY, fds::CONTROL_PAGES];
        match self.role {
            Role::Vcpu { initrd, record, .. } => {
                numbers.extend([fds::KVM, fds::KERNEL, fds::GO]);
                numbers.extend(initrd.then_some(fds::INITRD));
                numbers.extend(record.then_some(fds::RECORD));
            }
            Role::Console { agent, log, .. } => {
                numbers.extend([0, 1, 2]);
                numbers.extend(agent.then_some(fds::ORDERS));
                numbers.extend(log.then_some(fds::LOG));
            }
            Role::Blk { backing, .. } => {
                numbers.push(fds::IMAGE);
                numbers.extend(matches!(backing, Backing::Copy(_)).then_some(fds::COPY));
            }
        }
        for (index, device) in self.served() {
            numbers.extend([fds::control(index), fds::interrupt(index)]);
            numbers.extend(device.queues().map(|queue| fds::kick(index, queue)));
        }
        numbers
    }

    /// Those of them that are still open once the worker is sealed, and what each is open on.
    pub fn sealed_descriptors(&self) -> Vec<(RawFd, On)> {
        let mut table = vec![(fds::STATUS, On::Pipe)];
        match self.role {
            Role::Vcpu { record, .. } => {
                table.push((fds::GO, On::Pipe));
                table.extend(record.then_some((fds::RECORD, On::Anything)));
            }
            Role::Console { agent, log, .. } => {
                table.extend([0, 1, 2].map(|number| (number, On::Anything)));
                table.extend(agent.then_some((fds::ORDERS, On::Pipe)));
                table.extend(log.then_some((fds::LOG, On::Anything)));
            }
            Role::Blk { backing, .. } => {
                table.push((fds::IMAGE, On::Anything));
                let copy = matches!(backing, Backing::Copy(_));
                table.extend(copy.then_some((fds::COPY, On::Anything)));
            }
        }
        for (index, device) in self.served() {
            table.push((fds::control(index), On::Socket));
            // KVM has the events of the vcpu worker; the kicks only if they need not be seen there.
            let (line, kicks) = match self.role {
                Role::Vcpu { record, .. } => (false, record),
                _ => (true, true),
            };
            table.extend(line.then_some((fds::interrupt(index), On::Event)));
            let queues = device.queues().filter(|_| kicks);
            table.extend(queues.map(|queue| (fds::kick(index, queue), On::Event)));
        }
        table
    }

    /// The worker's name: `vcpu`, `console`, `blk0`, …
    pub fn name(&self) -> String {
        match self.role {
            Role::Vcpu { .. } => "vcpu".to_owned(),
            Role::Console { .. } => "console".to_owned(),
            Role::Blk { device, .. } => {
                let before = self.devices.iter().take(usize::from(device));
                let number = before.filter(|device| matches!(device, Device::Blk(_))).count();
                format!("blk{number}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    pub(super) fn plans() -> Vec<Plan> {
        let devices = vec![
            Device::Console,
            Device::Console,
            Device::Blk(Shape { sectors: 8, read_only: true }),
            Device::Blk(Shape { sectors: u64::MAX, read_only: false }),
        ];
        let odd = OsString::from_vec(b"console=hvc0 x=\"a b\" \xff".to_vec());
        [
            Role::Vcpu { cpus: 32, initrd: true, early: false, record: false, cmdline: odd },
            Role::Vcpu {
                cpus: 1,
                initrd: false,
                early: true,
                record: true,
                cmdline: OsString::new(),
            },
            Role::Console {
                agent: true,
                log: false,
                output: Bounds::NONE,
                forms: [Form::Exact; 3],
                file_size: u64::MAX,
            },
            Role::Console {
                agent: false,
                log: true,
                output: Bounds { bytes: 7, per_second: 0 },
                forms: [Form::Ascii, Form::Utf8, Form::Exact],
                file_size: 9,
            },
            Role::Blk { device: 3, backing: Backing::Image, rates: Rates::NONE },
            Role::Blk {
                device: 3,
                backing: Backing::Copy(7),
                rates: Rates { bytes: 1, operations: 2 },
            },
        ]
        .into_iter()
        .map(|role| Plan {
            role,
            memory: 1 << 40,
            transparent: true,
            devices: devices.clone(),
            layers: Layers::ALL,
        })
        .collect()
    }

    #[test]
    fn descriptors_are_those_of_the_table() {
        let expected: [&[RawFd]; 6] = [
            &[3, 4, 5, 6, 7, 8, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30],
            &[3, 4, 5, 6, 8, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30],
            &[0, 1, 2, 3, 4, 5, 10, 16, 17, 18, 19, 20, 21, 22, 23],
            &[0, 1, 2, 3, 4, 6, 10, 16, 17, 18, 19, 20, 21, 22, 23],
            &[3, 4, 5, 10, 28, 29, 30],
            &[3, 4, 5, 6, 10, 28, 29, 30],
        ];
        for (plan, expected) in plans().iter().zip(expected) {
            let mut numbers = plan.descriptors();
            numbers.sort_unstable();
            assert_eq!(numbers, expected, "{}", plan.name());
        }
    }

    #[test]
    fn a_sealed_worker_has_closed_what_set_up_alone_needs() {
        let expected: [&[RawFd]; 6] = [
            &[3, 8, 16, 20, 24, 28],
            &[3, 8, 9, 16, 18, 19, 20, 22, 23, 24, 26, 28, 30],
            &[0, 1, 2, 3, 5, 16, 17, 18, 19, 20, 21, 22, 23],
            &[0, 1, 2, 3, 6, 16, 17, 18, 19, 20, 21, 22, 23],
            &[3, 5, 28, 29, 30],
            &[3, 5, 6, 28, 29, 30],
        ];
        for (plan, expected) in plans().iter().zip(expected) {
            let mut numbers: Vec<RawFd> =
                plan.sealed_descriptors().into_iter().map(|(number, _)| number).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, expected, "{}", plan.name());
            assert!(numbers.iter().all(|number| plan.descriptors().contains(number)));
        }
    }

    #[test]
    fn names_count_disks_and_not_devices() {
        let names: Vec<String> = plans().iter().map(Plan::name).collect();
        assert_eq!(names, ["vcpu", "vcpu", "console", "console", "blk1", "blk1"]);
    }
}
