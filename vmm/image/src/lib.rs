//! What builds and inspects images: the parsing of hostile input, in a process of its own.
//!
//! | module | job |
//! |---|---|
//! | [`order`], [`word`] | what the launcher asks for; what it is told, in records of a fixed size |
//! | [`life`] | the jailed process's life, and its allow-list |
//! | [`source`], [`zstd`] | bytes of the source, unpacked within a bound |
//! | [`archive`], [`header`], [`pax`] | a tar archive's entries |
//! | [`path`], [`tree`] | names that stay inside; the tree that the layers make up |
//! | [`outer`], [`oci`] | archives of layers: `docker save` and OCI image layouts |
//! | [`build`] | from a source to an image |
//! | [`unpack`] | from what a guest has written to a directory |
//! | [`squashfs`] | the image's format, written |
//! | [`inspect`], [`config`] | the image's format, read; the container configuration kept in it |
//! | [`execution`] | what of it says how to run the image |
//!
//! Invariants: no path is opened but below the one directory that is unpacked into, and nothing is executed
//! here. The source is read and the image is written by position, each through one descriptor. What is kept in memory has a constant bound.

pub mod archive;
pub mod build;
pub mod config;
pub mod error;
pub mod execution;
pub mod header;
pub mod inspect;
pub mod life;
pub mod oci;
pub mod order;
pub mod outer;
pub mod path;
pub mod pax;
pub mod source;
pub mod squashfs;
pub mod tree;
pub mod unpack;
pub mod word;
pub mod zstd;
