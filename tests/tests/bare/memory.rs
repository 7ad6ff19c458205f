//! RAM: as much as was asked for, in its place, and nothing where there is none.

use bare::{FREE, Op, Width};
use tests::guests::expect;
use tests::run::Run;
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

const GIB: u64 = 1 << 30;
/// The hole for devices: from 3 GiB to 4 GiB.
const HOLE: u64 = 3 * GIB;
const ABOVE: u64 = 4 * GIB;

struct Row {
    /// As `--mem` takes it.
    size: &'static str,
    /// Addresses of words that are RAM, the last ones of each part among them.
    ram: &'static [u64],
    /// Addresses below 4 GiB where there is nothing.
    nothing: &'static [u64],
}

const ROWS: [Row; 9] = [
    Row { size: "32", ram: &[FREE, (32 << 20) - 8], nothing: &[32 << 20, HOLE] },
    Row { size: "33M", ram: &[FREE, (33 << 20) - 8], nothing: &[33 << 20] },
    Row { size: "128M", ram: &[FREE, (128 << 20) - 8], nothing: &[128 << 20, HOLE - 8] },
    Row { size: "1GiB", ram: &[FREE, GIB - 8], nothing: &[GIB, HOLE] },
    Row { size: "3072", ram: &[FREE, HOLE - 8], nothing: &[HOLE] },
    Row { size: "3073", ram: &[FREE, HOLE - 8, ABOVE, ABOVE + (1 << 20) - 8], nothing: &[HOLE] },
    Row { size: "3074M", ram: &[FREE, HOLE - 8, ABOVE, ABOVE + (2 << 20) - 8], nothing: &[HOLE] },
    Row {
        size: "5G",
        ram: &[FREE, HOLE - 8, ABOVE, ABOVE + GIB, ABOVE + 2 * GIB - 8],
        nothing: &[HOLE],
    },
    Row { size: "40G", ram: &[FREE, HOLE - 8, ABOVE, ABOVE + 37 * GIB - 8], nothing: &[HOLE] },
];

pub fn tests() -> Vec<Test> {
    let rows = ROWS.into_iter();
    let rows = rows.map(|row| {
        Test::new(format!("memory::{}", row.size), &[Need::Kvm], move || check(row.size, &[]))
    });
    let above =
        Test::new("memory::past_the_end_above_4_gib_is_nothing", &[Need::Kvm], past_the_end);
    rows.chain([above]).collect()
}

/// Memory of the size of one of the rows is as the row says, with these options too.
pub fn check(size: &str, options: &[&str]) {
    let row = ROWS.iter().find(|row| row.size == size).unwrap();
    let dir = Scratch::new();
    let mut program = Vec::new();
    for addr in row.ram {
        program.extend(reach(*addr));
        program.push(expect(Width::Quad, *addr, 0, 1));
    }
    // A word of its own each, all written before any is read: none is another's.
    let value = |addr: u64| addr.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    program.extend(row.ram.iter().map(|&addr| write(addr, value(addr))));
    program.extend(row.nothing.iter().map(|&addr| write(addr, 0)));
    program.extend(row.ram.iter().map(|&addr| expect(Width::Quad, addr, value(addr), 2)));
    program.extend(row.nothing.iter().map(|&addr| expect(Width::Quad, addr, u64::MAX, 3)));
    Run::boot(&dir, &program).args(&["--mem", row.size]).args(options).end().exits(0).is_silent();
}

fn past_the_end() {
    let dir = Scratch::new();
    let end = ABOVE + 2 * GIB;
    let mut program = reach(end);
    program.push(expect(Width::Quad, end, u64::MAX, 3));
    Run::boot(&dir, &program).args(&["--mem", "5G"]).end().exits(0).is_silent();
}

fn write(addr: u64, value: u64) -> Op {
    Op::Write { width: Width::Quad, addr, value }
}

/// Maps the 2 MiB around an address to themselves. The loader did so below 4 GiB.
fn reach(addr: u64) -> Vec<Op> {
    /// The loader's page directory pointer table: the second of its pages.
    const POINTERS: u64 = 0xA000;
    /// A page for each directory, all below the smallest RAM that these rows have.
    const DIRECTORIES: u64 = FREE + (1 << 20);
    /// Present, writable.
    const TABLE: u64 = 0b11;
    /// The same, and of 2 MiB.
    const PAGE: u64 = 0b1000_0011;
    if addr < ABOVE {
        return Vec::new();
    }
    let (gib, mib) = (addr / GIB, (addr % GIB) >> 21);
    let directory = DIRECTORIES + 4096 * gib;
    vec![
        write(directory + 8 * mib, addr >> 21 << 21 | PAGE),
        write(POINTERS + 8 * gib, directory | TABLE),
    ]
}
