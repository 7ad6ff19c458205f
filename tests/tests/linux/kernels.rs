//! Which kernels boot, with how many vCPUs and how much memory; when what happened on the way.

use tests::fixtures::Fixture;
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

use crate::{run_with, script};

struct Row {
    name: &'static str,
    kernel: Fixture,
    cpus: &'static str,
    memory: &'static str,
    /// MiB that the guest says it has, at least and at most.
    total: (u64, u64),
}

const ROWS: [Row; 5] = [
    Row {
        name: "cloud_bzimage_with_128_mib",
        kernel: Fixture::Kernel("cloud"),
        cpus: "1",
        memory: "128M",
        total: (60, 128),
    },
    Row {
        name: "cloud_elf_with_4_cpus_and_5_gib",
        kernel: Fixture::Elf("cloud"),
        cpus: "4",
        memory: "5G",
        total: (4800, 5120),
    },
    Row {
        name: "generic_bzimage",
        kernel: Fixture::Kernel("generic"),
        cpus: "1",
        memory: "512M",
        total: (400, 512),
    },
    Row {
        name: "generic_elf_with_4_cpus",
        kernel: Fixture::Elf("generic"),
        cpus: "4",
        memory: "256M",
        total: (160, 256),
    },
    Row {
        name: "lean_bzimage_with_64_mib",
        kernel: Fixture::Lean,
        cpus: "2",
        memory: "64M",
        total: (40, 64),
    },
];

pub fn tests() -> Vec<Test> {
    let test = |row: Row| {
        let kernel = match row.kernel {
            Fixture::Lean => Need::Extra(row.kernel),
            _ => Need::Fixture(row.kernel),
        };
        let needs = [Need::Linux, kernel, Need::Fixture(Fixture::Rootfs)];
        Test::new(format!("kernels::{}", row.name), &needs, move || check(&row))
    };
    ROWS.into_iter().map(test).collect()
}

/// What the script prints: vCPUs, KiB of memory, and what python computed.
const SCRIPT: &str = "nproc
    sed -n 's/^MemTotal: *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo
    python3 -c 'print(sum(n * n for n in range(1000)))'";

fn check(row: &Row) {
    let dir = Scratch::new();
    let rootfs = Fixture::Rootfs.path();
    let options = ["--cpus", row.cpus, "--mem", row.memory];
    let run = run_with(&dir, row.kernel, &rootfs.to_string_lossy(), &options, &script(SCRIPT));
    let end = run.end();
    end.exits(0).is_silent().outcome("exited");
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    end.check(lines.len() == 3, "not three lines");
    end.check(lines[0] == row.cpus, "the guest counts other CPUs");
    let mib = lines[1].parse::<u64>().unwrap_or(0) / 1024;
    let (least, most) = row.total;
    end.check((least..=most).contains(&mib), "the guest counts other memory");
    end.check(lines[2] == "332833500", "python computed something else");
    let names = [
        "spawned",
        "sealed",
        "kernel_entered",
        "agent_up",
        "command_started",
        "command_ended",
        "ended",
    ];
    let phases: Vec<f64> = names.iter().filter_map(|name| end.phase(name)).collect();
    end.check(phases.len() == names.len() && phases.is_sorted(), "phases missing or out of order");
}
