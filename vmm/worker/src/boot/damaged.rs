//! Damaged images: every truncation of the synthetic ones, random mutations, and truncations of the real
//! kernels that the machine has.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::images::*;
use super::tests::{MIB, RSDP, SEED, load_bytes, ram};
use super::*;

#[test]
fn every_truncation_is_an_error() {
    let mem = ram(8 * MIB, 0);
    for (name, image) in [("elf", elf()), ("elf with PVH", elf_pvh()), ("bzImage", bzimage())] {
        let kernel = &mut file(&image);
        for len in (0..image.len() as u64).rev() {
            kernel.set_len(len).unwrap();
            let result = load(&mem, kernel, None, b"", RSDP, &SEED);
            assert!(result.is_err(), "{name} cut to {len} bytes");
        }
    }
}

/// Xorshift: the same images on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[test]
fn random_mutations_do_no_harm() {
    let mem = ram(8 * MIB, 0);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let deadline = Instant::now() + Duration::from_secs(2);
    let images = [elf(), elf_pvh(), bzimage()];
    let mut accepted = 0;
    while Instant::now() < deadline {
        let mut image = images[random.below(images.len())].clone();
        for _ in 0..=random.below(8) {
            // Mostly the headers: the rest is code.
            let area = if random.below(8) == 0 { image.len() } else { 0x290 };
            let at = random.below(area - 8);
            let value = match random.below(4) {
                0 => 0_u64.to_le_bytes(),
                1 => u64::MAX.to_le_bytes(),
                2 => (1_u64 << random.below(64)).to_le_bytes(),
                _ => (random.0).to_le_bytes(),
            };
            put(&mut image, at, &value[..1 << random.below(4)]);
        }
        image.truncate(image.len() - random.below(2) * random.below(image.len()));
        if let Ok(entry) = load_bytes(&mem, &image) {
            assert!(entry.rip.0 >= layout::HIGH_RAM && entry.rip.0 < 8 << 20);
            accepted += 1;
        }
    }
    assert!(accepted > 0, "the mutations are too wild to test anything");
}

/// Kernels of this machine: of the host, and those that `scripts/debian-kernel` fetched.
fn real_bzimages() -> Vec<PathBuf> {
    let folder = |variable| std::env::var_os(variable).map(PathBuf::from);
    let cache = folder("CASEMATE_CACHE")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("casemate")))
        .or_else(|| Some(folder("HOME")?.join(".cache/casemate")));
    let kernels = cache.map(|cache| cache.join("kernels")).unwrap_or_default();
    let folders =
        fs::read_dir(kernels).into_iter().flatten().flatten().map(|e| e.path().join("boot"));
    [PathBuf::from("/boot")]
        .into_iter()
        .chain(folders)
        .flat_map(fs::read_dir)
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-"))
        })
        .collect()
}

#[test]
fn real_bzimages_load_and_their_truncations_do_not() {
    let images = real_bzimages();
    if images.is_empty() {
        println!(
            "not run: real_bzimages_load_and_their_truncations_do_not: no vmlinuz on this machine"
        );
    }
    for path in images {
        let image = fs::read(&path).unwrap();
        let mem = ram(512 * MIB, 0);
        let entry = load_bytes(&mem, &image).unwrap();
        assert_eq!(entry.protocol, Protocol::Linux64, "{}", path.display());
        let error = load_bytes(&ram(32 * MIB, 0), &image).unwrap_err().to_string();
        assert!(error.contains("MiB of RAM, the guest has 32 MiB"), "{error}");
        let code = (usize::from(image[0x1F1]) + 1) * 512;
        let kernel = &mut file(&image);
        for len in [code + image.len() / 2, code + 1, code, code - 1, 0x264, 0x210, 0x203, 1, 0] {
            kernel.set_len(len as u64).unwrap();
            assert!(load(&mem, kernel, None, b"", RSDP, &SEED).is_err(), "cut to {len} bytes");
        }
    }
}
