//! What casemate's workers are made of: the trusted base, in one crate.
//!
//! | module | job |
//! |---|---|
//! | [`plan`] | what a worker is told to be, as its argument vector |
//! | [`fds`] | which descriptor has which number |
//! | [`status`] | what a worker tells the launcher |
//! | [`jail`] | the layers between a worker and the host, as a list |
//! | [`memory`] | guest RAM and control pages, mapped |
//! | [`layout`] | the guest-physical address map |
//! | [`boot`], [`acpi`], [`cpuid`], [`registers`] | what a guest finds when it starts |
//! | [`vm`], [`vcpu`], [`bus`], [`power`], [`earlycon`] | KVM, and what a guest's accesses reach |
//! | [`recorder`] | those accesses as a fuzz program, for `--record` |
//! | [`workers`] | the three workers' lives |
//!
//! Invariants: no path is opened here. A device worker holds no KVM descriptor, the vcpu worker no
//! file but the record. A loop over guest input takes a [`jail::Sealed`].

pub mod acpi;
pub mod boot;
pub mod bus;
pub mod cpuid;
pub mod earlycon;
pub mod fds;
pub mod jail;
pub mod layout;
pub mod memory;
pub mod plan;
pub mod power;
pub mod recorder;
pub mod registers;
pub mod status;
pub mod vcpu;
pub mod vm;
pub mod workers;
