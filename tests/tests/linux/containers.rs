//! Sources as root file systems, and how a container image wants to be run.

use std::fs::{copy, create_dir_all};
use std::os::unix::fs::symlink;

use sha2::{Digest, Sha256};
use tests::fixtures::Fixture;
use tests::run::{REPORT, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

use crate::{KERNEL, LIMIT, tool};

/// How the container image of these tests wants to be run.
const CONFIG: &str = r#"{"Entrypoint":["/bin/sh","-c"],"Cmd":["echo $A $B $(pwd) $(id -u):$(id -g)"],
    "Env":["A=image","B=image"],"User":"app:video","WorkingDir":"/srv"}"#;

const USERS: &str =
    "root:x:0:0::/:/bin/sh\nnobody:x:65534:65533::/:\napp:x:1000:100::/srv:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nusers:x:100:\nvideo:x:44:other\naudio:x:29:nobody\n";

pub fn tests() -> Vec<Test> {
    let tools = ["tar", "gzip", "zstd"].map(Need::Tool);
    let needs = [Need::Linux, Need::Fixture(KERNEL), Need::Fixture(Fixture::Busybox)];
    let needs = [&needs[..], &tools].concat();
    let sources = ["tree", "tree.tar", "tree.tar.gz", "tree.tar.zst", "saved.tar", "layout"];
    let sources = sources.map(|source| {
        Test::new(format!("containers::boots_{source}"), &needs, move || boots(source))
    });
    let own = Test::new("containers::is_run_as_it_wants", &needs, wants);
    sources.into_iter().chain([own]).collect()
}

/// A tree of one program, its users and a place for them, and the archives of it.
fn sources() -> Scratch {
    let dir = Scratch::new();
    for name in ["bin", "etc", "srv"] {
        create_dir_all(dir.path("tree").join(name)).unwrap();
    }
    copy(Fixture::Busybox.path(), dir.path("tree/bin/busybox")).unwrap();
    for name in ["sh", "id", "cat"] {
        symlink("busybox", dir.path("tree/bin").join(name)).unwrap();
    }
    dir.write("tree/etc/passwd", USERS);
    dir.write("tree/etc/group", GROUPS);
    tool(&dir, "tar", &["--owner=0", "--group=0", "-C", "tree", "-cf", "tree.tar", "."]);
    tool(&dir, "gzip", &["-k", "tree.tar"]);
    tool(&dir, "zstd", &["-q", "tree.tar"]);
    let layer = dir.read("tree.tar");
    let id = sha256(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{CONFIG},
            "rootfs":{{"type":"layers","diff_ids":["sha256:{id}"]}}}}"#
    );
    dir.write("config.json", &config);
    dir.write("manifest.json", r#"[{"Config":"config.json","Layers":["tree.tar"]}]"#);
    tool(&dir, "tar", &["-cf", "saved.tar", "config.json", "manifest.json", "tree.tar"]);
    create_dir_all(dir.path("layout/blobs/sha256")).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = sha256(bytes);
        dir.write(&format!("layout/blobs/sha256/{digest}"), bytes);
        format!(r#"{{"mediaType":"x","digest":"sha256:{digest}","size":{}}}"#, bytes.len())
    };
    let (config, layer) = (blob(config.as_bytes()), blob(&layer));
    let manifest =
        blob(format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#).as_bytes());
    dir.write("layout/index.json", format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#));
    dir.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    dir
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run<'a>(dir: &'a Scratch, source: &str, options: &[&str]) -> Run<'a> {
    let cache = format!("CASEMATE_CACHE={}", dir.path("cache").display());
    let run = Run::new(dir, &["run", "--report", REPORT, "--rootfs", source, "--kernel"]);
    run.by(&["env", &cache]).args(&[KERNEL.path()]).args(options).limit(LIMIT)
}

fn boots(source: &str) {
    let dir = sources();
    let whole = ["--entrypoint", "/bin/cat", "--user", "0", "--", "/etc/group"];
    run(&dir, source, &whole).end().exits(0).prints(GROUPS).is_silent();
}

fn wants() {
    let dir = sources();
    let saved = |options: &[&str]| run(&dir, "saved.tar", options).end();
    saved(&[]).exits(0).prints("image image /srv 1000:44\n").is_silent();
    let rows: [(&[&str], &str); 4] = [
        // The arguments stand in place of the image's command.
        (&["--env", "B=mine", "--", "echo $A $B"], "image mine\n"),
        (
            &[
                "--workdir",
                "/etc",
                "--user",
                "nobody",
                "--",
                "echo $(pwd) $(id -u) $(id -g) $(id -G)",
            ],
            "/etc 65534 65533 65533 29\n",
        ),
        (&["--user", "app", "--", "echo $(id -u) $(id -g) $(id -G) $HOME"], "1000 100 100 /srv\n"),
        (&["--entrypoint", "", "--", "/bin/busybox", "echo", "x"], "x\n"),
    ];
    for (options, expected) in rows {
        saved(options).exits(0).prints(expected).is_silent();
    }
    let end = saved(&["--user", "nemo", "--", "true"]);
    end.exits(125).outcome("setup").explains(&["user \"nemo\"", "/etc/passwd of the root image"]);
}
