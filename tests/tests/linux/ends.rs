//! Ends without the command's own status, and guests that never come to the command.

use tests::fixtures::Fixture;
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

use crate::{KERNEL, NEEDS, run, run_with, script};

pub fn tests() -> Vec<Test> {
    let cloud = [NEEDS, &[Need::Fixture(Fixture::Kernel("cloud"))]].concat();
    vec![
        Test::new("ends::panic", NEEDS, panic),
        Test::new("ends::power_off", NEEDS, || reboot("0x4321fedc", "power-off")),
        Test::new("ends::reset", NEEDS, || reboot("0x1234567", "reset")),
        Test::new("ends::a_fork_bomb_ends_with_the_time", NEEDS, fork_bomb),
        Test::new("ends::a_start_that_takes_too_long", NEEDS, slow_start),
        Test::new("ends::the_early_console_has_the_first_words", NEEDS, early_console),
        Test::new("ends::a_kernel_without_its_drivers", NEEDS, no_drivers),
        Test::new("ends::too_little_memory_for_a_bzimage", &cloud, || {
            little_memory(Fixture::Kernel("cloud"))
        }),
        Test::new("ends::too_little_memory_for_an_elf", NEEDS, || little_memory(KERNEL)),
    ]
}

fn panic() {
    const PANIC: &str = "Kernel panic - not syncing";
    let dir = Scratch::new();
    let text = "echo '<0>words for the console' >/dev/kmsg; echo c >/proc/sysrq-trigger; sleep 100";
    let end = run(&dir, &["--console", "console"], &script(text)).end();
    end.exits(118).outcome("panic").prints("").explains(&["panicked"]);
    let console = String::from_utf8_lossy(&dir.read("console")).into_owned();
    for words in [PANIC, "words for the console"] {
        end.check(end.text("kernel_console").contains(words), "the report lacks last words");
        end.check(console.contains(words), "the console file lacks last words");
    }
}

/// reboot(2) with this command.
fn reboot(command: &str, outcome: &str) {
    let dir = Scratch::new();
    let text =
        format!("echo so far; python3 -c 'import ctypes; ctypes.CDLL(None).reboot({command})'");
    let end = run(&dir, &[], &script(&text)).end();
    end.exits(118).outcome(outcome).prints("so far\n").explains(&["the guest"]);
}

fn fork_bomb() {
    let dir = Scratch::new();
    let text = "echo started; bomb() { bomb | bomb & }; bomb; sleep 1000";
    // Long enough for a boot on a machine that has other things to do.
    let end = run(&dir, &["--timeout", "45s"], &script(text)).end();
    end.exits(124).outcome("timeout").prints("started\n");
    end.check(end.stderr.ends_with("casemate: the time was up (--timeout)\n"), "no last line");
    let took = end.took.as_secs_f64();
    end.check((45.0..65.0).contains(&took), "the time limit was 45 s");
}

fn slow_start() {
    let dir = Scratch::new();
    let end = run(&dir, &["--earlycon", "--boot-timeout", "10ms"], &["sleep", "1000"]).end();
    end.exits(118).outcome("boot-timeout").prints("");
    end.check(end.text("reason").contains("(--boot-timeout)"), "another reason");
}

/// It is off in every other test, which are all silent. The kernel is not, before it has its console.
fn early_console() {
    const FIRST: &str = "early console: [    0.000000] Linux version 6";
    let dir = Scratch::new();
    let end = run(&dir, &["--earlycon"], &["echo", "started"]).end();
    end.exits(0).outcome("exited").prints("started\n");
    end.check(end.stderr.contains(FIRST), "no first line");
    let others = end.stderr.lines().any(|line| !line.starts_with("casemate: early console: "));
    end.check(!others, "something else on stderr");
    end.check(!end.text("early_console").is_empty(), "nothing in the report");
}

fn no_drivers() {
    let dir = Scratch::new();
    std::fs::create_dir(dir.path("modules")).unwrap();
    dir.write("modules/modules.dep", "");
    let end = run(&dir, &["--modules", "modules"], &["true"]).end();
    end.exits(125).outcome("setup").prints("").explains(&["kernel", "virtio", "--modules"]);
}

fn little_memory(kernel: Fixture) {
    let dir = Scratch::new();
    let rootfs = Fixture::Rootfs.path();
    let run = run_with(&dir, kernel, &rootfs.to_string_lossy(), &["--mem", "32M"], &["true"]);
    let name = kernel.path().file_name().unwrap().to_string_lossy().into_owned();
    run.end().exits(125).prints("").explains(&[&name, "32 MiB", "--mem"]);
}
