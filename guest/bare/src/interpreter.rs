//! The interpreter's machine code: position-independent, carried as read-only data, run only by the guest.
//!
//! RBX points to the operands of the current operation, R15 to the table of operations, in the order of
//! `encode`'s numbers. RAX, RCX, RDX, RSI, RDI are scratch.
#![expect(
    unsafe_code,
    reason = "machine code for the guest, and the bytes between its two symbols"
)]

use std::arch::global_asm;
use std::slice;

use crate::EXIT_PORT;

global_asm!(
    ".pushsection .rodata.casemate_bare, \"a\", @progbits",
    ".balign 8",
    "casemate_bare_start:",
    "cli",
    "cld",
    "lea rbx, [rip + casemate_bare_end]",
    "lea r15, [rip + .Lbare_table]",
    ".Lbare_next:",
    "mov rax, [rbx]",
    "add rbx, 8",
    "movsxd rax, dword ptr [r15 + rax * 4]",
    "add rax, r15",
    "jmp rax",
    // Halt.
    ".Lbare_halt:",
    "hlt",
    "jmp .Lbare_halt",
    // Exit: code. A failed check comes in with its code in EAX.
    ".Lbare_exit:",
    "mov eax, [rbx]",
    ".Lbare_fail:",
    "mov edx, {exit}",
    "out dx, al",
    "jmp .Lbare_halt",
    // Spin.
    ".Lbare_spin:",
    "pause",
    "jmp .Lbare_spin",
    // Crash: an access to an address that is not mapped, with no IDT.
    ".Lbare_crash:",
    "lidt [rip + .Lbare_no_idt]",
    "xor eax, eax",
    "mov rax, [rax - 8]",
    "jmp .Lbare_crash",
    // Bytes: address, length, the bytes, padded.
    ".Lbare_bytes:",
    "mov rdi, [rbx]",
    "mov rcx, [rbx + 8]",
    "lea rsi, [rbx + 16]",
    "rep movsb",
    "add rsi, 7",
    "and rsi, -8",
    "mov rbx, rsi",
    "jmp .Lbare_next",
    // Again: rounds left, rounds for the next time, bytes back to the start.
    ".Lbare_again:",
    "dec qword ptr [rbx]",
    "jz 2f",
    "sub rbx, [rbx + 16]",
    "jmp .Lbare_next",
    "2:",
    "mov rax, [rbx + 8]",
    "mov [rbx], rax",
    "add rbx, 24",
    "jmp .Lbare_next",
    // The operations that exist in four widths. `load` fills all of RAX.
    ".macro bare_ops w, load, size, a, c",
    // Write: address, value.
    ".Lbare_write\\w:",
    "mov rdx, [rbx]",
    "mov rax, [rbx + 8]",
    "mov \\size ptr [rdx], \\a",
    "add rbx, 16",
    "jmp .Lbare_next",
    // Expect: address, mask, value, code.
    ".Lbare_expect\\w:",
    "mov rdx, [rbx]",
    "\\load, \\size ptr [rdx]",
    "and rax, [rbx + 8]",
    "cmp rax, [rbx + 16]",
    "mov eax, [rbx + 24]",
    "jne .Lbare_fail",
    "add rbx, 32",
    "jmp .Lbare_next",
    // Poll: address, mask, value, bound, code.
    ".Lbare_poll\\w:",
    "mov rdx, [rbx]",
    "mov rcx, [rbx + 24]",
    "2:",
    "\\load, \\size ptr [rdx]",
    "and rax, [rbx + 8]",
    "cmp rax, [rbx + 16]",
    "je 3f",
    "pause",
    "dec rcx",
    "jnz 2b",
    "mov eax, [rbx + 32]",
    "jmp .Lbare_fail",
    "3:",
    "add rbx, 40",
    "jmp .Lbare_next",
    // Copy: from, to.
    ".Lbare_copy\\w:",
    "mov rdx, [rbx]",
    "mov \\a, \\size ptr [rdx]",
    "mov rdx, [rbx + 8]",
    "mov \\size ptr [rdx], \\a",
    "add rbx, 16",
    "jmp .Lbare_next",
    // Add: address, value.
    ".Lbare_add\\w:",
    "mov rdx, [rbx]",
    "mov rcx, [rbx + 8]",
    "mov \\a, \\size ptr [rdx]",
    "add \\a, \\c",
    "mov \\size ptr [rdx], \\a",
    "add rbx, 16",
    "jmp .Lbare_next",
    // Same: one address, the other, bound, code.
    ".Lbare_same\\w:",
    "mov rcx, [rbx + 16]",
    "mov rsi, [rbx]",
    "mov rdi, [rbx + 8]",
    "2:",
    "mov \\a, \\size ptr [rsi]",
    "cmp \\a, \\size ptr [rdi]",
    "je 3f",
    "pause",
    "dec rcx",
    "jnz 2b",
    "mov eax, [rbx + 24]",
    "jmp .Lbare_fail",
    "3:",
    "add rbx, 32",
    "jmp .Lbare_next",
    // Await: one address, the other, bound.
    ".Lbare_await\\w:",
    "mov rcx, [rbx + 16]",
    "mov rsi, [rbx]",
    "mov rdi, [rbx + 8]",
    "2:",
    "mov \\a, \\size ptr [rsi]",
    "cmp \\a, \\size ptr [rdi]",
    "je 3f",
    "pause",
    "dec rcx",
    "jnz 2b",
    "3:",
    "add rbx, 24",
    "jmp .Lbare_next",
    ".endm",
    // The same for I/O ports.
    ".macro bare_ports w, a",
    // Out: port, value.
    ".Lbare_out\\w:",
    "mov edx, [rbx]",
    "mov eax, [rbx + 8]",
    "out dx, \\a",
    "add rbx, 16",
    "jmp .Lbare_next",
    // In: port, mask, value, code.
    ".Lbare_in\\w:",
    "mov edx, [rbx]",
    "xor eax, eax",
    "in \\a, dx",
    "and eax, [rbx + 8]",
    "cmp eax, [rbx + 16]",
    "mov eax, [rbx + 24]",
    "jne .Lbare_fail",
    "add rbx, 32",
    "jmp .Lbare_next",
    ".endm",
    "bare_ops 1, \"movzx eax\", byte, al, cl",
    "bare_ops 2, \"movzx eax\", word, ax, cx",
    "bare_ops 4, \"mov eax\", dword, eax, ecx",
    "bare_ops 8, \"mov rax\", qword, rax, rcx",
    "bare_ports 1, al",
    "bare_ports 2, ax",
    "bare_ports 4, eax",
    ".purgem bare_ops",
    ".purgem bare_ports",
    ".balign 4",
    ".Lbare_table:",
    ".irp op, halt, exit, spin, crash, bytes, again, halt, halt",
    ".long .Lbare_\\op - .Lbare_table",
    ".endr",
    ".irp op, write, expect, poll, copy, add, same",
    ".long .Lbare_\\op\\()1 - .Lbare_table, .Lbare_\\op\\()2 - .Lbare_table",
    ".long .Lbare_\\op\\()4 - .Lbare_table, .Lbare_\\op\\()8 - .Lbare_table",
    ".endr",
    ".irp op, out, in",
    ".long .Lbare_\\op\\()1 - .Lbare_table, .Lbare_\\op\\()2 - .Lbare_table",
    ".long .Lbare_\\op\\()4 - .Lbare_table, .Lbare_halt - .Lbare_table",
    ".endr",
    ".long .Lbare_await1 - .Lbare_table, .Lbare_await2 - .Lbare_table",
    ".long .Lbare_await4 - .Lbare_table, .Lbare_await8 - .Lbare_table",
    ".Lbare_no_idt:",
    ".fill 10, 1, 0",
    ".balign 8",
    "casemate_bare_end:",
    ".popsection",
    exit = const EXIT_PORT,
);

// SAFETY: the assembly above defines both symbols, and nothing writes to what they name.
unsafe extern "C" {
    safe static casemate_bare_start: [u8; 0];
    safe static casemate_bare_end: [u8; 0];
}

/// The machine code. The program goes right behind it, on an 8-byte boundary.
pub fn interpreter() -> &'static [u8] {
    let start = &raw const casemate_bare_start;
    let len = (&raw const casemate_bare_end).addr() - start.addr();
    // SAFETY: the two symbols enclose initialized read-only bytes of one section, the second behind the first.
    unsafe { slice::from_raw_parts(start.cast(), len) }
}
