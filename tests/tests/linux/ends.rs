//! Ends without the command's own status.

use tests::fixtures::Fixture;
use tests::scratch::Scratch;
use tests::suite::Test;

use crate::{NEEDS, run};

pub fn tests() -> Vec<Test> {
    let row = |name: &'static str, script: &'static str, status, outcome: &'static str| {
        Test::new(format!("ends::{name}"), NEEDS, move || check(script, status, outcome))
    };
    let reboot = |command: &str| -> &'static str {
        let script =
            format!("python3 -c 'import ctypes; ctypes.CDLL(None).reboot({command})'; sleep 100");
        Box::leak(script.into_boxed_str())
    };
    vec![
        row("panic", "echo c >/proc/sysrq-trigger; sleep 100", 118, "panic"),
        row("power_off", reboot("0x4321fedc"), 118, "power-off"),
        row("reset", reboot("0x1234567"), 118, "reset"),
        Test::new("ends::a_fork_bomb_ends_with_the_time", NEEDS, fork_bomb),
        Test::new("ends::a_kernel_without_its_drivers_is_named", NEEDS, no_drivers),
    ]
}

fn check(script: &str, status: i32, outcome: &str) {
    let dir = Scratch::new();
    let end = run(&dir).args(&["--console", "console", "--", "sh", "-c", script]).end();
    end.exits(status).outcome(outcome).explains(&["the guest"]);
    if outcome == "panic" {
        let words = "Kernel panic - not syncing";
        end.check(end.text("kernel_console").contains(words), "the report has no last words");
        let console = String::from_utf8_lossy(&dir.read("console")).into_owned();
        end.check(console.contains(words), "the console file has no last words");
    }
}

fn fork_bomb() {
    let dir = Scratch::new();
    let script = "echo started; bomb() { bomb | bomb & }; bomb; sleep 1000";
    let end = run(&dir).args(&["--timeout", "60s", "--", "sh", "-c", script]).end();
    end.exits(124).outcome("timeout").explains(&["--timeout"]);
}

fn no_drivers() {
    let dir = Scratch::new();
    std::fs::create_dir(dir.path("modules")).unwrap();
    dir.write("modules/modules.dep", "");
    let kernel = Fixture::Kernel("cloud").path();
    let rootfs = Fixture::Rootfs.path();
    let run =
        tests::run::Run::new(&dir, &["run", "--modules", "modules", "--report", "report.json"]);
    let end = run
        .args(&["--kernel".as_ref(), kernel.as_os_str(), "--rootfs".as_ref(), rootfs.as_os_str()])
        .args(&["--timeout", "120s", "--", "true"])
        .limit(crate::LIMIT)
        .end();
    end.exits(125).outcome("setup").explains(&["kernel", "--modules"]);
}
