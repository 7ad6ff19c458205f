//! Techniques times layers: what is tried behind what, and what came of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use prober::catalogue::{DOCUMENTED, TECHNIQUES, Technique, Where};
use serde::Serialize;
use worker::jail::layers::{Layer, Layers};
use worker::plan::{Device, Plan, Role};

use super::probe::{Cell, Range, Walked};

/// The layers that have columns. Core scheduling stops no system call: it is about timing.
pub fn columns() -> impl Iterator<Item = Layer> {
    Layer::ALL.into_iter().filter(|layer| *layer != Layer::CoreSched)
}

/// One technique in one role.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The technique.
    pub id: &'static str,
    /// What it is about.
    pub group: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Why it may get through, if it may.
    pub documented: Option<&'static str>,
    /// Without any layer.
    pub host: Cell,
    /// With all.
    pub all: Cell,
    /// With one alone.
    pub alone: BTreeMap<&'static str, Cell>,
    /// With all but one.
    pub without: BTreeMap<&'static str, Cell>,
}

impl Row {
    /// Gets through all layers without being on the list of those that may.
    pub fn is_breach(&self) -> bool {
        self.all == Cell::Through && self.documented.is_none()
    }
}

/// All techniques in one role.
#[derive(Debug, Serialize)]
pub struct Matrix {
    /// The worker.
    pub worker: String,
    /// What the walk over every system call found.
    pub calls: Walked,
    /// The techniques.
    pub techniques: Vec<Row>,
}

impl Matrix {
    /// Nothing gets through that may not, and the filter is what its table says.
    pub fn holds(&self) -> bool {
        self.calls.mismatch.is_none() && !self.techniques.iter().any(Row::is_breach)
    }
}

/// What is to be tried.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only these techniques; none: all.
    pub only: Vec<String>,
    /// Only without and with all layers.
    pub quick: bool,
    /// The drill runs as root.
    pub root: bool,
    /// There is a control group.
    pub cgroup: bool,
}

/// The techniques that `scope` names and that make sense in `plan`'s worker.
pub fn techniques<'a>(
    scope: &'a Scope,
    plan: &'a Plan,
) -> impl Iterator<Item = &'static Technique> + 'a {
    let wanted = |id: &str| scope.only.is_empty() || scope.only.iter().any(|only| only == id);
    TECHNIQUES.iter().filter(move |technique| wanted(technique.id) && has_place(technique, plan))
}

fn has_place(technique: &Technique, plan: &Plan) -> bool {
    let read_only = match plan.role {
        Role::Blk { device, .. } => match plan.devices.get(usize::from(device)) {
            Some(Device::Blk(shape)) => Some(shape.read_only),
            _ => None,
        },
        Role::Vcpu { .. } | Role::Console { .. } => None,
    };
    match technique.place {
        Where::Any => true,
        Where::Disk => read_only == Some(false),
        Where::ReadOnlyDisk => read_only == Some(true),
        Where::Vcpu => matches!(plan.role, Role::Vcpu { .. }),
        Where::Device => !matches!(plan.role, Role::Vcpu { .. }),
    }
}

/// Layers that `layer` cannot be put on without. `root`: the launcher is privileged.
fn needs(layer: Layer, root: bool) -> Layers {
    let none = Layers::NONE;
    match layer {
        _ if root => none,
        Layer::Root
        | Layer::PidNs
        | Layer::NetNs
        | Layer::IpcNs
        | Layer::UtsNs
        | Layer::CgroupNs => none.with(Layer::UserNs),
        // Only the privileged may filter a process that could gain privileges, and only the owner of its
        // user namespace may take the listener of one that is not dumpable.
        Layer::Seccomp => none.with(Layer::NoNewPrivs).with(Layer::UserNs),
        _ => none,
    }
}

/// `layer` and what it cannot be without.
fn alone(layer: Layer, root: bool) -> Layers {
    let needed = needs(layer, root);
    Layer::ALL
        .into_iter()
        .filter(|other| needed.has(*other))
        .fold(Layers::NONE.with(layer), |set, other| set.with(other))
}

/// All layers but `layer` and those that cannot be without it.
fn without(layer: Layer, root: bool) -> Layers {
    let lost = Layer::ALL.into_iter().filter(|other| needs(*other, root).has(layer));
    lost.fold(Layers::ALL.without(layer), Layers::without)
}

/// Tries one technique behind everything that it is to be tried behind.
pub fn row(range: &Range<'_>, plan: &Plan, technique: &Technique, scope: &Scope) -> Result<Row> {
    let attempt = |layers: Layers| -> Result<Cell> {
        let cell = range.attempt(&plan.role, layers, technique.id).with_context(|| {
            format!("cannot try {} behind layers {}", technique.id, layers.to_text())
        })?;
        Ok(match technique.confined_by {
            Some(layer) if cell == Cell::Through && layers.has(layer) => {
                Cell::Confined { layer: layer.name() }
            }
            _ => cell,
        })
    };
    let host = attempt(Layers::NONE)?;
    let all = attempt(Layers::ALL)?;
    let (mut one, mut but) = (BTreeMap::new(), BTreeMap::new());
    // What the host itself refuses says nothing about a layer.
    if !scope.quick && host == Cell::Through {
        for layer in columns().filter(|layer| scope.cgroup || *layer != Layer::Cgroup) {
            one.insert(layer.name(), attempt(alone(layer, scope.root))?);
            but.insert(layer.name(), attempt(without(layer, scope.root))?);
        }
    }
    let documented = DOCUMENTED.iter().find(|(id, _)| *id == technique.id).map(|(_, why)| *why);
    Ok(Row {
        id: technique.id,
        group: technique.group.title(),
        what: technique.what,
        documented,
        host,
        all,
        alone: one,
        without: but,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_comes_with_what_it_needs_and_goes_with_what_needs_it() {
        for layer in Layer::ALL {
            assert_eq!(alone(layer, true), Layers::NONE.with(layer));
            assert_eq!(without(layer, true), Layers::ALL.without(layer));
            assert!(alone(layer, false).has(layer) && !without(layer, false).has(layer));
        }
        assert!(alone(Layer::Root, false).has(Layer::UserNs));
        let no_user_ns = without(Layer::UserNs, false);
        assert!(!no_user_ns.has(Layer::PidNs) && no_user_ns.has(Layer::Landlock));
        assert!(!without(Layer::NoNewPrivs, false).has(Layer::Seccomp));
    }
}
