//! Target `loader`: kernel images and initrds as they come, within a time limit.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use worker::{boot, layout};

use crate::clock;

const RAM: usize = 8 << 20;
const RSDP: GuestAddress = GuestAddress(0xe_0000);
/// No image of a few pages takes longer, however slow the machine is and whatever it says of itself.
const LIMIT: Duration = Duration::from_secs(2);

/// Guest RAM and two files, used again and again.
struct Rig {
    memory: GuestMemoryMmap<()>,
    kernel: File,
    initrd: File,
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig {
        memory: GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap(),
        kernel: memfd_create("kernel", MemfdFlags::CLOEXEC).unwrap().into(),
        initrd: memfd_create("initrd", MemfdFlags::CLOEXEC).unwrap().into(),
    });
}

/// Loads the image; its last byte says how much of it is the initrd, in 256ths.
pub fn run(bytes: &[u8]) {
    let Some((cut, image)) = bytes.split_last() else { return };
    let (kernel, initrd) = image.split_at(image.len() - image.len() * usize::from(*cut) / 256);
    RIG.with_borrow_mut(|rig| {
        for (file, bytes) in [(&mut rig.kernel, kernel), (&mut rig.initrd, initrd)] {
            file.set_len(bytes.len() as u64).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
        }
        let begun = clock::busy();
        let initrd = (!initrd.is_empty()).then_some(&mut rig.initrd);
        let loaded =
            boot::load(&rig.memory, &mut rig.kernel, initrd, b"console=hvc0", RSDP, &[7; 64]);
        let took = clock::busy() - begun;
        assert!(took < LIMIT, "the loader took {:?}", took);
        match loaded {
            // It starts in RAM, above what the loader itself put there.
            Ok(entry) => assert!(entry.rip.0 >= layout::HIGH_RAM && entry.rip.0 < RAM as u64),
            // An error is one line, and not a long one.
            Err(error) => {
                let text = error.to_string();
                assert!(!text.contains('\n') && text.len() < 200, "{text:?}");
            }
        }
    });
}
