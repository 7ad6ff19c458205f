//! Memory that changes when it is read a second time.
//!
//! While [`Trap::watch`] runs a function, no page of a range is accessible. An access faults, the
//! handler opens the range for the one instruction and closes it again after it. An address whose
//! byte was read before is changed before the second instruction sees it, and the function's
//! caller is told. So every double fetch is found, whatever the time between the two readings and
//! whatever code they are in. Only x86-64 has this; elsewhere nothing is watched.
//!
//! One thing is no double fetch: a copy of 9 to 16 bytes is two loads that may overlap, of 16 bytes
//! two loads of the same; both are stored, and only what the last one read is used.
#![expect(unsafe_code, reason = "signal handlers, and the protection of guest memory")]

use std::cell::Cell;
use std::ptr;
use std::sync::Once;

use devices::Memory;
use vm_memory::{GuestAddress, GuestMemoryBackend};

/// The most bytes that can be watched.
pub const MOST: usize = 8 * 4096;

/// What the handlers need, for each thread.
struct State {
    start: Cell<usize>,
    len: Cell<usize>,
    /// An offset that may be read again and again.
    except: Cell<usize>,
    /// Read before, a bit a byte.
    seen: [Cell<u64>; MOST / 64],
    /// The last access: its address, its instruction, and whether it was part of a copy.
    last: Cell<(usize, i64, bool)>,
    /// The first address that was read twice, and 0 if there is none.
    twice: Cell<usize>,
}

thread_local! {
    static STATE: State = const {
        State {
            start: Cell::new(0),
            len: Cell::new(0),
            except: Cell::new(0),
            seen: [const { Cell::new(0) }; MOST / 64],
            last: Cell::new((0, 0, false)),
            twice: Cell::new(0),
        }
    };
}

/// Runs `function` and returns the offset of the first byte from `start` on, at which two accesses
/// of it that read began; the one at offset `except` does not count. `start` is the first byte of
/// whole pages, `len` their length.
pub fn watch<T>(
    start: *mut u8,
    len: usize,
    except: usize,
    function: impl FnOnce() -> T,
) -> (T, Option<usize>) {
    assert!(start.addr().is_multiple_of(4096) && len.is_multiple_of(4096) && len <= MOST);
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
    STATE.with(|state| {
        state.seen.iter().for_each(|word| word.set(0));
        state.twice.set(0);
        state.last.set((0, 0, false));
        state.len.set(len);
        state.except.set(except);
        state.start.set(start.addr());
        protect(state, libc::PROT_NONE);
        let result = function();
        protect(state, libc::PROT_READ | libc::PROT_WRITE);
        state.start.set(0);
        let twice = state.twice.get();
        (result, (twice != 0).then(|| twice - start.addr()))
    })
}

/// True when guest memory from `at` on holds these bytes. No other thread may write there.
pub fn holds(memory: &Memory, at: u64, bytes: &[u8]) -> bool {
    let slice = memory.get_slice(GuestAddress(at), bytes.len()).unwrap();
    let guard = slice.ptr_guard();
    // SAFETY: `get_slice` found the range in one region, and only this thread touches it.
    unsafe { std::slice::from_raw_parts(guard.as_ptr(), bytes.len()) == bytes }
}

fn protect(state: &State, protection: libc::c_int) {
    let start = ptr::with_exposed_provenance_mut(state.start.get());
    // SAFETY: the caller of `watch` gave whole pages that no Rust reference points into.
    unsafe { libc::mprotect(start, state.len.get(), protection) };
}

#[cfg(not(target_arch = "x86_64"))]
fn install() {}

#[cfg(target_arch = "x86_64")]
fn install() {
    for (signal, handler) in [(libc::SIGSEGV, fault as Handler), (libc::SIGTRAP, step as Handler)] {
        // SAFETY: all zeros is a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        action.sa_sigaction = handler as usize;
        // SAFETY: the handlers below keep to what a signal handler may do.
        unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    }
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// The trap flag: one instruction, then SIGTRAP.
const TRAP: i64 = 0x100;
/// The fault was a write (bit 1 of a page fault's error code).
const WRITE: i64 = 2;

#[cfg(target_arch = "x86_64")]
extern "C" fn fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives the handler a siginfo of a fault.
    let info = unsafe { &*info };
    // SAFETY: which has the address that could not be accessed.
    let address = unsafe { info.si_addr() }.addr();
    // SAFETY: and the context of the instruction that faulted, which nothing else refers to.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    STATE.with(|state| {
        let offset = address.wrapping_sub(state.start.get());
        if state.start.get() == 0 || offset >= state.len.get() {
            // Not ours: the instruction faults again, with nobody to catch it.
            // SAFETY: the default is always a valid handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            return;
        }
        protect(state, libc::PROT_READ | libc::PROT_WRITE);
        let instruction = registers[usize::try_from(libc::REG_RIP).unwrap_or_default()];
        let error = registers[usize::try_from(libc::REG_ERR).unwrap_or_default()];
        let again = offset == state.except.get() || is_same_copy(state, address, instruction);
        if error & WRITE == 0 && !again {
            let (word, bit) = (&state.seen[offset / 64], 1 << (offset % 64));
            if word.get() & bit != 0 {
                let byte = ptr::with_exposed_provenance_mut::<u8>(address);
                // SAFETY: the address lies in the watched range, which was just made accessible.
                let before = unsafe { byte.read_volatile() };
                // SAFETY: the same.
                unsafe { byte.write_volatile(!before) };
                if state.twice.get() == 0 {
                    state.twice.set(address);
                }
            }
            word.set(word.get() | bit);
        }
        registers[usize::try_from(libc::REG_EFL).unwrap_or_default()] |= TRAP;
    });
}

/// The second load of a copy: right after the first, from the same address, by an instruction
/// close by; and there is no third.
fn is_same_copy(state: &State, address: usize, instruction: i64) -> bool {
    let (before, by, was_second) = state.last.get();
    let near = instruction != by && instruction.abs_diff(by) < 64;
    let is_second = before == address && near && !was_second;
    state.last.set((address, instruction, is_second));
    is_second
}

#[cfg(target_arch = "x86_64")]
extern "C" fn step(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives the handler the context of the next instruction.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    STATE.with(|state| protect(state, libc::PROT_NONE));
    context.uc_mcontext.gregs[usize::try_from(libc::REG_EFL).unwrap_or_default()] &= !TRAP;
}
