//! System calls without a wrapper, as an attacker makes them.
#![expect(unsafe_code, reason = "the prober is the attacker: any call with any argument")]

use std::arch::asm;

/// What came of an attempt: through, or the errno that it failed with.
pub type Attempt<T = ()> = Result<T, u16>;

pub use prober::answer::IN_VAIN;

/// Makes system call `number`.
pub fn call(number: i64, args: &[u64]) -> Attempt<u64> {
    let arg = |index: usize| args.get(index).copied().unwrap_or(0);
    // SAFETY: unsound by purpose. This process holds nothing but what an attacker would have, and
    // every caller passes pointers to what lives through the call, or means the call to fail.
    let result = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if result == -1 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return Err(u16::try_from(errno).unwrap_or(u16::MAX));
    }
    Ok(result.cast_unsigned())
}

/// The same without a result.
pub fn does(number: i64, args: &[u64]) -> Attempt {
    call(number, args).map(drop)
}

/// The address of something, as an argument.
pub fn at<T: ?Sized>(place: &T) -> u64 {
    std::ptr::from_ref(place).cast::<u8>().addr() as u64
}

/// The same of something that the call fills in.
pub fn at_mut<T: ?Sized>(place: &mut T) -> u64 {
    std::ptr::from_mut(place).cast::<u8>().addr() as u64
}

/// A number with a sign, as an argument.
pub fn int(number: i32) -> u64 {
    i64::from(number).cast_unsigned()
}

/// Makes system call `number` through `int 0x80`, as a 32-bit program does. Pointers have to be below
/// 4 GiB.
pub fn call_32(number: u32, first: u32, second: u32) -> Attempt<u32> {
    let result: i32;
    // SAFETY: unsound by purpose, see above. rbx is the compiler's, so it is put back.
    unsafe {
        asm!(
            "xchg rbx, {first}", "int 0x80", "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inlateout("eax") number => result,
            in("ecx") second, in("edx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match u32::try_from(result) {
        Ok(result) => Ok(result),
        Err(_) => Err(u16::try_from(result.unsigned_abs()).unwrap_or(u16::MAX)),
    }
}

/// Reads the time stamp counter.
pub fn time_stamp() -> u64 {
    // SAFETY: only reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Writes one byte to each page of a mapping that a call has just returned.
pub fn touch(address: u64, len: u64) {
    for page in (address..address + len).step_by(4096) {
        let place = std::ptr::with_exposed_provenance_mut::<u8>(usize::try_from(page).unwrap_or(0));
        // SAFETY: the kernel has just mapped these pages for this process, writable.
        unsafe { place.write_volatile(1) };
    }
}

/// Puts bytes at an address below 4 GiB that a call has just mapped.
pub fn put(address: u32, bytes: &[u8]) {
    let place = usize::try_from(address).unwrap_or(0);
    let place = std::ptr::with_exposed_provenance_mut::<u8>(place);
    // SAFETY: the kernel has just mapped a page there for this process, writable.
    unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// Starts `libc::clone` with these flags on a small stack of its own, which is never given back. The
/// child leaves at once, or with `stay` waits for its end.
pub fn clone_on_stack(flags: libc::c_int, stay: bool) -> Attempt<i32> {
    extern "C" fn leave(_: *mut libc::c_void) -> libc::c_int {
        0
    }
    extern "C" fn wait(_: *mut libc::c_void) -> libc::c_int {
        loop {
            let _ = call(libc::SYS_pause, &[]);
        }
    }
    let top = Box::leak(Box::new([0u128; 512])).as_mut_ptr_range().end;
    let body = if stay { wait } else { leave };
    // SAFETY: the child runs on a stack that nobody else uses.
    let pid = unsafe { libc::clone(body, top.cast(), flags, std::ptr::null_mut()) };
    if pid == -1 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return Err(u16::try_from(errno).unwrap_or(u16::MAX));
    }
    Ok(pid)
}
