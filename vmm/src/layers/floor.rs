//! What a sandbox has to have before its guest may run.

use anyhow::{Result, bail};
use worker::jail::layers::Layer;

use super::{Finding, State};

/// What a sandbox has to have: the default floor, and what the command line adds and takes away.
#[derive(Clone, Debug)]
pub struct Floor {
    required: Vec<(Layer, u8)>,
}

/// Layers that a run can go without by default: an unprivileged user may have no control group to
/// divide, and not every kernel or CPU has core scheduling.
const OPTIONAL: [Layer; 2] = [Layer::Cgroup, Layer::CoreSched];

/// A layer on the command line: `NAME` or `NAME>=LEVEL`.
pub type Requirement = (Layer, u8);

/// Parses a requirement.
pub fn parse_requirement(text: &str) -> Result<Requirement, String> {
    let (name, level) = match text.split_once(">=") {
        Some((name, level)) => (name, level.parse().map_err(|_| "the level has to be a number")?),
        None => (text, 1),
    };
    let layer = parse_layer(name)?;
    Ok((layer, level))
}

/// Parses a layer's name.
pub fn parse_layer(name: &str) -> Result<Layer, String> {
    Layer::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Layer::ALL.into_iter().map(Layer::name).collect();
        format!("no such layer; there are {}", names.join(", "))
    })
}

impl Floor {
    /// The default floor with `more` added and `missing` taken away.
    pub fn new(more: &[Requirement], missing: &[Layer]) -> Self {
        let default = Layer::ALL.into_iter().filter(|layer| !OPTIONAL.contains(layer));
        let required = default
            .filter(|layer| !missing.contains(layer))
            .map(|layer| (layer, 1))
            .chain(more.iter().copied())
            .collect();
        Self { required }
    }

    /// Refuses when a required layer is not on in full for every worker.
    pub fn check(&self, findings: &[Finding]) -> Result<()> {
        for &(layer, level) in &self.required {
            for finding in findings.iter().filter(|finding| finding.layer == layer) {
                if finding.state != State::Active {
                    bail!(
                        "layer {} of the {} worker is {} ({}; --insecure-allow-missing {} goes \
                         without it)",
                        layer.name(),
                        finding.worker,
                        finding.state,
                        remedy(layer),
                        layer.name()
                    );
                }
                if finding.level < level {
                    bail!(
                        "layer {} has level {}, {level} is required ({})",
                        layer.name(),
                        finding.level,
                        remedy(layer)
                    );
                }
            }
        }
        Ok(())
    }
}

/// What would bring the layer that a worker says it could not put on, if it says that.
pub fn remedy_for(failure: &str) -> Option<&'static str> {
    let (name, _) = failure.strip_prefix("jail layer ")?.split_once(':')?;
    Layer::from_name(name).map(remedy)
}

/// What would bring a layer.
fn remedy(layer: Layer) -> &'static str {
    match layer {
        Layer::UserNs => "sysctl -w user.max_user_namespaces=16384",
        Layer::Landlock => "boot with lsm=landlock,… on a kernel with CONFIG_SECURITY_LANDLOCK",
        Layer::Cgroup => {
            "run as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes"
        }
        Layer::CoreSched => "it takes a kernel with CONFIG_SCHED_CORE on a CPU with SMT",
        Layer::Seccomp => "it takes a kernel with CONFIG_SECCOMP_FILTER",
        Layer::PidNs | Layer::NetNs | Layer::IpcNs | Layer::UtsNs | Layer::CgroupNs => {
            "it takes a kernel with this kind of namespace, and leave to make one"
        }
        Layer::Root
        | Layer::Descriptors
        | Layer::Limits
        | Layer::Capabilities
        | Layer::NoNewPrivs => "no host should lack it: does a security module confine casemate?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(layer: Layer, state: State, level: u8) -> Finding {
        Finding { worker: "blk0".to_owned(), layer, state, level }
    }

    #[test]
    fn the_floor_refuses_what_is_missing_and_says_how_to_mend_it() {
        let absent = || State::Absent("no".to_owned());
        let partial = || State::Partial("half".to_owned());
        let none = Floor::new(&[], &[]);
        for layer in Layer::ALL {
            let refused = none.check(&[finding(layer, absent(), 1)]).is_err();
            assert_eq!(refused, !OPTIONAL.contains(&layer), "{}", layer.name());
            assert!(none.check(&[finding(layer, State::Active, 1)]).is_ok());
            let required = Floor::new(&[(layer, 1)], &[]);
            assert!(required.check(&[finding(layer, absent(), 1)]).is_err());
            assert!(required.check(&[finding(layer, partial(), 1)]).is_err());
            let without = Floor::new(&[], &[layer]);
            assert!(without.check(&[finding(layer, absent(), 1)]).is_ok());
        }
        let abi = Floor::new(&[(Layer::Landlock, 6)], &[]);
        assert!(abi.check(&[finding(Layer::Landlock, State::Active, 6)]).is_ok());
        let error = abi.check(&[finding(Layer::Landlock, State::Active, 2)]).unwrap_err();
        assert!(error.to_string().contains("level 2, 6 is required"), "{error}");
    }

    #[test]
    fn requirements_are_parsed() {
        assert_eq!(parse_requirement("landlock>=6"), Ok((Layer::Landlock, 6)));
        assert_eq!(parse_requirement("cgroup"), Ok((Layer::Cgroup, 1)));
        for bad in ["", "wall", "landlock>=", "landlock>=x"] {
            assert!(parse_requirement(bad).is_err(), "{bad}");
        }
    }
}
