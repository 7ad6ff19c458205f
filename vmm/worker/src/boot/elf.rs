//! ELF64 kernel images (System V ABI, chapters 4 and 5), and the note that offers the PVH entry.
//!
//! Segments go to their physical addresses; what a segment has in memory past its bytes in the file
//! is RAM that nothing was written to. At most [`SEGMENTS`] headers and [`NOTES`] bytes of notes are
//! looked at, and no more bytes are copied than there is RAM.

use linux_loader::elf::{
    EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, EM_X86_64, ET_DYN, ET_EXEC, Elf64_Ehdr, Elf64_Phdr,
    PT_INTERP, PT_LOAD, PT_NOTE,
};

use super::memory::Memory;
use super::source::Source;
use super::zero_page::Header;
use super::{Error, Kernel, Machine, Protocol};

/// Most program headers of an image; Linux has 5.
const SEGMENTS: usize = 64;
/// Most bytes of one note segment; Linux has some 500.
const NOTES: usize = 64 << 10;

/// The owner and type of the note whose first word is the PVH entry.
const PVH_OWNER: &[u8] = b"Xen\0";
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

pub fn load(memory: &Memory<'_>, image: &mut Source<'_>) -> Result<Kernel, Error> {
    let header = image.header::<Elf64_Ehdr>(0, "its ELF header")?;
    check(&header)?;
    let mut segments = [Elf64_Phdr::default(); SEGMENTS];
    let segments = &mut segments[..usize::from(header.e_phnum)];
    let mut at = header.e_phoff;
    for segment in &mut *segments {
        *segment = image.header(at, "its program header table")?;
        // The header just read ends within the file, so this is at most the file's length.
        at += u64::from(header.e_phentsize);
    }
    let (mut end, mut copied, mut pvh) = (0, 0_u64, None);
    for segment in &*segments {
        match segment.p_type {
            PT_INTERP => return Err(Error::NoKernel("a program for Linux user space")),
            PT_LOAD => {
                end = end.max(check_segment(memory, image, segment)?);
                copied = copied.saturating_add(segment.p_filesz);
            }
            PT_NOTE => pvh = pvh.or(pvh_entry(image, segment)?),
            _ => {}
        }
    }
    if copied > memory.low_end {
        return Err(Error::Malformed("its segments overlap"));
    }
    let (protocol, entry) = match pvh {
        Some(entry) => (Protocol::Pvh, u64::from(entry)),
        None => (Protocol::Linux64, header.e_entry),
    };
    let loads = || segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    if !loads().any(|s| (s.p_paddr..s.p_paddr + s.p_filesz).contains(&entry)) {
        return Err(Error::Malformed("its entry point lies in no segment"));
    }
    for segment in loads() {
        image.copy(segment.p_offset, segment.p_filesz, memory.mem, segment.p_paddr)?;
    }
    Ok(Kernel { protocol, entry, end, header: Header::default() })
}

fn check(header: &Elf64_Ehdr) -> Result<(), Error> {
    // The same place in every ELF file, in the byte order of its machine.
    let big_endian = header.e_ident[EI_DATA] != ELFDATA2LSB;
    let machine = if big_endian { header.e_machine.swap_bytes() } else { header.e_machine };
    if machine != EM_X86_64 || big_endian || header.e_ident[EI_CLASS] != ELFCLASS64 {
        return Err(Error::Machine(Machine(machine)));
    }
    match header.e_type {
        ET_EXEC | ET_DYN => {}
        1 => return Err(Error::NoKernel("an object file or kernel module")),
        4 => return Err(Error::NoKernel("a core dump")),
        _ => return Err(Error::NoKernel("not an executable")),
    }
    if usize::from(header.e_phentsize) != size_of::<Elf64_Phdr>() {
        return Err(Error::Malformed("program headers of another size than ELF64's"));
    }
    if !(1..=SEGMENTS).contains(&usize::from(header.e_phnum)) {
        return Err(Error::Malformed("no program headers, or more than 64"));
    }
    Ok(())
}

/// The end of a segment in memory, once it is known to lie in the file and in RAM.
fn check_segment(memory: &Memory<'_>, image: &Source<'_>, s: &Elf64_Phdr) -> Result<u64, Error> {
    if s.p_filesz > s.p_memsz {
        return Err(Error::Malformed("a segment with more bytes in the file than in memory"));
    }
    image.check(s.p_offset, s.p_filesz, "a segment")?;
    if s.p_memsz == 0 {
        return Ok(0); // linkers write empty segments with any address
    }
    let end = s.p_paddr.saturating_add(s.p_memsz);
    memory.check_kernel(s.p_paddr, end)?;
    Ok(end)
}

/// The PVH entry, if this note segment has the note.
fn pvh_entry(image: &Source<'_>, segment: &Elf64_Phdr) -> Result<Option<u32>, Error> {
    const MALFORMED: Error = Error::Malformed("a note that ends past its segment");
    image.check(segment.p_offset, segment.p_filesz, "a note segment")?;
    let mut notes = [0; NOTES];
    let len = usize::try_from(segment.p_filesz).unwrap_or(usize::MAX);
    let notes = notes.get_mut(..len).ok_or(Error::Malformed("more than 64 KiB of notes"))?;
    image.read(segment.p_offset, notes)?;
    let align = if segment.p_align == 8 { 8 } else { 4 };

    let mut rest = &*notes;
    while let Some((head, body)) = rest.split_first_chunk::<12>() {
        let [name_len, desc_len, kind] = [0, 4, 8].map(|at| word(head, at));
        // Both parts are padded, counted from the start of the note.
        let desc_at = (12 + name_len as usize).next_multiple_of(align) - 12;
        let name = body.get(..name_len as usize).ok_or(MALFORMED)?;
        let desc = body.get(desc_at..).and_then(|d| d.get(..desc_len as usize)).ok_or(MALFORMED)?;
        if name == PVH_OWNER && kind == XEN_ELFNOTE_PHYS32_ENTRY {
            let entry =
                desc.first_chunk().ok_or(Error::Malformed("a PVH note without an entry"))?;
            return Ok(Some(u32::from_le_bytes(*entry)));
        }
        let next = desc_at + desc.len().next_multiple_of(align);
        rest = body.get(next..).unwrap_or_default();
    }
    Ok(None)
}

fn word(bytes: &[u8; 12], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
