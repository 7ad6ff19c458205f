//! The host's control files: /proc of our own workers, and control groups.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A cgroup file system and where in it this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    /// Where it is mounted.
    pub root: PathBuf,
    /// This process's own group.
    pub own: PathBuf,
    /// The controllers of a v1 hierarchy; none: v2.
    pub controllers: Vec<String>,
}

/// Writes a file of process `pid`.
pub fn write_proc(pid: libc::pid_t, file: &str, value: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::write(&path, value).with_context(|| format!("cannot write {value:?} to {path}"))
}

/// Reads a file of process `pid`.
pub fn read_proc(pid: libc::pid_t, file: &str) -> Result<String> {
    read_at_once(Path::new(&format!("/proc/{pid}/{file}")))
}

/// Reads a file of this process.
pub fn read_own(file: &str) -> Result<String> {
    read_at_once(&Path::new("/proc/self").join(file))
}

/// Reads a file whose size the kernel does not tell, without feeling for it bit by bit.
fn read_at_once(path: &Path) -> Result<String> {
    let mut bytes = Vec::with_capacity(8 << 10);
    let read = std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {path:?}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a link of process `pid` leads to.
pub fn proc_link(pid: libc::pid_t, file: &str) -> Result<PathBuf> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_link(&path).with_context(|| format!("cannot read {path}"))
}

/// What a link of this process leads to.
pub fn own_link(file: &str) -> Result<PathBuf> {
    let path = format!("/proc/self/{file}");
    std::fs::read_link(&path).with_context(|| format!("cannot read {path}"))
}

/// Names in a directory of process `pid`, with what each links to, if it is a link.
pub fn tasks(pid: libc::pid_t, directory: &str) -> Result<Vec<(String, Option<String>)>> {
    let path = format!("/proc/{pid}/{directory}");
    let entries = std::fs::read_dir(&path).with_context(|| format!("cannot list {path}"))?;
    entries
        .map(|entry| {
            let entry = entry?;
            let is_link = entry.file_type()?.is_symlink();
            let link = is_link.then(|| std::fs::read_link(entry.path()).ok()).flatten();
            let link = link.map(|link| link.to_string_lossy().into_owned());
            Ok((entry.file_name().to_string_lossy().into_owned(), link))
        })
        .collect()
}

/// Every cgroup file system that this process is in.
pub fn cgroup_mounts() -> Result<Vec<CgroupMount>> {
    let read = |path| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    Ok(parse_cgroup_mounts(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?))
}

/// Joins mountinfo lines (`… root mountpoint … - type source options`) with the lines of
/// /proc/self/cgroup (`id:controllers:path`).
pub fn parse_cgroup_mounts(mountinfo: &str, own: &str) -> Vec<CgroupMount> {
    let own: Vec<(Vec<&str>, &str)> = own
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            Some((controllers.split(',').filter(|name| !name.is_empty()).collect(), path))
        })
        .collect();
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(3);
            let (subtree, root) = (fields.next()?, fields.next()?);
            let mut kind = kind.split(' ');
            let (v2, options) = (kind.next()? == "cgroup2", kind.nth(1)?);
            if !v2 && !line.contains(" - cgroup ") {
                return None;
            }
            let options: Vec<&str> = options.split(',').collect();
            let (controllers, path) = own.iter().find(|(controllers, _)| match v2 {
                true => controllers.is_empty(),
                false => !controllers.is_empty() && controllers.iter().all(|c| options.contains(c)),
            })?;
            let below = Path::new(path).strip_prefix(subtree).ok()?;
            // Not joined where there is nothing to join: that would end with a slash.
            let own = Path::new(root).components().chain(below.components()).collect();
            Some(CgroupMount {
                root: root.into(),
                own,
                controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            })
        })
        .collect()
}

/// Makes a control group.
pub fn make_cgroup(group: &Path) -> Result<()> {
    std::fs::create_dir(group).with_context(|| format!("cannot make control group {group:?}"))
}

/// Opens a control group's directory, for processes to be born in.
pub fn open_cgroup(group: &Path) -> Result<OwnedFd> {
    let file = std::fs::File::open(group);
    Ok(file.with_context(|| format!("cannot open control group {group:?}"))?.into())
}

/// Reads a control group's file.
pub fn read_cgroup(path: &Path) -> Result<String> {
    read_at_once(path)
}

/// Opens a control group's file, to be written.
pub fn open_cgroup_file(path: &Path) -> Result<OwnedFd> {
    let file = std::fs::OpenOptions::new().write(true).open(path);
    Ok(file.with_context(|| format!("cannot open {path:?}"))?.into())
}

/// Writes a control group's file.
pub fn write_cgroup(path: &Path, value: &str) -> Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()))
        .with_context(|| format!("cannot write {value:?} to {path:?}"))
}

/// Removes an empty control group; true when it is gone.
pub fn remove_cgroup(group: &Path) -> bool {
    match std::fs::remove_dir(group) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_and_v2_mounts_are_found() {
        let mountinfo = "\
24 1 0:22 / /proc rw - proc proc rw
30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 24 0:27 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 /c /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 24 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
34 24 0:30 /elsewhere /mnt rw - cgroup2 none rw
35 24 0:31 /a /mnt rw - cgroup cgroup rw,memoryx
garbage
 - 
";
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/c/d\n";
        let mount = |root: &str, own: &str, controllers: &[&str]| CgroupMount {
            root: root.into(),
            own: own.into(),
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
        };
        let expected = [
            mount("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a/b", &["memory"]),
            mount("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu", &["cpu", "cpuacct"]),
            mount("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/d", &[]),
            mount("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/systemd", &["name=systemd"]),
        ];
        assert_eq!(parse_cgroup_mounts(mountinfo, own), expected);
        assert_eq!(parse_cgroup_mounts("", own), []);
        assert_eq!(parse_cgroup_mounts(mountinfo, ""), []);
    }
}
