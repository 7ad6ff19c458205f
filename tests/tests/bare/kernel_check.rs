//! `casemate kernel check`: what a kernel lacks, before it is booted. It looks into files behind its own
//! filter, so every kind of file has to be looked into once here.

use bare::Op;
use serde_json::Value;
use tests::fixtures::Fixture;
use tests::guests::bzimage;
use tests::run::{End, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

pub fn tests() -> Vec<Test> {
    let cloud = Fixture::Kernel("cloud");
    vec![
        Test::new("kernel_check::a_configuration_beside_it", &[], beside),
        Test::new("kernel_check::modules_beside_its_directory", &[], modules),
        Test::new("kernel_check::what_is_missing_is_named", &[], missing),
        Test::new("kernel_check::too_little_is_known", &[], unknown),
        Test::new("kernel_check::big_files", &[], big),
        Test::new("kernel_check::files_that_will_not_do", &[], wrong),
        Test::new("kernel_check::debians", &[Need::Fixture(cloud)], move || debians(cloud)),
    ]
}

/// A configuration that has it all.
const CONFIG: &str = "CONFIG_ACPI=y\nCONFIG_VIRTIO_MMIO=y\nCONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_CONSOLE=y\n\
                      CONFIG_BLK_DEV_INITRD=y\nCONFIG_BINFMT_ELF=y\nCONFIG_OVERLAY_FS=y\n\
                      CONFIG_SHMEM=y\nCONFIG_DEVTMPFS=y\nCONFIG_PROC_FS=y\nCONFIG_EXT4_FS=y\n";

/// A kernel in boot, its configuration and its modules where a distribution has them.
fn root(config: &str) -> Scratch {
    let dir = Scratch::new();
    std::fs::create_dir_all(dir.path("boot")).unwrap();
    std::fs::create_dir_all(dir.path("lib/modules/6.1")).unwrap();
    dir.write("boot/vmlinuz-6.1", bzimage(&[Op::Exit(0)]));
    dir.write("boot/config-6.1", config);
    dir
}

fn check(dir: &Scratch, args: &[&str]) -> End {
    Run::new(dir, &[&["kernel", "check"], args].concat()).end()
}

/// The state of a row of the JSON report.
fn state(report: &Value, name: &str) -> String {
    let rows = report["checks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap();
    row["state"].as_str().unwrap().to_owned()
}

fn beside() {
    let dir = root(&CONFIG.replace("=m", "=y"));
    let end = check(&dir, &["boot/vmlinuz-6.1"]);
    end.exits(0).is_silent();
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    end.check(text.ends_with("\nit can work here\n"), "another verdict");
    // The same under the name that scripts/guest-kernel gives it.
    std::fs::rename(dir.path("boot/vmlinuz-6.1"), dir.path("boot/bzImage")).unwrap();
    check(&dir, &["boot/bzImage"]).exits(1);
    std::fs::rename(dir.path("boot/config-6.1"), dir.path("boot/config")).unwrap();
    check(&dir, &["boot/bzImage"]).exits(0);
}

fn modules() {
    let dir = root(CONFIG);
    let end = check(&dir, &["boot/vmlinuz-6.1"]);
    end.exits(1).is_silent();
    dir.write("lib/modules/6.1/modules.dep", "kernel/drivers/block/virtio_blk.ko.xz: a.ko\n");
    let end = check(&dir, &["boot/vmlinuz-6.1", "--json"]);
    end.exits(0).is_silent();
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!(state(&report, "virtio_blk"), "module");
    assert_eq!(state(&report, "virtio_mmio"), "built in");
    assert_eq!(state(&report, "early-console"), "missing");
    // What could be a module and is not is in the other index, which tells without a configuration.
    std::fs::remove_file(dir.path("boot/config-6.1")).unwrap();
    let others = ["virtio_mmio", "virtio_console", "overlay", "squashfs"];
    let lines: String = others.iter().map(|name| format!("kernel/x/{name}.ko\n")).collect();
    dir.write("lib/modules/6.1/modules.builtin", lines);
    let end = check(&dir, &["boot/vmlinuz-6.1", "--json"]);
    end.exits(0);
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!(state(&report, "overlay"), "built in");
    assert_eq!(state(&report, "acpi"), "not known");
}

fn missing() {
    for (line, name) in [("CONFIG_ACPI=y\n", "acpi"), ("CONFIG_OVERLAY_FS=y\n", "overlay")] {
        let dir = root(&CONFIG.replace("=m", "=y").replace(line, ""));
        let end = check(&dir, &["boot/vmlinuz-6.1"]);
        end.exits(1).is_silent();
        let text = String::from_utf8_lossy(&end.stdout).into_owned();
        end.check(text.ends_with(&format!("\nit lacks {name}\n")), "another verdict");
        let symbol = line.trim_end_matches("=y\n");
        end.check(text.contains(&format!("(a kernel with {symbol})")), "no remedy");
    }
}

fn unknown() {
    let dir = Scratch::new();
    dir.write("guest.elf", bare::elf(&[Op::Exit(0)]));
    let end = check(&dir, &["guest.elf"]);
    end.exits(1).is_silent();
    end.check(String::from_utf8_lossy(&end.stdout).contains("--kconfig FILE"), "no hint");
    dir.write("config", CONFIG.replace("=m", "=y"));
    check(&dir, &["guest.elf", "--kconfig", "config"]).exits(0);
}

fn big() {
    let dir = Scratch::new();
    let mut image = bare::elf(&[Op::Exit(0)]);
    image.resize(40 << 20, 0);
    image.extend(b"Linux version 6.6.6 (x@y)\n");
    image.resize(90 << 20, 0);
    dir.write("guest.elf", &image);
    dir.write("config", CONFIG.replace("=m", "=y") + &"# a comment\n".repeat(1 << 20));
    let end = check(&dir, &["guest.elf", "--kconfig", "config", "--json"]);
    end.exits(0).is_silent();
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    assert_eq!(report["version"], "6.6.6");
    dir.write("config", vec![b'\n'; (16 << 20) + 1]);
    // And an error behind the filter is told, whatever Rust is asked to tell with it.
    let run = Run::new(&dir, &["kernel", "check", "guest.elf", "--kconfig", "config"]);
    run.by(&["env", "RUST_BACKTRACE=1"]).end().exits(125).explains(&["longer than 16 MiB"]);
}

fn wrong() {
    let dir = root(CONFIG);
    dir.write("text", "#!/bin/sh\n");
    let end = check(&dir, &["text", "--kconfig", "boot/config-6.1"]);
    end.exits(1).is_silent();
    end.check(String::from_utf8_lossy(&end.stdout).contains("it is no kernel"), "another verdict");
    check(&dir, &["missing"]).exits(125).explains(&["kernel", "\"missing\"", "No such file"]);
    check(&dir, &["boot"]).exits(125).explains(&["\"boot\"", "a directory"]);
    let end = check(&dir, &["text", "--modules", "boot"]);
    end.exits(125).explains(&["\"boot\"", "modules.dep"]);
    let end = check(&dir, &["text", "--kconfig", "missing"]);
    end.exits(125).explains(&["kernel configuration", "\"missing\""]);
    check(&dir, &[]).exits(2);
}

/// A kernel that the tests of Linux guests boot.
fn debians(kernel: Fixture) {
    let dir = Scratch::new();
    let path = kernel.path().to_string_lossy().into_owned();
    let end = check(&dir, &[&path, "--json"]);
    end.exits(0).is_silent();
    let report: Value = serde_json::from_slice(&end.stdout).unwrap();
    let version = report["version"].as_str().unwrap();
    end.check(path.ends_with(&format!("vmlinuz-{version}")), "another version");
    assert_eq!(state(&report, "virtio_mmio"), "module");
    // Without its modules it will not do, which `run` would have found out later.
    std::fs::copy(&path, dir.path("vmlinuz")).unwrap();
    let config = path.replace("vmlinuz-", "config-");
    let end = check(&dir, &["vmlinuz", "--kconfig", &config]);
    end.exits(1);
    end.check(String::from_utf8_lossy(&end.stdout).contains("give --modules DIR"), "no remedy");
}
