// SPDX-License-Identifier: GPL-2.0-or-later
//! Credentials under which the module touches the backing filesystem.

use super::bindings;
use super::errno::check;
use super::errno::check_ptr;
use super::errno::Result;
use super::inode::Inode;
use super::plain;
use super::text::c_text;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::str::CStr;

/// A counted reference to a set of credentials that nobody changes any more.
pub(crate) struct Cred(NonNull<bindings::cred>);

// SAFETY: credentials are immutable once published and their count is atomic.
unsafe impl Send for Cred {}
// SAFETY: as above; `&Cred` only allows them to be read and put in force.
unsafe impl Sync for Cred {}

impl Cred {
    /// Credentials for the kernel's own work, with the LSM label `secid` where one is given.
    ///
    /// # Errors
    /// ENOMEM; or what the security module says to the label.
    pub(crate) fn for_kernel(secid: Option<u32>) -> Result<Cred> {
        // SAFETY: no arguments; a new reference or null comes back.
        let raw = unsafe { bindings::cf_prepare_kernel_cred() };
        let cred = Cred(check_ptr(raw)?);
        if let Some(secid) = secid {
            // SAFETY: the credentials are ours alone until this function returns.
            check(unsafe { bindings::set_security_override(cred.0.as_ptr(), secid) })?;
        }
        Ok(cred)
    }

    /// A private copy of the credentials now in force.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn copy_current() -> Result<NewCred> {
        // SAFETY: no arguments; a new reference or null comes back.
        let raw = unsafe { bindings::prepare_creds() };
        Ok(NewCred(Cred(check_ptr(raw)?)))
    }

    /// Puts the credentials in force for the current task until the guard is dropped.
    pub(crate) fn override_current(&self) -> Override<'_> {
        // SAFETY: `self` holds a reference for at least as long as the guard lives.
        let saved = unsafe { bindings::cf_override_creds(self.0.as_ptr()) };
        Override {
            saved,
            _cred: PhantomData,
        }
    }

    pub(super) fn as_ptr(&self) -> *const bindings::cred {
        self.0.as_ptr()
    }
}

/// Credentials that nobody else has seen yet, so that they may still be changed.
pub(crate) struct NewCred(Cred);

impl NewCred {
    /// Lets files be created with the label of `dir`, judged by the rights now in force, and
    /// publishes the credentials.
    ///
    /// # Errors
    /// What the security module says.
    pub(crate) fn creating_like(self, dir: &Inode) -> Result<Cred> {
        // SAFETY: the credentials are ours alone (this type's meaning) and the inode is borrowed.
        check(unsafe { bindings::set_create_files_as(self.0 .0.as_ptr(), dir.as_ptr()) })?;
        Ok(self.0)
    }
}

impl Drop for Cred {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that this value owns.
        unsafe { bindings::cf_put_cred(self.0.as_ptr()) };
    }
}

/// An override in force. Guards of one task must end in the reverse order of their making, which
/// scopes see to; the guard cannot leave its task (it holds a raw pointer, so it is not `Send`).
#[must_use]
pub(crate) struct Override<'a> {
    saved: *const bindings::cred,
    _cred: PhantomData<&'a Cred>,
}

impl Drop for Override<'_> {
    fn drop(&mut self) {
        // SAFETY: `saved` is what the matching override returned, on this same task.
        unsafe { bindings::cf_revert_creds(self.saved) };
    }
}

/// Whether the current task has CAP_SYS_ADMIN.
pub(crate) fn current_is_admin() -> bool {
    plain::cf_capable_sys_admin()
}

/// The LSM's number for the security context `context`.
///
/// # Errors
/// What the security module says; EOPNOTSUPP where there is none.
pub(crate) fn secctx_to_secid(context: &CStr) -> Result<u32> {
    let mut secid = 0;
    let (context, len) = c_text(context);
    // SAFETY: the string and the result outlive the call; `len` excludes the NUL.
    check(unsafe { bindings::cf_secctx_to_secid(context, len, &mut secid) })?;
    Ok(secid)
}
