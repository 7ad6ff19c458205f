//! What is written is in the image, and a read-only image is left alone.

use std::process::Command;

use tests::scratch::{Scratch, assert_same, noise};
use tests::suite::{Need, Test};

use crate::{KERNEL, NEEDS, run};

pub fn tests() -> Vec<Test> {
    let tool = |name| [NEEDS, &[Need::Tool(name)]].concat();
    vec![
        Test::new("disks::raw_writes_and_a_read_only_disk", NEEDS, raw),
        Test::new("disks::an_ext4_disk_keeps_files_for_the_next_run", &tool("mke2fs"), ext4),
        Test::new("disks::ext4_as_root", &tool("mke2fs"), || root("ext4")),
        Test::new("disks::erofs_as_root", &tool("mkfs.erofs"), || root("erofs")),
    ]
}

fn raw() {
    let dir = Scratch::new();
    let (writable, constant) = (noise(2, 1 << 20), noise(3, 1 << 20));
    dir.write("writable", &writable);
    dir.write("constant", &constant);
    let script = "printf casemate | dd of=/dev/vdb bs=8 seek=64 conv=notrunc,fsync 2>/dev/null
        cat /sys/block/vdb/ro /sys/block/vdc/ro
        printf x | dd of=/dev/vdc conv=notrunc,fsync 2>/dev/null || echo refused
        cmp /dev/vdc /dev/vdc && sha256sum </dev/vdc | head -c 8";
    let disks = ["--disk", "writable", "--disk", "constant,ro", "--", "sh", "-c", script];
    let end = run(&dir).args(&disks).end();
    end.exits(0);
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    end.check(text.starts_with("0\n1\nrefused\n"), "the disks are not as they were given");
    let mut expected = writable;
    expected[512..520].copy_from_slice(b"casemate");
    assert_same(&dir.read("writable"), &expected, "the writable image");
    assert_same(&dir.read("constant"), &constant, "the read-only image");
}

fn tool(program: &str, args: &[&str], dir: &Scratch) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output =
        Command::new(program).args(args).current_dir(dir.dir()).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ext4() {
    let dir = Scratch::new();
    tool("mke2fs", &["-q", "-t", "ext4", "disk", "16M"], &dir);
    let write = "mount /dev/vdb /mnt && echo kept >/mnt/file && sync";
    run(&dir).args(&["--disk", "disk", "--", "sh", "-c", write]).end().exits(0).prints("");
    let read = "mount -o ro /dev/vdb /mnt && cat /mnt/file";
    run(&dir).args(&["--disk", "disk,ro", "--", "sh", "-c", read]).end().exits(0).prints("kept\n");
}

/// A root file system of one static program.
fn root(kind: &str) {
    let dir = Scratch::new();
    let bin = dir.path("tree/bin");
    std::fs::create_dir_all(&bin).unwrap();
    for name in ["dev", "proc", "sys", "run", "tmp"] {
        std::fs::create_dir(dir.path("tree").join(name)).unwrap();
    }
    let busybox = tests::fixtures::Fixture::Busybox.find();
    let busybox = busybox.unwrap_or_else(|_| "/bin/busybox".into());
    std::fs::copy(busybox, bin.join("sh")).unwrap();
    match kind {
        "ext4" => tool("mke2fs", &["-q", "-t", "ext4", "-d", "tree", "root.img", "32M"], &dir),
        _ => tool("mkfs.erofs", &["root.img", "tree"], &dir),
    }
    let kernel = KERNEL.path();
    let run = tests::run::Run::new(&dir, &["run", "--rootfs", "root.img", "--kernel"]);
    let end =
        run.args(&[kernel]).args(&["--", "/bin/sh", "-c", "echo root"]).limit(crate::LIMIT).end();
    end.exits(0).prints("root\n").is_silent();
}
