//! Hosts that lack a layer: casemate refuses and says what would bring it, or goes on and reports it.

use std::ffi::OsString;

use bare::Op;
use serde_json::Value;
use tests::run::{End, Run, programs};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

/// Makes a user namespace in which there can be no other, and runs a program as its root.
const NO_USER_NAMESPACES: [&str; 6] = [
    "unshare",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"",
    "sh",
];

pub fn tests() -> Vec<Test> {
    let (kvm, user) = (&[Need::Kvm], &[Need::Kvm, Need::Root, Need::Namespaces]);
    vec![
        Test::new("missing::user_namespaces", user, user_namespaces),
        Test::new("missing::user_namespaces_are_gone_without", user, without_user_namespaces),
        Test::new("missing::landlock", kvm, || landlock("landlock")),
        Test::new("missing::landlock_is_turned_off", kvm, || landlock("landlock-turned-on")),
        Test::new("missing::landlock_is_gone_without", kvm, without_landlock),
        Test::new("missing::landlock_of_a_later_abi", kvm, later_landlock),
        Test::new("missing::seccomp", kvm, seccomp),
        Test::new("missing::cgroup_rights_are_reported", user, no_group),
        Test::new("missing::cgroup_rights_are_required", user, required_group),
        Test::new("missing::a_level_that_nothing_has", kvm, level),
    ]
}

fn without(feature: &str) -> [OsString; 2] {
    [programs().join("without").into(), feature.into()]
}

fn boot(dir: &Scratch) -> Run<'_> {
    Run::boot(dir, &[Op::Exit(3)])
}

/// The report's state and reason of a layer.
fn layer(end: &End, name: &str) -> (String, String) {
    let layers = end.report.as_ref().unwrap()["layers"].as_array().unwrap();
    let found = layers.iter().find(|layer| layer["layer"] == name).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&found["state"]), text(&found["reason"]))
}

fn user_namespaces() {
    let dir = Scratch::new();
    let end = boot(&dir).by(&NO_USER_NAMESPACES).end();
    end.exits(125).outcome("refused").prints("");
    end.explains(&["layer user-ns", "No space left", "user.max_user_namespaces"]);
}

fn without_user_namespaces() {
    let dir = Scratch::new();
    let args = ["--insecure-allow-missing", "user-ns,uts-ns"];
    let end = boot(&dir).args(&args).by(&NO_USER_NAMESPACES).end();
    end.exits(3).outcome("exited").is_silent();
    end.check(layer(&end, "user-ns").0 == "absent", "the report has a user namespace");
    // What may be missing is not left out where it can be had.
    for name in ["uts-ns", "net-ns", "root", "capabilities", "landlock", "seccomp", "limits"] {
        end.check(layer(&end, name).0 == "active", &format!("{name} is missing too"));
    }
}

fn landlock(feature: &str) {
    let dir = Scratch::new();
    let end = boot(&dir).by(&without(feature)).end();
    end.exits(125).outcome("refused").prints("");
    end.explains(&["layer landlock", "absent", "lsm=landlock", "--insecure-allow-missing"]);
    end.check(layer(&end, "landlock").0 == "absent", "the report has Landlock");
}

fn without_landlock() {
    let dir = Scratch::new();
    let run = boot(&dir).args(&["--insecure-allow-missing", "landlock"]);
    let end = run.by(&without("landlock")).end();
    end.exits(3).outcome("exited").is_silent();
    end.check(layer(&end, "landlock").0 == "absent", "the report has Landlock");
    // The filter that the workers inherited is not mistaken for their own.
    end.check(layer(&end, "seccomp").0 == "active", "the report has no seccomp");
    let insecure = end.report.as_ref().unwrap()["insecure"].clone();
    end.check(insecure == serde_json::json!(["insecure-allow-missing landlock"]), "insecure");
}

fn later_landlock() {
    let dir = Scratch::new();
    let end = boot(&dir).args(&["--require", "landlock>=200"]).end();
    end.exits(125).outcome("refused").prints("");
    end.explains(&["layer landlock has level", "200 is required"]);
}

fn seccomp() {
    let dir = Scratch::new();
    let end = boot(&dir).by(&without("seccomp")).end();
    end.exits(125).prints("");
    end.explains(&["layer seccomp", "not implemented", "CONFIG_SECCOMP_FILTER"]);
}

fn no_group() {
    let dir = Scratch::new();
    let end = boot(&dir).as_user().end();
    end.exits(3).outcome("exited").is_silent();
    let (state, reason) = layer(&end, "cgroup");
    end.check(state == "absent" && reason.contains("ermission denied"), "the report has a group");
    end.check(end.report.as_ref().unwrap()["limits"]["group"].is_null(), "limits of no group");
}

fn required_group() {
    let dir = Scratch::new();
    let end = boot(&dir).args(&["--require", "cgroup"]).as_user().end();
    end.exits(125).outcome("refused").prints("");
    end.explains(&["layer cgroup", "absent", "ermission denied", "Delegate=yes"]);
}

fn level() {
    let dir = Scratch::new();
    let end = boot(&dir).args(&["--require", "user-ns>=2"]).end();
    end.exits(125).outcome("refused").explains(&["layer user-ns has level 1, 2 is required"]);
}
