//! What the process is told to do, as its argument vector, and the descriptors it does it with.
//!
//! | number | open on |
//! |---|---|
//! | 3 | status pipe |
//! | 5 | the source, or the image to inspect: a regular file, for reading |
//! | 6 | the image to build, or the directory to unpack into, or an empty file for what is found: for writing |
//! | 8 | the go: a pipe from the launcher |

use std::ffi::OsString;
use std::os::fd::RawFd;

use worker::fds;
use worker::jail::layers::Layers;

/// The source.
pub const SOURCE: RawFd = 5;
/// Where the result goes.
pub const RESULT: RawFd = 6;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Build an image.
    Build {
        /// How much there may be in it, in bytes.
        most: u64,
        /// Take an archive of layers for the files it consists of.
        plain: bool,
    },
    /// Say what is in an image.
    Inspect,
    /// Unpack what a guest has written into a directory.
    Unpack {
        /// How much may come out, in bytes.
        most: u64,
    },
    /// Say how an image wants to be run.
    Execution,
}

/// Everything the process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub task: Task,
    /// The layers of the jail to put on.
    pub layers: Layers,
}

impl Order {
    /// The order as an argument vector.
    pub fn to_args(&self) -> Vec<OsString> {
        let task = match self.task {
            Task::Build { most, plain } => format!("build={most},{plain}"),
            Task::Inspect => "inspect".to_owned(),
            Task::Unpack { most } => format!("unpack={most}"),
            Task::Execution => "execution".to_owned(),
        };
        ["casemate-image".to_owned(), task, format!("layers={}", self.layers.to_text())]
            .map(OsString::from)
            .into()
    }

    /// Reads back what [`Order::to_args`] wrote.
    pub fn from_args(args: &[OsString]) -> Option<Self> {
        let [_, task, layers] = args else { return None };
        let task = match task.to_str()? {
            "inspect" => Task::Inspect,
            unpack if unpack.starts_with("unpack=") => {
                Task::Unpack { most: unpack.strip_prefix("unpack=")?.parse().ok()? }
            }
            "execution" => Task::Execution,
            build => {
                let (most, plain) = build.strip_prefix("build=")?.split_once(',')?;
                Task::Build { most: most.parse().ok()?, plain: plain.parse().ok()? }
            }
        };
        let layers = Layers::from_text(layers.to_str()?.strip_prefix("layers=")?)?;
        Some(Self { task, layers })
    }

    /// Every descriptor that the process inherits on purpose.
    pub fn descriptors() -> Vec<RawFd> {
        vec![fds::STATUS, SOURCE, RESULT, fds::GO]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_way() {
        for task in [
            Task::Inspect,
            Task::Execution,
            Task::Build { most: u64::MAX, plain: true },
            Task::Unpack { most: 7 },
        ] {
            let order = Order { task, layers: Layers::ALL };
            assert_eq!(Order::from_args(&order.to_args()), Some(order));
            assert_eq!(Order::from_args(&order.to_args()[1..]), None);
        }
    }
}
