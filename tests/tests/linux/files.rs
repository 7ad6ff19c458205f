//! Files that come in with a run, and a root that is written to a disk instead of memory.

use serde_json::json;
use tests::scratch::Scratch;
use tests::suite::Test;

use crate::{NEEDS, run, script};

/// With 256 MiB of memory, more is written to the root than it could hold in memory, which is half of that.
const WORK: &str = "
set -e
awk -F, '{ sum += $2 } END { print sum }' /in/table.csv
cat /srv/other/deep/name
touch /in/x 2>/dev/null || echo read-only
grep -c ' /in squashfs ro,nosuid,nodev' /proc/mounts
head -c 160M /dev/zero >/big
sync
echo 3 >/proc/sys/vm/drop_caches
cmp -n 167772160 /big /dev/zero && stat -c %s /big
cp /in/table.csv /usr/bin/table && rm /usr/bin/awk && ls /usr/bin/table
";

/// Writes twice as much as there is memory, each MiB of it another one, and reads it all again.
const TWICE: &str = "
import os, struct
SIZE, COUNT = 1 << 20, 512
block = lambda number: struct.pack('<Q', number) * (SIZE // 8)
with open('/large', 'wb') as file:
    for number in range(COUNT):
        file.write(block(number))
    os.fsync(file.fileno())
memory = int(open('/proc/meminfo').readline().split()[1]) << 10
print(os.stat('/large').st_size >= 2 * memory)
with open('/large', 'rb') as file:
    numbers = [number for number in range(COUNT) if file.read(SIZE) == block(number)]
    print(len(numbers), sum(numbers), file.read(1))
";

/// Reads a table that came in, and leaves a result to come out.
const RESULT: &str = "
set -e
mkdir -p /out/by/name
python3 -c '
import csv
rows = list(csv.reader(open(\"/in/table.csv\")))
open(\"/out/by/name/sum\", \"w\").write(str(sum(int(row[1]) for row in rows)) + \"\\n\")'
chmod 755 /out/by/name/sum
";

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("files::in_and_a_root_on_a_disk", NEEDS, files),
        Test::new("files::twice_the_memory_on_a_scratch_disk", NEEDS, twice),
        Test::new("files::a_scratch_disk_holds_what_it_says", NEEDS, full),
        Test::new("files::a_table_comes_in_and_a_result_out", NEEDS, result),
        Test::new("files::a_link_does_not_come_out", NEEDS, link),
        Test::new("files::more_than_may_come_out", NEEDS, too_much),
    ]
}

fn twice() {
    let dir = Scratch::new();
    let options = ["--mem", "256M", "--scratch", "1G"];
    let end = run(&dir, &options, &["python3", "-c", TWICE]).end();
    end.exits(0).prints("True\n512 130816 b''\n").is_silent();
    let disk = &end.report.as_ref().unwrap()["limits"]["disks"][1];
    end.check(disk["kept_in"] == "temporary" && disk["refused_writes"] == 0, "another disk");
}

/// All of it but a tenth at most can be filled, and no byte more than all of it.
fn full() {
    const SIZE: u64 = 128 << 20;
    let dir = Scratch::new();
    let text = "head -c 1G /dev/zero >/large 2>/dev/null || stat -c %s /large";
    let end = run(&dir, &["--mem", "256M", "--scratch", "128M"], &script(text)).end();
    end.exits(0).is_silent();
    let held: u64 = String::from_utf8_lossy(&end.stdout).trim().parse().unwrap();
    end.check((SIZE - SIZE / 10..=SIZE).contains(&held), &format!("{held} bytes of {SIZE}"));
}

fn result() {
    let dir = Scratch::new();
    std::fs::create_dir(dir.path("data")).unwrap();
    dir.write("data/table.csv", "a,1\nb,20\nc,300\n");
    let options = ["--in", "data", "--out", "results", "--user", "1000"];
    let end = run(&dir, &options, &script(RESULT)).end();
    end.exits(0).is_silent();
    assert_eq!(dir.read("results/by/name/sum"), b"321\n");
    let out = &end.report.as_ref().unwrap()["out"];
    let expected = json!([{"directory": "results", "files": 1, "bytes": 4, "reason": null}]);
    end.check(*out == expected, &format!("out should be {expected}"));
    // It is not empty any more, and nothing in it is overwritten.
    let end = run(&dir, &options, &script(RESULT)).end();
    end.exits(125).explains(&["\"results\"", "not empty"]);
}

fn link() {
    let dir = Scratch::new();
    let command = script("echo good >/out/good; ln -s /etc/passwd /out/link");
    let end = run(&dir, &["--out", "results"], &command).end();
    end.exits(125).outcome("uncollected").explains(&["\"results\"", "\"link\"", "a symbolic link"]);
    assert_eq!(std::fs::read_dir(dir.path("results")).unwrap().count(), 0);
}

fn too_much() {
    let dir = Scratch::new();
    let command = script("head -c 2M /dev/zero >/out/large; exit 3");
    let end = run(&dir, &["--out", "results", "--max-out", "1M"], &command).end();
    end.exits(3).outcome("exited");
    let reason = end.report.as_ref().unwrap()["out"][0]["reason"].clone();
    end.check(reason.as_str().is_some_and(|reason| reason.contains("--max-out")), "no reason");
    assert_eq!(std::fs::read_dir(dir.path("results")).unwrap().count(), 0);
}

fn files() {
    let dir = Scratch::new();
    for name in ["data", "other", "other/deep"] {
        std::fs::create_dir(dir.path(name)).unwrap();
    }
    dir.write("data/table.csv", "a,1\nb,20\nc,300\n");
    dir.write("other/deep/name", "deep\n");
    let options = ["--mem", "256M", "--scratch", "1G", "--in", "data", "--in", "other:/srv/other"];
    let end = run(&dir, &options, &script(WORK)).end();
    end.exits(0).prints("321\ndeep\nread-only\n1\n167772160\n/usr/bin/table\n").is_silent();
    let disks = &end.report.as_ref().unwrap()["limits"]["disks"];
    // The root, the scratch disk, what came in.
    end.check(disks.as_array().is_some_and(|disks| disks.len() == 4), "expected four disks");
    let scratch = &disks[1];
    for (name, expected) in [
        ("kept_in", json!("temporary")),
        ("bytes", json!(1_u64 << 30)),
        ("bytes_per_second", json!(256_u64 << 20)),
        ("operations_per_second", json!(20_000)),
        ("refused_writes", json!(0)),
    ] {
        end.check(scratch[name] == expected, &format!("{name} should be {expected}"));
    }
    end.check(disks[2]["read_only"] == true, "what came in can be written");
    assert_eq!(dir.list(), ["data", "other", "report.json"]);
}
