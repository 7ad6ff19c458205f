//! A plan as the worker's argument vector, so that a process list says what each worker does; nothing in
//! it is secret or comes from the guest.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use devices::blk::Shape;
use devices::bounds::Bounds;
use devices::throttle::Rates;
use devices::visible::Form;

use super::{Backing, Device, Plan, Role};
use crate::jail::layers::Layers;

/// An argument vector that no launcher writes.
#[derive(Debug, thiserror::Error)]
#[error("malformed worker argument {0:?}")]
pub struct Malformed(OsString);

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

impl Plan {
    /// The plan as an argument vector, the worker's name first.
    pub fn to_args(&self) -> Vec<OsString> {
        let devices: Vec<String> = self.devices.iter().map(device_to_text).collect();
        let mut args: Vec<OsString> = vec![
            format!("casemate-{}", self.name()).into(),
            format!("memory={}", self.memory).into(),
            format!("transparent={}", self.transparent).into(),
            format!("devices={}", devices.join(",")).into(),
            format!("layers={}", self.layers.to_text()).into(),
        ];
        match &self.role {
            Role::Vcpu { cpus, initrd, early, record, cmdline } => {
                args.push(format!("cpus={cpus}").into());
                args.push(format!("record={record}").into());
                args.push(format!("early={early}").into());
                args.push(format!("initrd={initrd}").into());
                let mut text = OsString::from("cmdline=");
                text.push(cmdline);
                args.push(text);
            }
            Role::Console { agent, log, output, forms, file_size } => {
                args.push(format!("agent={agent}").into());
                args.push(format!("log={log}").into());
                args.push(format!("output={}", output.bytes).into());
                args.push(format!("rate={}", output.per_second).into());
                args.push(format!("forms={}", forms.map(Form::name).join(",")).into());
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
                early: parse(field("early")?)?,
                record: parse(field("record")?)?,
                cmdline: field("cmdline")?.to_owned(),
            },
            b"casemate-console" => Role::Console {
                agent: parse(field("agent")?)?,
                log: parse(field("log")?)?,
                output: Bounds {
                    bytes: parse(field("output")?)?,
                    per_second: parse(field("rate")?)?,
                },
                forms: forms(field("forms")?)?,
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
        let (memory, transparent) = (parse(field("memory")?)?, parse(field("transparent")?)?);
        Ok(Self { role, memory, transparent, devices, layers })
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

fn forms(text: &OsStr) -> Result<[Form; 3], Malformed> {
    let names = text.to_str().unwrap_or_default().split(',');
    let forms: Option<Vec<Form>> = names.map(Form::from_name).collect();
    forms.and_then(|forms| forms.try_into().ok()).ok_or_else(|| Malformed(text.to_owned()))
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
    use super::super::tests::plans;
    use super::*;

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
            "transparent=true",
            "devices=disk",
            "layers=all",
            "serves=0",
            "backing=image",
            "rate=1",
            "operations=1",
        ]
        .map(OsString::from);
        assert!(Plan::from_args(&broken).is_err());
        for text in ["", "utf8", "utf8,utf8,raw", "exact,exact,exact,exact"] {
            assert!(forms(OsStr::new(text)).is_err(), "{text}");
        }
    }
}
