//! What a worker is told to be. The launcher writes it as the worker's argument vector, so that a
//! process list says what each worker does; nothing in it is secret or comes from the guest.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use devices::blk::{SECTOR, Shape};
use devices::bounds::Bounds;
use devices::console;
use devices::mmio::Identity;
use devices::throttle::Rates;

use crate::fds;
use crate::jail::layers::Layers;

/// One of the sandbox's processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns the virtual machine.
    Vcpu {
        /// Number of vCPUs.
        cpus: u8,
        /// There is an initramfs.
        initrd: bool,
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

impl Backing {
    fn to_text(self) -> String {
        match self {
            Self::Image => "image".to_owned(),
            Self::Copy(most) => format!("copy:{most}"),
            Self::Temporary => "temporary".to_owned(),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "image" => Some(Self::Image),
            "temporary" => Some(Self::Temporary),
            copy => Some(Self::Copy(copy.strip_prefix("copy:")?.parse().ok()?)),
        }
    }
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
    /// Every device of the virtual machine.
    pub devices: Vec<Device>,
    /// The layers of the jail to put on.
    pub layers: Layers,
}

/// An argument vector that no launcher writes.
#[derive(Debug, thiserror::Error)]
#[error("malformed worker argument {0:?}")]
pub struct Malformed(OsString);

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

    /// Offset of device `index`'s control page in the memfd; RAM lies before the pages.
    pub fn control_page(&self, index: u8) -> u64 {
        self.memory + u64::from(index) * 4096
    }

    /// Every descriptor the worker inherits on purpose.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut numbers = vec![fds::STATUS, fds::MEMORY];
        match self.role {
            Role::Vcpu { initrd, .. } => {
                numbers.extend([fds::KVM, fds::KERNEL, fds::GO]);
                numbers.extend(initrd.then_some(fds::INITRD));
            }
            Role::Console { agent, log, .. } => {
                numbers.extend([0, 1, 2]);
                numbers.extend(agent.then_some(fds::SIGNALS));
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
        let is_vcpu = matches!(self.role, Role::Vcpu { .. });
        match self.role {
            Role::Vcpu { .. } => table.push((fds::GO, On::Pipe)),
            Role::Console { agent, log, .. } => {
                table.extend([0, 1, 2].map(|number| (number, On::Anything)));
                table.extend(agent.then_some((fds::SIGNALS, On::Pipe)));
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
            // KVM has the events of the vcpu worker.
            if !is_vcpu {
                table.push((fds::interrupt(index), On::Event));
                table.extend(device.queues().map(|queue| (fds::kick(index, queue), On::Event)));
            }
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

    /// The plan as an argument vector, the worker's name first.
    pub fn to_args(&self) -> Vec<OsString> {
        let devices: Vec<String> = self.devices.iter().map(device_to_text).collect();
        let mut args: Vec<OsString> = vec![
            format!("casemate-{}", self.name()).into(),
            format!("memory={}", self.memory).into(),
            format!("devices={}", devices.join(",")).into(),
            format!("layers={}", self.layers.to_text()).into(),
        ];
        match &self.role {
            Role::Vcpu { cpus, initrd, cmdline } => {
                args.push(format!("cpus={cpus}").into());
                args.push(format!("initrd={initrd}").into());
                let mut text = OsString::from("cmdline=");
                text.push(cmdline);
                args.push(text);
            }
            Role::Console { agent, log, output, file_size } => {
                args.push(format!("agent={agent}").into());
                args.push(format!("log={log}").into());
                args.push(format!("output={}", output.bytes).into());
                args.push(format!("rate={}", output.per_second).into());
                args.push(format!("file-size={file_size}").into());
            }
            Role::Blk { device, backing, rates } => {
                args.push(format!("serves={device}").into());
                args.push(format!("backing={}", backing.to_text()).into());
                args.push(format!("rate={}", rates.bytes).into());
                args.push(format!("operations={}", rates.operations).into());
            }
        }
        args
    }

    /// Reads back what [`Plan::to_args`] wrote.
    pub fn from_args(args: &[OsString]) -> Result<Self, Malformed> {
        let name = args.first().map(OsString::as_os_str).unwrap_or_default();
        let field = |key: &str| field(args, key).ok_or_else(|| Malformed(key.into()));
        let role = match name.as_bytes() {
            b"casemate-vcpu" => Role::Vcpu {
                cpus: parse(field("cpus")?)?,
                initrd: parse(field("initrd")?)?,
                cmdline: field("cmdline")?.to_owned(),
            },
            b"casemate-console" => Role::Console {
                agent: parse(field("agent")?)?,
                log: parse(field("log")?)?,
                output: Bounds {
                    bytes: parse(field("output")?)?,
                    per_second: parse(field("rate")?)?,
                },
                file_size: parse(field("file-size")?)?,
            },
            name if name.starts_with(b"casemate-blk") => Role::Blk {
                device: parse(field("serves")?)?,
                backing: field("backing")?
                    .to_str()
                    .and_then(Backing::from_text)
                    .ok_or_else(|| Malformed("backing".into()))?,
                rates: Rates {
                    bytes: parse(field("rate")?)?,
                    operations: parse(field("operations")?)?,
                },
            },
            _ => return Err(Malformed(name.to_owned())),
        };
        let devices = field("devices")?;
        let texts = devices.to_str().ok_or_else(|| Malformed(devices.to_owned()))?.split(',');
        let devices = texts.map(device_from_text).collect::<Result<_, _>>()?;
        let layers = field("layers")?;
        let layers = layers.to_str().and_then(Layers::from_text);
        let layers = layers.ok_or_else(|| Malformed("layers".into()))?;
        Ok(Self { role, memory: parse(field("memory")?)?, devices, layers })
    }
}

fn field<'a>(args: &'a [OsString], key: &str) -> Option<&'a OsStr> {
    args.iter().find_map(|arg| {
        let rest = arg.as_bytes().strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
        Some(OsStr::from_bytes(rest))
    })
}

fn parse<T: std::str::FromStr>(text: &OsStr) -> Result<T, Malformed> {
    text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| Malformed(text.to_owned()))
}

fn device_to_text(device: &Device) -> String {
    match device {
        Device::Console => "console".to_owned(),
        Device::Blk(Shape { sectors, read_only: false }) => format!("blk:{sectors}"),
        Device::Blk(Shape { sectors, read_only: true }) => format!("blk:{sectors}:ro"),
    }
}

fn device_from_text(text: &str) -> Result<Device, Malformed> {
    let malformed = || Malformed(OsString::from_vec(text.into()));
    if text == "console" {
        return Ok(Device::Console);
    }
    let shape = text.strip_prefix("blk:").ok_or_else(malformed)?;
    let (sectors, read_only) = match shape.strip_suffix(":ro") {
        Some(sectors) => (sectors, true),
        None => (shape, false),
    };
    Ok(Device::Blk(Shape { sectors: sectors.parse().map_err(|_| malformed())?, read_only }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans() -> Vec<Plan> {
        let devices = vec![
            Device::Console,
            Device::Console,
            Device::Blk(Shape { sectors: 8, read_only: true }),
            Device::Blk(Shape { sectors: u64::MAX, read_only: false }),
        ];
        let odd = OsString::from_vec(b"console=hvc0 x=\"a b\" \xff".to_vec());
        [
            Role::Vcpu { cpus: 32, initrd: true, cmdline: odd },
            Role::Vcpu { cpus: 1, initrd: false, cmdline: OsString::new() },
            Role::Console { agent: true, log: false, output: Bounds::NONE, file_size: u64::MAX },
            Role::Console {
                agent: false,
                log: true,
                output: Bounds { bytes: 7, per_second: 0 },
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
        .map(|role| Plan { role, memory: 1 << 40, devices: devices.clone(), layers: Layers::ALL })
        .collect()
    }

    #[test]
    fn plans_survive_the_way() {
        for plan in plans() {
            assert_eq!(Plan::from_args(&plan.to_args()).unwrap(), plan);
        }
    }

    #[test]
    fn a_plan_with_a_field_missing_or_broken_is_refused() {
        for plan in plans() {
            let args = plan.to_args();
            for index in 0..args.len() {
                let mut without = args.clone();
                without.remove(index);
                assert!(Plan::from_args(&without).is_err(), "{without:?}");
            }
        }
        let broken = [
            "casemate-blk0",
            "memory=1",
            "devices=disk",
            "layers=all",
            "serves=0",
            "backing=image",
            "rate=1",
            "operations=1",
        ]
        .map(OsString::from);
        assert!(Plan::from_args(&broken).is_err());
    }

    #[test]
    fn descriptors_are_those_of_the_table() {
        let expected: [&[RawFd]; 6] = [
            &[3, 4, 5, 6, 7, 8, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30],
            &[3, 4, 5, 6, 8, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30],
            &[0, 1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21, 22, 23],
            &[0, 1, 2, 3, 4, 6, 16, 17, 18, 19, 20, 21, 22, 23],
            &[3, 4, 5, 28, 29, 30],
            &[3, 4, 5, 6, 28, 29, 30],
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
            &[3, 8, 16, 20, 24, 28],
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
