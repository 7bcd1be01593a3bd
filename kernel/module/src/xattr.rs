// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! The records on disk by which a cache knows whether what it finds is still good: an extended
//! attribute of each object's file and of each volume's directory. Behaviour follows
//! fs/cachefiles/xattr.c of Linux 6.12; the layout is `core/src/xattr.rs`.

use crate::cache::Bound;
use crate::cache::Cache;
use crate::error_inject;
use crate::prelude::*;
use crate::pure::xattr as record;
use crate::pure::xattr::Content;
use crate::pure::xattr::ObjectMismatch;
use crate::pure::xattr::VolumeMismatch;
use crate::sys::dentry::Dentry;
use crate::sys::file::File;
use crate::sys::fscache::CookieFlag;
use crate::sys::fscache::VolumeCookie;
use crate::sys::list::Bytes;
use crate::sys::object::Object;
use crate::sys::trace;
use crate::sys::trace::word;
use kernel::str::CStr;

fn attribute() -> &'static CStr {
    // The name of `core` is of the type that `core` has for strings; the kernel has its own.
    CStr::from_bytes_with_nul(record::NAME.to_bytes_with_nul()).unwrap_or(kernel::c_str!(""))
}

/// The coherency data of a volume, as the cookie has it now.
fn coherency_of(vcookie: &VolumeCookie) -> Result<Bytes> {
    let len = vcookie.copy_coherency(&mut []);
    let mut data = Bytes::zeroed(len)?;
    vcookie.copy_coherency(&mut data);
    Ok(data)
}

/// The coherency data of an object, as the cookie has it now.
fn aux_of(object: &Object) -> Result<Bytes> {
    let len = object.cookie().copy_aux(&mut []);
    let mut aux = Bytes::zeroed(len)?;
    object.cookie().copy_aux(&mut aux);
    Ok(aux)
}

/// Writes the record of an object.
///
/// # Errors
/// ESTALE when it has no file, ENOMEM; any other stops the cache.
pub(crate) fn set_object(cache: &Cache, object: &Object) -> Result {
    let file = object.file().ok_or(ESTALE)?;
    let aux = aux_of(object)?;
    let content = if object.cookie().test(CookieFlag::LocalWrite) {
        Content::Dirty
    } else {
        object.content()
    };
    let len = record::object_len(aux.len()).ok_or(ENOMEM)?;
    let mut buf = Bytes::zeroed(len)?;
    record::encode_object(&mut buf, object.cookie().object_size(), content, &aux)
        .map_err(|_| EIO)?;
    let result = error_inject::write().and_then(|()| {
        let _write = file.want_write()?;
        file.dentry().set_xattr(attribute(), &buf)
    });
    let inode = file.inode();
    match result {
        Ok(()) => trace::coherency(object, inode, &aux, content as u8, word::SET_OK),
        Err(e) => {
            trace::vfs_error(Some(object), Some(inode), e, word::SETXATTR);
            trace::coherency(object, inode, &aux, content as u8, word::SET_FAIL);
            if e != ENOMEM {
                cache.io_error_of(object, "Failed to set xattr", e);
            }
        }
    }
    result
}

/// Compares the record of `file` with the cookie of `object`.
///
/// # Errors
/// ESTALE, ENODATA or ERANGE when they do not match; otherwise what went wrong.
pub(crate) fn check_object(cache: &Cache, object: &Object, file: &File) -> Result {
    let aux = aux_of(object)?;
    let len = record::object_len(aux.len()).ok_or(ENOMEM)?;
    let mut buf = Bytes::zeroed(len)?;
    let inode = file.inode();
    let read = error_inject::read().and_then(|()| file.dentry().get_xattr(attribute(), &mut buf));
    let found = match read {
        Ok(n) => buf.get(..n).unwrap_or_default(),
        Err(e) => {
            trace::vfs_error(Some(object), Some(inode), e, word::GETXATTR);
            if e == EIO {
                cache.io_error_of(object, "Failed to read aux", e);
            }
            trace::coherency(object, inode, &[], 0, word::CHECK_XATTR);
            return Err(e);
        }
    };
    let content = record::content_byte(found).unwrap_or(0);
    let size = object.cookie().object_size();
    let (why, result) = match record::check_object(found, size, &aux) {
        Ok(_) => (word::CHECK_OK, Ok(())),
        Err(ObjectMismatch::Aux) if cfg!(cachefiles_mutant = "server-changed") => {
            (word::CHECK_OK, Ok(()))
        }
        Err(ObjectMismatch::Dirty) if cfg!(cachefiles_mutant = "dirty-object") => {
            (word::CHECK_OK, Ok(()))
        }
        Err(ObjectMismatch::Length) => (word::CHECK_XATTR, Err(ESTALE)),
        Err(ObjectMismatch::Type) => (word::CHECK_TYPE, Err(ESTALE)),
        Err(ObjectMismatch::Aux) => (word::CHECK_AUX, Err(ESTALE)),
        Err(ObjectMismatch::Size) => (word::CHECK_OBJSIZE, Err(ESTALE)),
        Err(ObjectMismatch::Dirty) => {
            pr_warn!("Dirty object in cache\n");
            (word::CHECK_DIRTY, Err(ESTALE))
        }
    };
    trace::coherency(object, inode, record::aux(found), content, why);
    result
}

/// Removes the record of an object's file, so that it will not be trusted again.
///
/// # Errors
/// ENOMEM; any other stops the cache.
pub(crate) fn remove_object(cache: &Cache, object: &Object, file: &File) -> Result {
    let result = error_inject::remove().and_then(|()| {
        let _write = file.want_write()?;
        file.dentry().remove_xattr(attribute())
    });
    match result {
        Ok(()) => Ok(()),
        Err(e) => {
            trace::vfs_error(Some(object), Some(file.inode()), e, word::REMXATTR);
            match e {
                ENOENT | ENODATA => Ok(()),
                ENOMEM => Err(e),
                e => {
                    cache.io_error_of(object, "Cannot remove xattr", e);
                    Err(e)
                }
            }
        }
    }
}

/// Writes the record of a volume.
///
/// # Errors
/// ENOMEM; any other stops the cache.
pub(crate) fn set_volume(
    cache: &Cache,
    bound: &Bound,
    vcookie: &VolumeCookie,
    dir: &Dentry,
) -> Result {
    let coherency = coherency_of(vcookie)?;
    let len = record::volume_len(coherency.len()).ok_or(ENOMEM)?;
    let mut buf = Bytes::zeroed(len)?;
    record::encode_volume(&mut buf, &coherency).map_err(|_| EIO)?;
    let result = error_inject::write().and_then(|()| {
        let _write = bound.backing.mnt.want_write()?;
        dir.set_xattr(attribute(), &buf)
    });
    match result {
        Ok(()) => trace::vol_coherency(vcookie, dir, word::VOL_SET_OK),
        Err(e) => {
            trace::vfs_error(None, dir.inode(), e, word::SETXATTR);
            trace::vol_coherency(vcookie, dir, word::VOL_SET_FAIL);
            if e != ENOMEM {
                cache.io_error("Failed to set a volume's xattr", e);
            }
        }
    }
    result
}

/// Compares the record of a volume's directory with its cookie.
///
/// # Errors
/// As [`check_object`].
pub(crate) fn check_volume(cache: &Cache, vcookie: &VolumeCookie, dir: &Dentry) -> Result {
    let coherency = coherency_of(vcookie)?;
    let len = record::volume_len(coherency.len()).ok_or(ENOMEM)?;
    let mut buf = Bytes::zeroed(len)?;
    let read = error_inject::read().and_then(|()| dir.get_xattr(attribute(), &mut buf));
    let found = match read {
        Ok(n) => buf.get(..n).unwrap_or_default(),
        Err(e) => {
            trace::vfs_error(None, dir.inode(), e, word::GETXATTR);
            if e == EIO {
                cache.io_error("Failed to read a volume's xattr", e);
            }
            trace::vol_coherency(vcookie, dir, word::VOL_CHECK_XATTR);
            return Err(e);
        }
    };
    let (why, result) = match record::check_volume(found, &coherency) {
        Ok(()) => (word::VOL_CHECK_OK, Ok(())),
        Err(VolumeMismatch::Length) => (word::VOL_CHECK_XATTR, Err(ESTALE)),
        Err(VolumeMismatch::Reserved) => (word::VOL_CHECK_RESV, Err(ESTALE)),
        Err(VolumeMismatch::Data) => (word::VOL_CHECK_CMP, Err(ESTALE)),
    };
    trace::vol_coherency(vcookie, dir, why);
    result
}
