// SPDX-License-Identifier: GPL-2.0-or-later
//! Safe wrappers of what cachefiles uses of the kernel. All unsafe code of the module lives in this
//! folder; no safe function of it takes or returns a raw pointer.
//!
//! Types that stand for a kernel object come in two kinds. One that owns a reference holds a
//! `NonNull` and gives the reference back when it is dropped (`Dentry`, `File`, `CookieRef`). One
//! that is only ever borrowed is `#[repr(transparent)]` over the C struct and is seen as `&T`
//! (`Inode`, `Cookie`, `VolumeCookie`, `Resources`): the borrow lasts for the callback, or for as
//! long as the owner that it was borrowed from.
//!
//! Two files make most unsafe blocks unnecessary: `plain` lists the functions of C that ask for no more
//! than live references, `field` loads fields of C's structs.

pub(crate) mod anon;
pub(crate) mod bindings;
pub(crate) mod complete;
pub(crate) mod cred;
pub(crate) mod dentry;
pub(crate) mod device;
pub(crate) mod dirlock;
pub(crate) mod errno;
mod field;
pub(crate) mod file;
pub(crate) mod fscache;
pub(crate) mod ids;
pub(crate) mod inode;
pub(crate) mod kiocb;
pub(crate) mod list;
pub(crate) mod mount;
pub(crate) mod netfs;
pub(crate) mod object;
pub(crate) mod once;
pub(crate) mod ops;
pub(crate) mod param;
mod pinned;
mod plain;
pub(crate) mod stats;
pub(crate) mod subreq;
pub(crate) mod sysctl;
mod text;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod user;
pub(crate) mod waitq;
