//! What casemate refuses: one line that names the object, the documented status, and nothing left behind.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bare::Op;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Signal, geteuid};
use tests::guests::{READY, announce, bzimage};
use tests::run::{KERNEL, REPORT, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test, own_mounts};

/// A command line of casemate's, short of what every row has.
#[derive(Clone, Copy)]
enum Line {
    /// As it is.
    Whole(&'static [&'static str]),
    /// `boot` of the test's guest, with more options.
    Boot(&'static [&'static str]),
    /// `boot` of another kernel.
    Kernel(&'static str),
    /// `boot` with a disk.
    Disk(&'static str),
    /// `boot` with an initial RAM disk.
    Initrd(&'static str),
    /// `run` with a root file system.
    Rootfs(&'static str),
    /// `run` with more options.
    Run(&'static [&'static str]),
}

impl Line {
    fn args(self) -> Vec<&'static str> {
        let boot = |rest: &[&'static str]| [&["boot", "--kernel", KERNEL], rest].concat();
        let run =
            |rest: &[&'static str]| [&["run", "--kernel", KERNEL], rest, &["--", "true"]].concat();
        match self {
            Self::Whole(args) => args.to_vec(),
            Self::Boot(options) => boot(options),
            Self::Kernel(file) => vec!["boot", "--kernel", file],
            Self::Disk(file) => boot(&["--disk", file]),
            Self::Initrd(file) => boot(&["--initrd", file]),
            Self::Rootfs(file) => run(&["--rootfs", file]),
            Self::Run(options) => run(options),
        }
    }
}

/// A name, what is asked for, and words of the one line: the object, and what is wrong with it.
type Row = (&'static str, Line, &'static [&'static str]);

/// casemate could not do its part: status 125.
const FAILED: [Row; 43] = [
    ("kernel::missing", Line::Kernel("missing"), &["kernel", "\"missing\"", "No such file"]),
    ("kernel::empty", Line::Kernel("empty"), &["kernel", "\"empty\"", "empty"]),
    ("kernel::text", Line::Kernel("text"), &["\"text\"", "not a kernel"]),
    ("kernel::elf_header_cut_off", Line::Kernel("head.elf"), &["\"head.elf\"", "truncated"]),
    ("kernel::elf_cut_off", Line::Kernel("half.elf"), &["\"half.elf\"", "truncated"]),
    ("kernel::bzimage_cut_off", Line::Kernel("half.bz"), &["\"half.bz\"", "truncated"]),
    ("kernel::for_arm", Line::Kernel("arm.elf"), &["\"arm.elf\"", "aarch64"]),
    ("kernel::for_arm_as_an_image", Line::Kernel("arm.image"), &["\"arm.image\"", "aarch64"]),
    ("kernel::for_i386", Line::Kernel("i386.elf"), &["\"i386.elf\"", "i386"]),
    ("kernel::a_program", Line::Kernel("program.elf"), &["\"program.elf\"", "program"]),
    ("kernel::a_module", Line::Kernel("module.elf"), &["\"module.elf\"", "module"]),
    ("kernel::a_directory", Line::Kernel("dir"), &["kernel", "\"dir\"", "a directory"]),
    ("kernel::a_fifo", Line::Kernel("fifo"), &["kernel", "\"fifo\"", "a FIFO"]),
    (
        "kernel::a_device",
        Line::Kernel("/dev/zero"),
        &["kernel", "\"/dev/zero\"", "a character device"],
    ),
    ("kernel::a_link_to_a_fifo", Line::Kernel("to-fifo"), &["kernel", "\"to-fifo\"", "a FIFO"]),
    ("kernel::a_link_to_nothing", Line::Kernel("to-nothing"), &["\"to-nothing\"", "No such file"]),
    (
        "kernel::more_than_memory",
        Line::Whole(&["boot", "--kernel", "big.elf", "--mem", "32M"]),
        &["big.elf", "--mem"],
    ),
    ("initrd::missing", Line::Initrd("missing"), &["initrd", "\"missing\"", "No such file"]),
    ("initrd::empty", Line::Initrd("empty"), &["initrd", "\"empty\"", "empty"]),
    ("initrd::a_directory", Line::Initrd("dir"), &["initrd", "\"dir\"", "a directory"]),
    ("initrd::a_fifo", Line::Initrd("fifo"), &["initrd", "\"fifo\"", "a FIFO"]),
    (
        "initrd::more_than_memory",
        Line::Boot(&["--initrd", "long", "--mem", "32M"]),
        &["\"long\"", "--mem"],
    ),
    ("disk::missing", Line::Disk("missing"), &["disk", "\"missing\"", "No such file"]),
    (
        "disk::missing_for_reading",
        Line::Disk("missing,ro"),
        &["disk", "\"missing\"", "No such file"],
    ),
    ("disk::empty", Line::Disk("empty"), &["disk", "\"empty\"", "empty"]),
    ("disk::of_511_bytes", Line::Disk("odd.img"), &["\"odd.img\"", "511", "512", "truncate"]),
    ("disk::a_directory", Line::Disk("dir"), &["disk", "\"dir\"", "directory"]),
    ("disk::a_directory_for_reading", Line::Disk("dir,ro"), &["disk", "\"dir\"", "a directory"]),
    ("disk::a_fifo", Line::Disk("fifo"), &["disk", "\"fifo\"", "a FIFO"]),
    ("disk::a_fifo_for_reading", Line::Disk("fifo,ro"), &["disk", "\"fifo\"", "a FIFO"]),
    ("disk::a_device", Line::Disk("/dev/null"), &["disk", "\"/dev/null\"", "a character device"]),
    (
        "disk::a_link_to_a_device",
        Line::Disk("to-device"),
        &["disk", "\"to-device\"", "a character device"],
    ),
    ("disk::a_link_to_a_fifo", Line::Disk("to-fifo"), &["disk", "\"to-fifo\"", "a FIFO"]),
    (
        "disk::the_same_twice",
        Line::Boot(&["--disk", "disk.img", "--disk", "disk.img"]),
        &["\"disk.img\"", "using it"],
    ),
    (
        "rootfs::missing",
        Line::Rootfs("missing"),
        &["root file system", "\"missing\"", "No such file"],
    ),
    ("rootfs::empty", Line::Rootfs("empty"), &["root file system", "\"empty\"", "empty"]),
    ("rootfs::a_fifo", Line::Rootfs("fifo"), &["root file system", "\"fifo\"", "a FIFO"]),
    ("rootfs::a_device", Line::Rootfs("/dev/null"), &["root file system", "a character device"]),
    (
        "rootfs::a_link_to_a_device",
        Line::Rootfs("to-device"),
        &["\"to-device\"", "a character device"],
    ),
    ("rootfs::of_511_bytes", Line::Rootfs("odd.img"), &["root file system", "\"odd.img\"", "512"]),
    (
        "modules::missing",
        Line::Run(&["--rootfs", "disk.img", "--modules", "missing"]),
        &["\"missing\"", "No such file"],
    ),
    (
        "modules::no_index",
        Line::Run(&["--rootfs", "disk.img", "--modules", "dir"]),
        &["\"dir\"", "modules.dep"],
    ),
    (
        "console::in_no_directory",
        Line::Run(&["--rootfs", "disk.img", "--console", "no/c"]),
        &["\"no/c\"", "No such file"],
    ),
];

/// Where no report can be written: status 125, and no report.
const REPORTS: [Row; 5] = [
    ("report::in_no_directory", Line::Boot(&["--report", "no/r"]), &["\"no/r\"", "No such file"]),
    ("report::a_directory", Line::Boot(&["--report", "dir"]), &["\"dir\"", "directory"]),
    ("report::a_fifo_without_a_reader", Line::Boot(&["--report", "fifo"]), &["\"fifo\""]),
    (
        "report::with_another_name",
        Line::Boot(&["--report", "hard-link"]),
        &["\"hard-link\"", "hard links"],
    ),
    (
        "report::a_link",
        Line::Boot(&["--report", "to-nothing"]),
        &["\"to-nothing\"", "symbolic link"],
    ),
];

/// Usage: status 2.
const USAGE: [Row; 25] = [
    (
        "usage::a_terminal_that_is_not_there",
        Line::Run(&["-it"]),
        &["-t", "a terminal as stdin and stdout"],
    ),
    ("cpus::0", Line::Boot(&["--cpus", "0"]), &["--cpus", "0"]),
    ("cpus::33", Line::Boot(&["--cpus", "33"]), &["--cpus", "33", "32"]),
    ("cpus::a_word", Line::Boot(&["--cpus", "all"]), &["--cpus", "all"]),
    ("mem::0", Line::Boot(&["--mem", "0"]), &["--mem", "32 MiB"]),
    ("mem::31m", Line::Boot(&["--mem", "31M"]), &["--mem", "31M", "32 MiB"]),
    ("mem::513g", Line::Boot(&["--mem", "513G"]), &["--mem", "513G", "512 GiB"]),
    ("mem::a_word", Line::Boot(&["--mem", "much"]), &["--mem", "much"]),
    (
        "hugepages::an_odd_number_of_mebibytes",
        Line::Boot(&["--hugepages", "--mem", "33M"]),
        &["--hugepages", "2 MiB", "--mem", "33 MiB"],
    ),
    (
        "hugepages::an_odd_number_of_mebibytes_for_run",
        Line::Run(&["--mem", "513", "--hugepages"]),
        &["--hugepages", "2 MiB", "--mem", "513 MiB"],
    ),
    (
        "hugepages::and_small_ones",
        Line::Boot(&["--hugepages", "--small-pages"]),
        &["--hugepages", "--small-pages", "exclude"],
    ),
    ("timeout::a_word", Line::Boot(&["--timeout", "soon"]), &["--timeout", "soon"]),
    ("disk::no_name", Line::Boot(&["--disk", ",ro"]), &["--disk"]),
    ("option::unknown", Line::Boot(&["--network"]), &["--network"]),
    ("option::without_its_value", Line::Whole(&["boot", "--kernel"]), &["--kernel"]),
    ("kernel::none_for_boot", Line::Whole(&["boot"]), &["--kernel"]),
    ("command::none", Line::Whole(&["run", "--kernel", KERNEL]), &["no command", "--"]),
    ("command::without_dashes", Line::Whole(&["run", "--kernel", KERNEL, "true"]), &["true"]),
    ("command::for_boot", Line::Boot(&["--", "true"]), &["true"]),
    ("subcommand::unknown", Line::Whole(&["walk"]), &["walk"]),
    ("env::no_value", Line::Run(&["--env", "A"]), &["--env", "NAME=VALUE"]),
    ("user::a_path", Line::Run(&["--user", "../x"]), &["--user", "../x"]),
    ("user::three_parts", Line::Run(&["--user", "a:b:c"]), &["--user", "a:b:c"]),
    ("hostname::two_words", Line::Run(&["--hostname", "a b"]), &["--hostname"]),
    ("console::for_boot", Line::Boot(&["--console", "c"]), &["--console"]),
];

pub fn tests() -> Vec<Test> {
    let kvm = &[Need::Kvm];
    let mut tests = vec![
        Test::new("errors::kernel::a_long_command_line", kvm, long_command_line),
        Test::new("errors::disk::too_many", &[], too_many_disks),
        Test::new("errors::disk::not_writable", &[], not_writable),
        Test::new("errors::disk::written_by_another_run", kvm, || busy("disk.img", "disk.img")),
        Test::new("errors::disk::read_by_another_run", kvm, || busy("disk.img,ro", "disk.img")),
        Test::new("errors::disk::read_while_written", kvm, || busy("disk.img", "disk.img,ro")),
        Test::new("errors::disk::written_under_another_name", kvm, || busy("disk.img", "link.img")),
        Test::new("errors::kernel::not_readable", &[], not_readable),
        Test::new("errors::kvm::missing", &[Need::Namespaces], no_kvm),
        Test::new("errors::kvm::not_permitted", &[Need::Namespaces], kvm_not_permitted),
        Test::new("errors::kvm::something_else", &[Need::Namespaces], kvm_is_another),
        Test::new("errors::help_is_no_error", &[], help),
    ];
    let rows = FAILED.into_iter().map(|row| (row, 125, true));
    let rows = rows.chain(REPORTS.into_iter().map(|row| (row, 125, false)));
    let rows = rows.chain(USAGE.into_iter().map(|row| (row, 2, false)));
    tests.extend(rows.map(|(row, status, reports)| {
        // What a kernel or an initrd holds is for the vcpu worker to see.
        Test::new(format!("errors::{}", row.0), kvm, move || refused(&row, status, reports))
    }));
    tests
}

/// A directory with one of everything.
fn files() -> Scratch {
    let dir = Scratch::new();
    let guest = bare::elf(&[Op::Bytes { addr: bare::FREE, data: vec![1; 4096] }]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut image = guest.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    let mut arm_image = vec![0; 4096];
    arm_image[56..60].copy_from_slice(b"ARM\x64");
    let bz = bzimage(&[Op::Exit(0)]);
    let files: [(&str, &[u8]); 16] = [
        (KERNEL, &guest),
        ("disk.img", &[0; 4096]),
        ("empty", &[]),
        ("text", b"#!/bin/sh\nexit 0\n"),
        ("head.elf", &guest[..40]),
        ("half.elf", &guest[..guest.len() / 2]),
        ("half.bz", &bz[..bz.len() - 512]),
        ("arm.elf", &changed(18, &[183, 0])),
        ("arm.image", &arm_image),
        ("i386.elf", &changed(4, &[1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3])),
        ("program.elf", &changed(64, &[3])),
        ("module.elf", &changed(16, &[1])),
        // Its one segment is loaded at 64 MiB, and entered there.
        (
            "big.elf",
            &changed_to(
                &changed(24, &(64_u64 << 20).to_le_bytes()),
                88,
                &(64_u64 << 20).to_le_bytes(),
            ),
        ),
        ("odd.img", &[0; 511]),
        ("locked", &[0; 512]),
        ("long", &vec![1; 40 << 20]),
    ];
    for (name, bytes) in files {
        dir.write(name, bytes);
    }
    std::fs::create_dir(dir.path("dir")).unwrap();
    mkfifoat(CWD, dir.path("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
    std::fs::hard_link(dir.path("disk.img"), dir.path("link.img")).unwrap();
    for (target, link) in
        [("fifo", "to-fifo"), ("/dev/null", "to-device"), ("nothing", "to-nothing")]
    {
        symlink(target, dir.path(link)).unwrap();
    }
    std::fs::hard_link(dir.path("disk.img"), dir.path("hard-link")).unwrap();
    dir
}

fn changed_to(image: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

fn refused(row: &Row, status: i32, reports: bool) {
    let (_, line, words) = row;
    let dir = files();
    let mut before = dir.list();
    let mut args = line.args();
    if reports {
        args.splice(1..1, ["--report", REPORT]);
        before.push(REPORT.to_owned());
        before.sort_unstable();
    }
    let end = Run::new(&dir, &args).end();
    end.exits(status).prints("").explains(words);
    if reports {
        end.check(["failed", "refused"].contains(&end.text("outcome")), "another outcome");
        let reason = end.stderr.trim_start_matches("casemate: ").trim_end();
        end.check(end.text("reason") == reason, "the report has another reason");
    }
    assert_eq!(dir.list(), before, "what is in the directory afterwards");
}

fn long_command_line() {
    let dir = files();
    let line = "x".repeat(2048);
    let end = Run::new(&dir, &["boot", "--kernel", KERNEL, "--cmdline", &line]).end();
    end.exits(125).prints("").explains(&["command line", "2048", "2047"]);
}

fn too_many_disks() {
    let dir = files();
    let mut args = vec!["boot", "--kernel", KERNEL];
    (0..18).for_each(|_| args.extend(["--disk", "disk.img,ro"]));
    Run::new(&dir, &args).end().exits(125).prints("").explains(&["disks", "18", "17"]);
}

fn not_writable() {
    let dir = files();
    set_mode(&dir.path("locked"), 0o444);
    let args = ["boot", "--kernel", KERNEL, "--disk", "locked"];
    let end = Run::new(&dir, &args).unprivileged().end();
    end.exits(125).prints("").explains(&["\"locked\"", "ermission denied", ",ro"]);
}

fn not_readable() {
    let dir = files();
    set_mode(&dir.path("locked"), 0);
    let end = Run::new(&dir, &["boot", "--kernel", "locked"]).unprivileged().end();
    end.exits(125).prints("").explains(&["kernel", "\"locked\"", "ermission denied"]);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// One run has a disk; another one wants it.
fn busy(first: &str, second: &str) {
    let dir = files();
    let mut running = Run::boot(&dir, &announce(Op::Halt)).args(&["--disk", first]).start();
    running.await_stdout(READY);
    let end = Run::new(&dir, &["boot", "--kernel", KERNEL, "--disk", second]).end();
    let name = second.trim_end_matches(",ro");
    end.exits(125).prints("").explains(&[name, "another run"]);
    running.signal(Signal::TERM);
    running.end().exits(143).prints(READY);
    // And it is free again at once.
    dir.write(KERNEL, bare::elf(&[Op::Exit(0)]));
    Run::new(&dir, &["boot", "--kernel", KERNEL, "--disk", second]).end().exits(0);
}

/// Runs a guest where a shell has changed /dev/kvm, in a mount namespace of its own. `$0` is the
/// test's directory.
fn run_where(change: &str, words: &[&str]) {
    let dir = files();
    std::fs::create_dir(dir.path("dev")).unwrap();
    dir.write("dev/null", "");
    set_mode(&dir.path("locked"), 0);
    let script = format!("{change} && exec \"$@\"");
    let place = dir.dir().to_str().unwrap().to_owned();
    let shell = ["sh".to_owned(), "-c".to_owned(), script, place];
    let wrapper: Vec<String> = own_mounts().into_iter().map(String::from).chain(shell).collect();
    let run = Run::boot(&dir, &[Op::Exit(0)]).by(&wrapper);
    let end = run.unprivileged().end();
    end.exits(125).prints("").outcome("refused").explains(words);
}

fn no_kvm() {
    let change = "mount --bind /dev/null \"$0\"/dev/null && mount --rbind \"$0\"/dev /dev";
    run_where(change, &["/dev/kvm", "No such file", "kvm_intel"]);
}

fn kvm_not_permitted() {
    // Root of a user namespace may open it all the same, unless it gives that up.
    let weaken = if geteuid().is_root() {
        ""
    } else {
        " && set -- setpriv --bounding-set=-all --inh-caps=-all \"$@\""
    };
    let change = format!("mount --bind \"$0\"/locked /dev/kvm{weaken}");
    run_where(&change, &["/dev/kvm", "ermission denied", "kvm"]);
}

fn kvm_is_another() {
    run_where("mount --bind \"$0\"/disk.img /dev/kvm", &["/dev/kvm"]);
}

fn help() {
    let dir = Scratch::new();
    for args in [&["--help"][..], &["run", "--help"], &["boot", "--help"], &["--version"]] {
        let end = Run::new(&dir, args).end();
        end.exits(0).is_silent().check(!end.stdout.is_empty(), "no help");
    }
}
