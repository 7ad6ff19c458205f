//! `casemate boot` of a distribution's kernel with an initramfs of the test's own.

use std::fs::{copy, create_dir_all, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::fixtures::Fixture;
use tests::run::{REPORT, Run};
use tests::scratch::Scratch;
use tests::suite::{Need, Test};

use crate::{LIMIT, tool};

/// A kernel with /dev/port, which Debian's cloud kernel lacks.
const KERNEL: Fixture = Fixture::Elf("generic");

/// Echoes a line of stdin, then ends with the code 42 by writing it to the exit port, 0x603.
const INIT: &str = "#!/busybox sh
b=/busybox
$b mkdir /dev
$b mount -t devtmpfs none /dev
for module in /modules/*; do $b insmod $module; done
while ! [ -c /dev/hvc0 ]; do $b sleep 0.1; done
exec </dev/hvc0 >/dev/hvc0
$b stty raw -echo
echo ready
read line
echo heard $line
printf '\\052' | $b dd of=/dev/port bs=1 seek=1539
$b sleep 1000
";

const MODULES: [&str; 4] = ["virtio", "virtio_ring", "virtio_mmio", "virtio_console"];

pub fn tests() -> Vec<Test> {
    let needs =
        [Need::Linux, Need::Fixture(KERNEL), Need::Fixture(Fixture::Busybox), Need::Tool("sh")];
    vec![Test::new("own_init::stdin_stdout_and_exit_port", &needs, own_init)]
}

fn own_init() {
    let dir = Scratch::new();
    initramfs(&dir);
    let kernel = KERNEL.path();
    let run = Run::new(&dir, &["boot", "--initrd", "initrd", "--report", REPORT, "--kernel"]);
    let run = run.args(&[kernel.as_os_str()]).args(&["--cmdline", "quiet panic=-1"]).limit(LIMIT);
    let mut running = run.open_stdin().start();
    let mut stdin = running.stdin();
    running.await_stdout("ready");
    std::io::Write::write_all(&mut stdin, b"a line\n").unwrap();
    let end = running.end();
    end.exits(42).outcome("exited").is_silent();
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    end.check(text.contains("heard a line"), "stdin did not reach the guest");
}

fn initramfs(dir: &Scratch) {
    let kernel = KERNEL.path();
    let version = kernel.file_name().unwrap().to_str().unwrap().trim_start_matches("vmlinux-");
    let modules = kernel.parent().unwrap().join("../lib/modules").join(version);
    create_dir_all(dir.path("tree/modules")).unwrap();
    for (number, name) in MODULES.iter().enumerate() {
        let file = find(&modules, name).unwrap_or_else(|| panic!("no module {name}"));
        let to = dir.path(&format!("tree/modules/{number}.ko"));
        match file.extension().and_then(|suffix| suffix.to_str()) {
            Some("xz") => std::fs::write(to, tool(dir, "xz", &["-dc", file.to_str().unwrap()])),
            Some("zst") => std::fs::write(to, tool(dir, "zstd", &["-dcq", file.to_str().unwrap()])),
            _ => copy(&file, to).map(|_| ()),
        }
        .unwrap();
    }
    copy(Fixture::Busybox.path(), dir.path("tree/busybox")).unwrap();
    let init = dir.write("tree/init", INIT);
    set_permissions(init, PermissionsExt::from_mode(0o755)).unwrap();
    tool(dir, "sh", &["-c", "cd tree && find . | ./busybox cpio -o -H newc >../initrd"]);
}

/// The file of a module somewhere below `dir`, packed or not.
fn find(dir: &Path, name: &str) -> Option<std::path::PathBuf> {
    let own =
        |file: &str| file.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == name);
    std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        match path.is_dir() {
            true => find(&path, name),
            false => own(path.file_name()?.to_str()?).then_some(path),
        }
    })
}
