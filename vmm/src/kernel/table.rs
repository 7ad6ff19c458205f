//! What a guest needs of its kernel, a row for each.

/// Why something is needed, and what is without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// No guest works without.
    Needed,
    /// One of these is needed: the root file system is of one of these kinds.
    Root,
    /// Something works less well, or not at all, that not everybody uses.
    Useful,
}

/// One requirement.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// What people call it.
    pub name: &'static str,
    /// Its symbol in the kernel's configuration, without `CONFIG_`.
    pub symbol: &'static str,
    /// Its module, if it may be one, as `lsmod` writes it.
    pub module: Option<&'static str>,
    /// How much it matters.
    pub weight: Weight,
    /// What it is needed for.
    pub why: &'static str,
}

const fn driver(
    module: &'static str,
    symbol: &'static str,
    weight: Weight,
    why: &'static str,
) -> Need {
    Need { name: module, symbol, module: Some(module), weight, why }
}

const fn built_in(
    name: &'static str,
    symbol: &'static str,
    weight: Weight,
    why: &'static str,
) -> Need {
    Need { name, symbol, module: None, weight, why }
}

use Weight::{Needed, Root, Useful};

/// Every requirement. The modules are those that `run` gives to a guest, see `host/modules.rs`.
pub const NEEDS: &[Need] = &[
    built_in("acpi", "ACPI", Needed, "the devices are found by it"),
    driver("virtio_mmio", "VIRTIO_MMIO", Needed, "the transport of every device"),
    driver("virtio_blk", "VIRTIO_BLK", Needed, "the root file system and disks"),
    driver("virtio_console", "VIRTIO_CONSOLE", Needed, "the channel of the command"),
    built_in("initramfs", "BLK_DEV_INITRD", Needed, "the agent is in one"),
    built_in("elf", "BINFMT_ELF", Needed, "the agent is one"),
    driver("overlay", "OVERLAY_FS", Needed, "what the command writes goes over the root"),
    built_in("tmpfs", "SHMEM", Needed, "what the command writes goes there"),
    built_in("devtmpfs", "DEVTMPFS", Needed, "/dev"),
    built_in("procfs", "PROC_FS", Needed, "/proc"),
    built_in("sysfs", "SYSFS", Useful, "/sys"),
    built_in("devpts", "UNIX98_PTYS", Useful, "a terminal for the command"),
    driver("squashfs", "SQUASHFS", Root, "roots that casemate makes"),
    built_in("squashfs-zlib", "SQUASHFS_ZLIB", Useful, "roots that casemate makes"),
    driver("ext4", "EXT4_FS", Root, "roots and disks of that kind"),
    driver("erofs", "EROFS_FS", Root, "roots of that kind"),
    built_in("early-console", "EARLY_PRINTK", Useful, "--earlycon"),
    built_in("smp", "SMP", Useful, "--cpus above 1"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::host::modules::WANTED;

    #[test]
    fn every_module_that_a_guest_gets_is_checked_and_no_other() {
        let checked: BTreeSet<&str> = NEEDS.iter().filter_map(|need| need.module).collect();
        assert_eq!(checked, WANTED.into_iter().collect());
    }
}
