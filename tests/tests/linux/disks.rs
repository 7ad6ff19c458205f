//! Disks: what is written is in the image, and a read-only image is left alone.

use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

use crate::{NEEDS, run, script, tool};

/// `mount DEVICE DIRECTORY FLAGS`, which the userland has no program for.
const MOUNT: &str = "mount() { python3 -c '
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
device, directory, flags = sys.argv[1].encode(), sys.argv[2].encode(), int(sys.argv[3])
if libc.mount(device, directory, b\"ext4\", flags, None):
    sys.exit(os.strerror(ctypes.get_errno()))' \"$@\"; }
";

const WRITE: &str = "
set -e
mount /dev/vdb /mnt 0
echo kept >/mnt/file
sync
seq 1000 >/mnt/more
printf casemate | dd of=/dev/vdc bs=8 seek=64 conv=notrunc,fsync 2>/dev/null
cat /sys/block/vdb/ro /sys/block/vdc/ro /sys/block/vdd/ro
printf x | dd of=/dev/vdd conv=notrunc,fsync 2>/dev/null || echo refused
mount /dev/vdd /media 0 2>/dev/null || echo refused
# Now the guest's kernel does not stand in the way, and the device has to refuse by itself.
blockdev --setrw /dev/vdd
printf x | dd of=/dev/vdd conv=notrunc,fsync 2>/dev/null || echo refused
";

const READ: &str = "
set -e
mount /dev/vdb /mnt 1
cat /mnt/file
dd if=/dev/vdc bs=8 skip=64 count=1 2>/dev/null
";

pub fn tests() -> Vec<Test> {
    let needs = [NEEDS, &[Need::Tool("mke2fs"), Need::Tool("e2fsck"), Need::Tool("debugfs")]];
    vec![Test::new("disks::written_read_again_and_refused", &needs.concat(), disks)]
}

fn disks() {
    let dir = Scratch::new();
    let mut raw = noise(2, 1 << 20);
    dir.write("raw.img", &raw);
    for image in ["ext4.img", "constant.img"] {
        tool(&dir, "mke2fs", &["-q", "-t", "ext4", image, "16M"]);
    }
    let constant = dir.read("constant.img");

    let disks = ["--disk", "ext4.img", "--disk", "raw.img", "--disk", "constant.img,ro"];
    let end = run(&dir, &disks, &script(&format!("{MOUNT}{WRITE}"))).end();
    end.exits(0).prints("0\n0\n1\nrefused\nrefused\nrefused\n").is_silent();

    raw[512..520].copy_from_slice(b"casemate");
    assert_same(&dir.read("raw.img"), &raw, "the raw image");
    assert_same(&dir.read("constant.img"), &constant, "the read-only image");
    // The command left the file system mounted; the agent unmounted it.
    tool(&dir, "e2fsck", &["-f", "-n", "ext4.img"]);
    assert_same(&tool(&dir, "debugfs", &["-R", "cat file", "ext4.img"]), b"kept\n", "the file");
    let more: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    let found = tool(&dir, "debugfs", &["-R", "cat more", "ext4.img"]);
    assert_same(&found, more.as_bytes(), "the file that was not synced");

    let before = dir.read("ext4.img");
    let disks = ["--disk", "ext4.img,ro", "--disk", "raw.img,ro"];
    let end = run(&dir, &disks, &script(&format!("{MOUNT}{READ}"))).end();
    end.exits(0).prints("kept\ncasemate").is_silent();
    assert_same(&dir.read("ext4.img"), &before, "the ext4 image, mounted read-only");
}
