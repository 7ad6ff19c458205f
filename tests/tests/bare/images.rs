//! What is booted: the image's format, its command line and its initial RAM disk.

use bare::{Op, Width};
use tests::guests::{bzimage, expect, holds, pvh};
use tests::run::{KERNEL, REPORT, Run};
use tests::scratch::{Scratch, noise};
use tests::suite::{Need, Test};

/// Where the kernel finds `boot_params`, and where its command line is (see the worker's `layout`).
const ZERO_PAGE: u64 = 0x7000;
const COMMAND_LINE: u64 = 0x2_0000;

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    vec![
        Test::new("images::elf_with_a_64_bit_entry", kvm, || format(&bare::elf(&[Op::Exit(42)]))),
        Test::new("images::elf_with_a_pvh_entry", kvm, || format(&pvh(42))),
        Test::new("images::bzimage", kvm, || format(&bzimage(&[Op::Exit(42)]))),
        Test::new("images::a_link_to_the_image", kvm, link),
        Test::new("images::command_line", kvm, command_line),
        Test::new("images::initrd", kvm, initrd),
    ]
}

fn format(image: &[u8]) {
    let dir = Scratch::new();
    dir.write(KERNEL, image);
    let end = Run::new(&dir, &["boot", "--kernel", KERNEL, "--report", REPORT]).end();
    end.exits(42).outcome("exited").is_silent();
}

fn link() {
    let dir = Scratch::new();
    dir.write(KERNEL, bare::elf(&[Op::Exit(42)]));
    std::os::unix::fs::symlink(KERNEL, dir.path("link")).unwrap();
    Run::new(&dir, &["boot", "--kernel", "link"]).end().exits(42);
}

fn command_line() {
    let dir = Scratch::new();
    let text = format!("console=hvc0 quote=\"a b\" {}", "x".repeat(2000));
    let mut program = holds(COMMAND_LINE, text.as_bytes());
    program.push(expect(Width::Byte, COMMAND_LINE + text.len() as u64, 0, 1));
    Run::boot(&dir, &program).args(&["--cmdline", &text]).end().exits(0).is_silent();
}

fn initrd() {
    let dir = Scratch::new();
    let bytes = noise(1, 12345);
    dir.write("initrd.img", &bytes);
    // ramdisk_image and ramdisk_size of the setup header: the address is the loader's to choose.
    let mut program = vec![expect(Width::Long, ZERO_PAGE + 0x21c, bytes.len() as u64, 1)];
    let first = run_initrd(&dir, &program);
    first.exits(0);
    // With the size of RAM it is always the same: below the end of RAM, on a page boundary.
    let at = (64_u64 << 20) - (bytes.len() as u64).next_multiple_of(4096);
    program.push(expect(Width::Long, ZERO_PAGE + 0x218, at, 2));
    program.extend(holds(at, &bytes[..64]));
    program.extend(holds(at + 8192, &bytes[8192..8192 + 64]));
    program.extend(holds(at + 12344, &bytes[12344..]));
    run_initrd(&dir, &program).exits(0).is_silent();
}

fn run_initrd(dir: &Scratch, program: &[Op]) -> tests::run::End {
    Run::boot(dir, program).args(&["--initrd", "initrd.img", "--mem", "64"]).end()
}
