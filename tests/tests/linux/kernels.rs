//! Which kernels boot, with how many vCPUs and how much memory; when what happened on the way.

use tests::fixtures::Fixture;
use tests::huge_pages::{Pool, SIZE};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

use crate::{run_with, script};

struct Row {
    name: &'static str,
    kernel: Fixture,
    cpus: &'static str,
    memory: &'static str,
    /// Of huge pages: how many that are.
    huge_pages: Option<u64>,
    /// MiB that the guest says it has, at least and at most.
    total: (u64, u64),
}

const ROWS: [Row; 6] = [
    Row {
        name: "cloud_bzimage_with_128_mib",
        kernel: Fixture::Kernel("cloud"),
        cpus: "1",
        memory: "128M",
        huge_pages: None,
        total: (60, 128),
    },
    Row {
        name: "cloud_elf_with_4_cpus_and_5_gib",
        kernel: Fixture::Elf("cloud"),
        cpus: "4",
        memory: "5G",
        huge_pages: None,
        total: (4800, 5120),
    },
    Row {
        name: "cloud_elf_with_256_mib_of_huge_pages",
        kernel: Fixture::Elf("cloud"),
        cpus: "1",
        memory: "256M",
        huge_pages: Some(128),
        total: (160, 256),
    },
    Row {
        name: "generic_bzimage",
        kernel: Fixture::Kernel("generic"),
        cpus: "1",
        memory: "512M",
        huge_pages: None,
        total: (400, 512),
    },
    Row {
        name: "generic_elf_with_4_cpus",
        kernel: Fixture::Elf("generic"),
        cpus: "4",
        memory: "256M",
        huge_pages: None,
        total: (160, 256),
    },
    Row {
        name: "lean_bzimage_with_64_mib",
        kernel: Fixture::Lean,
        cpus: "2",
        memory: "64M",
        huge_pages: None,
        total: (40, 64),
    },
];

pub fn tests() -> Vec<Test> {
    let test = |row: Row| {
        let kernel = match row.kernel {
            Fixture::Lean => Need::Extra(row.kernel),
            _ => Need::Fixture(row.kernel),
        };
        let mut needs = vec![Need::Linux, kernel, Need::Fixture(Fixture::Rootfs)];
        needs.extend(row.huge_pages.map(Need::HugePages));
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
    let pool = row.huge_pages.map(Pool::with);
    let mut options = vec!["--cpus", row.cpus, "--mem", row.memory];
    options.extend(pool.as_ref().map(|_| "--hugepages"));
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
    if row.huge_pages.is_some() {
        let page = &end.report.as_ref().unwrap()["memory"]["page_bytes"];
        end.check(*page == SIZE, "the report has other pages");
    }
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
