//! The program that an attacker executes: a whole ELF file of a few bytes.
//!
//! It writes [`Answer::Through`] with its effective user id to the status pipe and exits.

use crate::answer::{ANSWER, Answer};

/// Where the file is loaded.
const BASE: u64 = 0x40_0000;
const HEADERS: usize = 64 + 56;

/// System calls 107 (geteuid), 1 (write) and 60 (exit). The two offsets are relative to the end of
/// their instruction and are filled in below.
const CODE: [u8; 41] = [
    0xb8, 107, 0, 0, 0, // mov eax, 107
    0x0f, 0x05, // syscall
    0x89, 0x05, 0, 0, 0, 0, // mov [rip + answer + 4], eax
    0xb8, 1, 0, 0, 0, // mov eax, 1
    0xbf, 3, 0, 0, 0, // mov edi, 3
    0x48, 0x8d, 0x35, 0, 0, 0, 0, // lea rsi, [rip + answer]
    0xba, 16, 0, 0, 0, // mov edx, 16
    0x0f, 0x05, // syscall
    0xb8, 60, 0, 0, // mov eax, 60, and its last byte below
];
const REST: [u8; 5] = [0, 0x31, 0xff, 0x0f, 0x05]; // xor edi, edi; syscall
const STORE_END: usize = 13;
const LOAD_END: usize = 30;

/// The file.
pub fn elf() -> Vec<u8> {
    let answer_at = CODE.len() + REST.len();
    let size = HEADERS + answer_at + ANSWER;
    let mut code = CODE;
    let relative = |to: usize, from: usize| u32::try_from(to - from).unwrap_or(0).to_le_bytes();
    code[STORE_END - 4..STORE_END].copy_from_slice(&relative(answer_at + 4, STORE_END));
    code[LOAD_END - 4..LOAD_END].copy_from_slice(&relative(answer_at, LOAD_END));
    let size = u64::try_from(size).unwrap_or(0).to_le_bytes();
    let entry = BASE + u64::try_from(HEADERS).unwrap_or(0);
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"); // 64 bit, little endian
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86_64
    file.extend(entry.to_le_bytes());
    file.extend(64u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes()); // no sections
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]); // load, all rights
    file.extend(0u64.to_le_bytes());
    file.extend(BASE.to_le_bytes());
    file.extend(BASE.to_le_bytes());
    file.extend(size);
    file.extend(size);
    file.extend(4096u64.to_le_bytes());
    file.extend(code);
    file.extend(REST);
    file.extend(Answer::Through(0).encode());
    file
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn it_runs_and_answers() {
        let path = std::env::temp_dir().join(format!("casemate-helper-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&elf()).unwrap();
        file.set_permissions(PermissionsExt::from_mode(0o755)).unwrap();
        drop(file);
        let output = Command::new("sh").args(["-c", "exec \"$0\" 3>&1"]).arg(&path).output();
        std::fs::remove_file(&path).unwrap();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        let answer = Answer::decode(&output.stdout.try_into().unwrap());
        assert!(matches!(answer, Some(Answer::Through(_))), "{answer:?}");
    }
}
