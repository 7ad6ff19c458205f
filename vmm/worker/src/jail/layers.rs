//! The layers by name. All are on; only the drill, which measures each alone, asks for fewer.

/// One layer of the jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Layer {
    /// A user namespace in which an unprivileged user of the host is mapped.
    UserNs,
    /// An empty, read-only root in a mount namespace of its own.
    Root,
    /// A pid namespace.
    PidNs,
    /// A network namespace without any interface up.
    NetNs,
    /// An ipc namespace.
    IpcNs,
    /// A uts namespace.
    UtsNs,
    /// A cgroup namespace.
    CgroupNs,
    /// A control group with limits.
    Cgroup,
    /// A core-scheduling cookie: no SMT sibling runs anything else at the same time.
    CoreSched,
    /// No descriptor but the table's.
    Descriptors,
    /// Resource limits.
    Limits,
    /// No capability, in any set, ever again.
    Capabilities,
    /// no_new_privs, and not dumpable.
    NoNewPrivs,
    /// Landlock, everything denied.
    Landlock,
    /// A system-call allow-list.
    Seccomp,
}

impl Layer {
    /// Every layer, in the order in which they are put on.
    pub const ALL: [Self; 15] = [
        Self::UserNs,
        Self::Root,
        Self::PidNs,
        Self::NetNs,
        Self::IpcNs,
        Self::UtsNs,
        Self::CgroupNs,
        Self::Cgroup,
        Self::CoreSched,
        Self::Descriptors,
        Self::Limits,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::Landlock,
        Self::Seccomp,
    ];

    /// The layer's name for people and for the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserNs => "user-ns",
            Self::Root => "root",
            Self::PidNs => "pid-ns",
            Self::NetNs => "net-ns",
            Self::IpcNs => "ipc-ns",
            Self::UtsNs => "uts-ns",
            Self::CgroupNs => "cgroup-ns",
            Self::Cgroup => "cgroup",
            Self::CoreSched => "core-sched",
            Self::Descriptors => "descriptors",
            Self::Limits => "limits",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivs => "no-new-privs",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }

    /// The layer with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.name() == name)
    }
}

/// A set of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers(u32);

impl Layers {
    /// No layer.
    pub const NONE: Self = Self(0);
    /// Every layer.
    pub const ALL: Self = Self((1 << Layer::ALL.len()) - 1);

    /// True when `layer` is in the set.
    pub fn has(self, layer: Layer) -> bool {
        self.0 & (1 << layer as u8) != 0
    }

    /// The set with `layer`.
    #[must_use]
    pub fn with(self, layer: Layer) -> Self {
        Self(self.0 | (1 << layer as u8))
    }

    /// The set without `layer`.
    #[must_use]
    pub fn without(self, layer: Layer) -> Self {
        Self(self.0 & !(1 << layer as u8))
    }

    /// The set as text: names with commas, `all` or `none`.
    pub fn to_text(self) -> String {
        match self {
            Self::ALL => "all".to_owned(),
            Self::NONE => "none".to_owned(),
            _ => {
                let names: Vec<_> = Layer::ALL
                    .into_iter()
                    .filter(|&layer| self.has(layer))
                    .map(Layer::name)
                    .collect();
                names.join(",")
            }
        }
    }

    /// Reads back what [`Layers::to_text`] wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::ALL),
            "none" => Some(Self::NONE),
            names => names
                .split(',')
                .try_fold(Self::NONE, |set, name| Some(set.with(Layer::from_name(name)?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_survive_the_way() {
        for layer in Layer::ALL {
            assert_eq!(Layer::from_name(layer.name()), Some(layer));
            for set in [Layers::NONE.with(layer), Layers::ALL.without(layer)] {
                assert_eq!(Layers::from_text(&set.to_text()), Some(set));
            }
            assert!(!Layers::ALL.without(layer).has(layer));
        }
        assert_eq!(Layers::from_text("all"), Some(Layers::ALL));
        assert_eq!(Layers::from_text("none"), Some(Layers::NONE));
        assert_eq!(Layers::from_text("root,wall"), None);
        assert_eq!(Layers::from_text(""), None);
    }
}
