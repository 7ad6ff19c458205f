//! The CPUID of each vCPU, from what KVM can offer (Intel SDM volume 2 "CPUID"; AMD APM volume 3, appendix E).
//!
//! KVM's answer is already the list of what it can give a guest. This takes away what a guest has no
//! use for, and replaces what depends on the vCPU. The guest sees one package of `cpus` cores with one
//! thread each; APIC id, x2APIC id and index are the same number.
//!
//! | hidden | leaves | why |
//! |---|---|---|
//! | VMX, SVM, SMX, SKINIT | 1, 0x8000_0001, 0x8000_000A | nested guests are a large part of KVM's attack surface |
//! | performance counters, tracing, sampling | 1, 7, 0xA, 0x14, 0x1C, 0x23, 0x8000_0001, 0x8000_001B/1C/22 | side channels, and MSRs for KVM to emulate |
//! | MONITOR, MWAIT, MONITORX, WAITPKG | 1, 5, 7, 0x8000_0001 | the guest idles with HLT, which gives the CPU back |
//! | SGX, Key Locker, PCONFIG, TME, SEV | 7, 0x12, 0x19, 0x1B, 0x8000_001F | keys and enclaves that the guest cannot own |
//! | TSX | 7 | a source of side channels that compilers no longer use |
//! | AMX | 7, 0xD, 0x1D, 0x1E | needs a permission that the worker does not ask for |
//! | power, temperature, hybrid cores, resource control | 1, 6, 7, 0xF, 0x10, 0x1A, 0x20 | facts of the host, not of the guest |
//! | async page faults, MMU_OP, MSI ids, SEV calls | 0x4000_0001 | guest memory the host would write to, for no gain |
//!
//! Kept: KVM's leaves 0x4000_0000 and 0x4000_0001 (kvmclock gives the TSC's frequency), the invariant TSC.
//! Written here: the processor's name, which KVM leaves empty.
//! Forced on: TSC deadline and ARAT, without which Linux looks for a PIT to calibrate its APIC timer.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// KVM's table has no room for the entries of one vCPU.
#[derive(Debug, thiserror::Error)]
#[error("the CPUID table of {0} entries is too long for KVM")]
pub struct TooLong(usize);

/// Leaves of which nothing is left, of Intel and of both.
const EMPTY: [u32; 15] =
    [0x5, 0xA, 0xF, 0x10, 0x12, 0x14, 0x17, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x20, 0x23];
/// The same of AMD, past 0x8000_0000: SVM, instruction sampling, profiling, memory encryption, resource
/// control, counters, encryption keys, memory sharing, topology by levels.
const EMPTY_AMD: [u32; 9] = [0xA, 0x1B, 0x1C, 0x1F, 0x20, 0x22, 0x23, 0x25, 0x26];

/// Leaf, subleaf, and the bits to clear in EAX, EBX, ECX and EDX.
const HIDDEN: [(u32, u32, [u32; 4]); 6] = [
    // ECX: DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, SDBG, PDCM, DCA. EDX: DS, ACPI, TM, PBE.
    (1, 0, [0, 0, bits(&[2, 3, 4, 5, 6, 7, 8, 11, 15, 18]), bits(&[21, 22, 29, 31])]),
    // EBX: SGX, HLE, RTM, RDT-M, RDT-A, PT. ECX: WAITPKG, TME, Key Locker, ENQCMD, SGX_LC.
    // EDX: UINTR, RTM_ALWAYS_ABORT, TSX_FORCE_ABORT, hybrid, PCONFIG, ArchLBR, AMX (3).
    (
        7,
        0,
        [
            0,
            bits(&[2, 4, 11, 12, 15, 25]),
            bits(&[5, 13, 23, 29, 30]),
            bits(&[5, 11, 13, 15, 18, 19, 22, 24, 25]),
        ],
    ),
    // EAX: ArchPerfmonExt, AMX-FP16, HRESET. EDX: AMX-COMPLEX.
    (7, 1, [bits(&[8, 21, 22]), 0, 0, bits(&[8])]),
    // EAX: the AMX states.
    (0xD, 0, [bits(&[17, 18]), 0, 0, 0]),
    // EAX: MMU_OP, ASYNC_PF, ASYNC_PF_VMEXIT, ASYNC_PF_INT, MSI_EXT_DEST_ID, HC_MAP_GPA_RANGE, MIGRATION_CONTROL.
    (0x4000_0001, 0, [bits(&[2, 4, 10, 14, 15, 16, 17]), 0, 0, 0]),
    // ECX: SVM, IBS, SKINIT, LWP, PERFCTR_CORE, PERFCTR_NB, PTSC, PERFCTR_LLC, MWAITX.
    (0x8000_0001, 0, [0, 0, bits(&[2, 10, 12, 15, 23, 24, 27, 28, 29]), 0]),
];

/// The processor's name: programs that read "model name" expect one.
const BRAND: &[u8; 48] =
    b"Casemate virtual CPU\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
const HTT: u32 = 1 << 28;
const ARAT: u32 = 1 << 2;
const CMP_LEGACY: u32 = 1 << 1;

const fn bits(positions: &[u32]) -> u32 {
    let (mut mask, mut i) = (0, 0);
    while i < positions.len() {
        mask |= 1 << positions[i];
        i += 1;
    }
    mask
}

/// The table for vCPU `cpu` of `cpus`, at most [`crate::layout::CPUS_MAX`], out of what `KVM_GET_SUPPORTED_CPUID` gave.
///
/// # Errors
/// [`TooLong`] if `supported` all but fills KVM's table.
pub fn guest(supported: &CpuId, cpu: u8, cpus: u8) -> Result<CpuId, TooLong> {
    let first = supported.as_slice().iter().find(|e| e.function == 0).copied().unwrap_or_default();
    let amd = [*b"Auth", *b"Hygo"].contains(&first.ebx.to_le_bytes());
    let place = Place { cpu: u32::from(cpu), cpus: u32::from(cpus), amd };
    let mut entries: Vec<_> =
        supported.as_slice().iter().filter(|e| !replaced(e)).copied().collect();
    for entry in &mut entries {
        hide(entry);
        place.write(entry);
    }
    for leaf in [0xB, 0x1F] {
        if leaf <= first.eax {
            entries.extend(place.topology(leaf));
        }
    }
    CpuId::from_entries(&entries).map_err(|_| TooLong(entries.len()))
}

/// Entries that are made anew, and those whose leaf is empty: KVM answers zero for a leaf it was not given.
fn replaced(entry: &kvm_cpuid_entry2) -> bool {
    matches!(entry.function, 0xB | 0x1F)
        || is_empty(entry.function)
        || entry.function == 0xD && matches!(entry.index, 17 | 18)
}

fn is_empty(leaf: u32) -> bool {
    EMPTY.contains(&leaf) || EMPTY_AMD.contains(&(leaf ^ 0x8000_0000))
}

fn hide(entry: &mut kvm_cpuid_entry2) {
    for (_, _, [eax, ebx, ecx, edx]) in
        HIDDEN.iter().filter(|(leaf, index, _)| (*leaf, *index) == (entry.function, entry.index))
    {
        entry.eax &= !eax;
        entry.ebx &= !ebx;
        entry.ecx &= !ecx;
        entry.edx &= !edx;
    }
}

/// Which vCPU of how many, and whose words for it.
struct Place {
    cpu: u32,
    cpus: u32,
    amd: bool,
}

impl Place {
    /// APIC ids in the package: a power of two.
    fn ids(&self) -> u32 {
        self.cpus.next_power_of_two()
    }

    /// Bits of an APIC id.
    fn id_bits(&self) -> u32 {
        self.ids().trailing_zeros()
    }

    /// Writes what depends on the place of the vCPU among its siblings.
    fn write(&self, entry: &mut kvm_cpuid_entry2) {
        let only_if_several = |bit| if self.cpus > 1 { bit } else { 0 };
        match entry.function {
            1 => {
                let count = if self.amd { self.cpus } else { self.ids() };
                entry.ebx = entry.ebx & 0xFFFF | count << 16 | self.cpu << 24;
                entry.ecx |= TSC_DEADLINE | HYPERVISOR;
                entry.edx = entry.edx & !HTT | only_if_several(HTT);
            }
            // Intel's caches: ids that share one, ids in the package. A type of zero ends the list.
            4 if entry.eax & 0x1F != 0 => {
                let sharers = if is_shared(entry) { self.ids() - 1 } else { 0 };
                entry.eax = entry.eax & 0x3FFF | sharers << 14 | (self.ids() - 1) << 26;
            }
            6 => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (ARAT, 0, 0, 0),
            0x8000_0001 if self.amd => {
                entry.ecx = entry.ecx & !CMP_LEGACY | only_if_several(CMP_LEGACY);
            }
            0x8000_0002..=0x8000_0004 => {
                let part = 16 * (entry.function - 0x8000_0002) as usize;
                let word =
                    |n: usize| BRAND[part + 4 * n..].first_chunk().copied().unwrap_or_default();
                [entry.eax, entry.ebx, entry.ecx, entry.edx] =
                    [0, 1, 2, 3].map(|n| u32::from_le_bytes(word(n)));
            }
            // AMD's core count and size of the core id. Intel's register is zero.
            0x8000_0008 if self.amd => entry.ecx = (self.cpus - 1) | self.id_bits() << 12,
            0x8000_001D if entry.eax & 0x1F != 0 => {
                let sharers = if is_shared(entry) { self.cpus - 1 } else { 0 };
                entry.eax = entry.eax & 0x3FFF | sharers << 14;
            }
            // Extended APIC id; core id, one thread a core; node 0 of one.
            0x8000_001E => {
                (entry.eax, entry.ebx, entry.ecx, entry.edx) = (self.cpu, self.cpu, 0, 0);
            }
            _ => {}
        }
    }

    /// Leaf 0xB or 0x1F: a level of one thread, a level of all cores, the end.
    fn topology(&self, leaf: u32) -> [kvm_cpuid_entry2; 3] {
        let levels = [(0, 0, 1, 1), (1, self.id_bits(), self.cpus, 2), (2, 0, 0, 0)];
        levels.map(|(index, eax, ebx, level)| kvm_cpuid_entry2 {
            function: leaf,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax,
            ebx,
            ecx: level << 8 | index,
            edx: self.cpu,
            ..Default::default()
        })
    }
}

/// Caches of the third level belong to the package, the others to one core.
fn is_shared(cache: &kvm_cpuid_entry2) -> bool {
    cache.eax >> 5 & 7 >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that offers every bit of every leaf a KVM of today knows.
    fn host(vendor: &[u8; 4]) -> CpuId {
        let entry = |function, index, value| kvm_cpuid_entry2 {
            function,
            index,
            eax: value,
            ebx: value,
            ecx: value,
            edx: value,
            ..Default::default()
        };
        let mut entries: Vec<_> = (0..=0x24).map(|leaf| entry(leaf, 0, u32::MAX)).collect();
        entries.extend((0x8000_0000..=0x8000_0026).map(|leaf| entry(leaf, 0, u32::MAX)));
        entries.extend([0x4000_0000, 0x4000_0001].map(|leaf| entry(leaf, 0, u32::MAX)));
        entries.extend([(7, 1), (0xB, 1), (0x1F, 1)].map(|(l, i)| entry(l, i, u32::MAX)));
        entries.extend([17, 18].map(|i| entry(0xD, i, u32::MAX)));
        // Second and third level caches, then the end of the list.
        for leaf in [4, 0x8000_001D] {
            let caches = [(1, 0xFFFF_FF43), (2, 0xFFFF_FF63), (3, 0)];
            entries.extend(caches.map(|(index, eax)| entry(leaf, index, eax)));
        }
        entries[0].eax = 0x24;
        entries[0].ebx = u32::from_le_bytes(*vendor);
        CpuId::from_entries(&entries).unwrap()
    }

    fn leaf(cpuid: &CpuId, function: u32, index: u32) -> [u32; 4] {
        let mut found =
            cpuid.as_slice().iter().filter(|e| (e.function, e.index) == (function, index));
        let entry = found.next().copied().unwrap_or_default();
        assert!(found.next().is_none(), "leaf {function:#x}.{index} is there twice");
        [entry.eax, entry.ebx, entry.ecx, entry.edx]
    }

    const MACHINES: [(&[u8; 4], u8, u8); 8] = [
        (b"Genu", 0, 1),
        (b"Genu", 1, 2),
        (b"Genu", 2, 3),
        (b"Genu", 31, 32),
        (b"Auth", 0, 1),
        (b"Auth", 3, 4),
        (b"Auth", 4, 5),
        (b"Hygo", 31, 32),
    ];

    #[test]
    fn hidden_features_are_hidden_and_needed_ones_are_there() {
        // Leaf, subleaf, register (EAX to EDX), bit.
        let hidden = [
            (1, 0, 2, 3),            // MONITOR
            (1, 0, 2, 5),            // VMX
            (1, 0, 2, 15),           // PDCM
            (7, 0, 1, 2),            // SGX
            (7, 0, 1, 11),           // RTM
            (7, 0, 2, 5),            // WAITPKG
            (7, 0, 3, 24),           // AMX-TILE
            (0xD, 0, 0, 18),         // AMX state
            (0x4000_0001, 0, 0, 4),  // ASYNC_PF
            (0x8000_0001, 0, 2, 2),  // SVM
            (0x8000_0001, 0, 2, 29), // MWAITX
        ];
        let needed = [
            (1, 0, 2, 24),           // TSC deadline
            (1, 0, 2, 31),           // hypervisor
            (1, 0, 2, 21),           // x2APIC
            (1, 0, 3, 9),            // APIC
            (6, 0, 0, 2),            // ARAT
            (7, 0, 3, 26),           // IBRS and IBPB
            (0x4000_0001, 0, 0, 3),  // kvmclock
            (0x4000_0001, 0, 0, 24), // kvmclock, stable
            (0x8000_0007, 0, 3, 8),  // invariant TSC
        ];
        for (vendor, cpu, cpus) in MACHINES {
            let cpuid = guest(&host(vendor), cpu, cpus).unwrap();
            for (list, value) in [(&hidden[..], 0), (&needed[..], 1)] {
                for (function, index, register, bit) in list {
                    let found = leaf(&cpuid, *function, *index)[*register] >> bit & 1;
                    assert_eq!(found, value, "{function:#x}.{index}[{register}] bit {bit}");
                }
            }
            let amd = EMPTY_AMD.map(|leaf| 0x8000_0000 | leaf);
            for function in EMPTY.into_iter().chain(amd) {
                assert_eq!(leaf(&cpuid, function, 0), [0; 4], "{function:#x}");
            }
            assert_eq!(leaf(&cpuid, 0x4000_0000, 0), [u32::MAX; 4]);
            let name = [2, 3, 4].map(|n| leaf(&cpuid, 0x8000_0000 + n, 0)).as_flattened().to_vec();
            let name: Vec<_> = name.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(name.trim_ascii_end(), BRAND.trim_ascii_end());
        }
    }

    #[test]
    fn every_leaf_tells_the_same_topology() {
        for (vendor, cpu, cpus) in MACHINES {
            let cpuid = guest(&host(vendor), cpu, cpus).unwrap();
            let (id, count) = (u32::from(cpu), u32::from(cpus));
            let [_, ebx, _, edx] = leaf(&cpuid, 1, 0);
            assert_eq!(ebx >> 24, id);
            assert!(ebx >> 16 & 0xFF >= count);
            assert_eq!(edx >> 28 & 1 == 1, cpus > 1);
            for extended in [0xB, 0x1F] {
                let [shift, ..] = leaf(&cpuid, extended, 1);
                assert_eq!(leaf(&cpuid, extended, 0), [0, 1, 0x100, id]);
                assert_eq!(leaf(&cpuid, extended, 1), [shift, count, 0x201, id]);
                assert_eq!(leaf(&cpuid, extended, 2), [0, 0, 2, id]);
                assert!(1 << shift >= count && id >> shift == 0);
            }
            // Sharing ids less one: second level, third level.
            for (caches, all) in [(4, count.next_power_of_two()), (0x8000_001D, count)] {
                assert_eq!(leaf(&cpuid, caches, 1)[0] >> 14 & 0xFFF, 0);
                assert_eq!(leaf(&cpuid, caches, 2)[0] >> 14 & 0xFFF, all - 1);
                assert_eq!(leaf(&cpuid, caches, 3)[0], 0);
            }
            assert_eq!(leaf(&cpuid, 4, 2)[0] >> 26, count.next_power_of_two() - 1);
            if *vendor != *b"Genu" {
                let [.., ecx, _] = leaf(&cpuid, 0x8000_0008, 0);
                assert_eq!(ecx & 0xFF, count - 1);
                assert!(1 << (ecx >> 12 & 0xF) >= count);
                assert_eq!(leaf(&cpuid, 0x8000_001E, 0), [id, id, 0, 0]);
                assert_eq!(leaf(&cpuid, 0x8000_0001, 0)[2] >> 1 & 1 == 1, cpus > 1);
            }
        }
    }

    #[test]
    fn a_host_without_extended_topology_gets_none() {
        let mut old = host(b"Genu");
        old.as_mut_slice()[0].eax = 0xA;
        let cpuid = guest(&old, 0, 2).unwrap();
        assert!(cpuid.as_slice().iter().all(|e| !matches!(e.function, 0xB | 0x1F)));
    }

    #[test]
    fn an_empty_and_a_full_table_do_no_harm() {
        assert_eq!(guest(&CpuId::new(0).unwrap(), 0, 1).unwrap().as_slice().len(), 0);
        let entries: Vec<_> = (0..256)
            .map(|index| kvm_cpuid_entry2 { function: 2, index, ..Default::default() })
            .collect();
        let mut full = CpuId::from_entries(&entries).unwrap();
        full.as_mut_slice()[0] = kvm_cpuid_entry2 { eax: 0x1F, ..Default::default() };
        assert!(guest(&full, 0, 1).is_err());
    }
}
