//! The initrd: as high as the kernel allows, so that the kernel has room to unpack and move itself.

use super::memory::{Memory, mebibytes};
use super::source::Source;
use super::zero_page::Field;
use super::{Error, Kernel};

const PAGE: u64 = 4096;

/// Where the initrd lies.
#[derive(Clone, Copy)]
pub struct Initrd {
    pub start: u64,
    pub len: u64,
}

/// Copies the file below the end of low RAM and the kernel's own limit, to a page boundary.
pub fn load(memory: &Memory<'_>, file: &mut Source<'_>, kernel: &Kernel) -> Result<Initrd, Error> {
    let len = file.len();
    if len == 0 {
        return Err(Error::EmptyInitrd);
    }
    let limit = kernel.header.get(Field::InitrdAddrMax) + 1;
    let room = |end: u64| end.saturating_sub(kernel.end.next_multiple_of(PAGE)) / PAGE * PAGE;
    let most = room(limit.min(crate::layout::HOLE_START));
    if len > most {
        return Err(Error::LargeInitrd { len: mebibytes(len), room: most >> 20 });
    }
    let top = limit.min(memory.low_end);
    if len > room(top) {
        let need = mebibytes(kernel.end.next_multiple_of(PAGE) + len.next_multiple_of(PAGE));
        return Err(Error::InitrdRam { need, have: memory.mebibytes() });
    }
    let start = (top - len) / PAGE * PAGE;
    file.copy(0, len, memory.mem, start)?;
    Ok(Initrd { start, len })
}
