//! Which kernels boot, with how many vCPUs and how much memory.

use tests::fixtures::Fixture;
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

use crate::run_with;

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
        name: "cloud_bzimage",
        kernel: Fixture::Kernel("cloud"),
        cpus: "1",
        memory: "128M",
        total: (60, 128),
    },
    Row {
        name: "cloud_elf_with_4_cpus",
        kernel: Fixture::Elf("cloud"),
        cpus: "4",
        memory: "256M",
        total: (180, 256),
    },
    Row {
        name: "generic_bzimage_with_4_cpus",
        kernel: Fixture::Kernel("generic"),
        cpus: "4",
        memory: "512M",
        total: (400, 512),
    },
    Row {
        name: "cloud_with_5_gib",
        kernel: Fixture::Kernel("cloud"),
        cpus: "1",
        memory: "5G",
        total: (4700, 5120),
    },
    Row { name: "lean_bzimage", kernel: Fixture::Lean, cpus: "2", memory: "64M", total: (40, 64) },
];

pub fn tests() -> Vec<Test> {
    let test = |row: Row| {
        let kernel = if row.kernel == Fixture::Lean {
            Need::Extra(row.kernel)
        } else {
            Need::Fixture(row.kernel)
        };
        let needs = [Need::Linux, kernel, Need::Fixture(Fixture::Rootfs)];
        Test::new(format!("kernels::{}", row.name), &needs, move || check(&row))
    };
    ROWS.into_iter().map(test).collect()
}

fn check(row: &Row) {
    let dir = Scratch::new();
    let script = "nproc; sed -n 's/^MemTotal: *//p' /proc/meminfo";
    let end = run_with(&dir, row.kernel)
        .args(&["--cpus", row.cpus, "--mem", row.memory, "--", "sh", "-c", script])
        .end();
    end.exits(0).is_silent().outcome("exited");
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    let mut lines = text.lines();
    end.check(lines.next() == Some(row.cpus), "the guest counts other CPUs");
    let kib = lines.next().and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    let (least, most) = row.total;
    let fits = kib.is_some_and(|kib| (least..=most).contains(&(kib / 1024)));
    end.check(fits, "the guest counts other memory");
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
