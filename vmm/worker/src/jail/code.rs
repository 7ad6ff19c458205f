//! Gives back the memory of code that only start-up ran, and of its stack.
#![expect(unsafe_code, reason = "the program headers and the pages of the program itself")]

use std::ffi::{c_int, c_void};

use rustix::mm::{Advice, madvise};
use rustix::process::getpid;
use rustix::thread::gettid;

/// So much below the deepest frame in use is given back. Start-up does not go deeper, and nothing else is
/// mapped there: the kernel leaves 128 MiB to a process's first stack.
const STACK: usize = 512 << 10;
const PAGE: usize = 0x1000;

/// Gives back what only start-up used, of code and of stack.
pub fn forget_start_up() {
    forget_stack();
    forget_code();
}

/// Unmaps the pages of this program's code and constants, which come back from the file when they are
/// used again. So a process that has settled into its loop holds the pages of the loop alone. What was
/// ever written, constants with relocations included, stays.
pub fn forget_code() {
    let mut segments = Segments::default();
    let data = (&raw mut segments).cast();
    // SAFETY: the callback takes what dl_iterate_phdr gives it, and `data` as what it is.
    unsafe { libc::dl_iterate_phdr(Some(find_segments), data) };
    // Last, and by nothing but system calls: whatever ran after them would come back at once.
    for (begin, len) in segments.0 {
        // SAFETY: the pages are those of a private mapping of the program's file that nobody may write, so each
        // of them is the file's and is read again when it is used. Refused: they stay, which is as good.
        let _ = unsafe { madvise(begin as *mut c_void, len, Advice::LinuxDontNeed) };
    }
}

/// Beginnings and lengths of a program's segments that cannot be written; nothing: there are no more.
#[derive(Default)]
struct Segments([(usize, usize); 4]);

/// Finds the segments of a program that cannot be written. Stops after the first program, which is this one.
unsafe extern "C" fn find_segments(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    data: *mut c_void,
) -> c_int {
    // SAFETY: dl_iterate_phdr passes a valid pointer, which lives until this returns.
    let info = unsafe { &*info };
    // SAFETY: it passes on what it was given, which nobody else uses meanwhile.
    let segments = unsafe { &mut *data.cast::<Segments>() };
    // SAFETY: the program's headers are that many and lie in its first segment.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let fixed = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
    };
    for (segment, header) in segments.0.iter_mut().zip(headers.iter().filter(fixed)) {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
        let end = start.wrapping_add(header.p_memsz);
        if let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) {
            let begin = start & !(PAGE - 1);
            *segment = (begin, end.next_multiple_of(PAGE).wrapping_sub(begin));
        }
    }
    1
}

/// Gives back the pages of the stack below those in use, if this is the first thread.
pub fn forget_stack() {
    if gettid() == getpid() {
        forget_below();
    }
}

/// Gives back the pages of the stack below this frame. Never part of a caller's frame, which might be larger
/// than a page.
#[inline(never)]
fn forget_below() {
    let here = 0_u8;
    let end = ((&raw const here).addr() & !(PAGE - 1)) - PAGE;
    // SAFETY: the range ends a page below this small frame, and so below every frame that is in use. It begins
    // within the room that the kernel leaves to the stack of a process's first thread, which this is.
    let _ = unsafe { madvise((end - STACK) as *mut c_void, STACK, Advice::LinuxDontNeed) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_goes_on_as_it_was() {
        static WORDS: [&str; 2] = ["constants", "are still there"];
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            // Resident pages of files.
            text.split(' ').nth(2).unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        forget_start_up();
        assert!(resident() < before, "nothing was given back");
        assert_eq!(WORDS.concat(), "constantsare still there");
    }
}
