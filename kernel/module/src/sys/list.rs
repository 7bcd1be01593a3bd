// SPDX-License-Identifier: GPL-2.0-or-later
//! Lists that grow, and buffers.
//!
//! The kernel crate's vectors count with overflow checks. The compiler can leave their panics out only
//! where it has everything before its eyes, which is not so in code that is made to be small; and a
//! module must not have any. These compare first.

use super::bindings;
use super::errno::Result;
use super::errno::ENOMEM;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// Values one after the other. Owns them, and the memory.
pub(crate) struct List<T> {
    values: NonNull<T>,
    len: usize,
    /// How many values there is memory for; when zero, there is none.
    capacity: usize,
    _owns: PhantomData<T>,
}

/// Bytes.
pub(crate) type Bytes = List<u8>;

// SAFETY: it owns what it points to.
unsafe impl<T: Send> Send for List<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for List<T> {}

impl<T> List<T> {
    /// Holds for the types that it is used with: the least alignment of the kernel's allocators is 8.
    const FITS: () = assert!(size_of::<T>() > 0 && align_of::<T>() <= 8);

    /// An empty one, without memory.
    pub(crate) const fn new() -> Self {
        List {
            values: NonNull::dangling(),
            len: 0,
            capacity: 0,
            _owns: PhantomData,
        }
    }

    /// An empty one with memory for that many values.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn with_capacity(capacity: usize) -> Result<Self> {
        let mut list = List::new();
        list.grow(capacity)?;
        Ok(list)
    }

    /// Gets memory for `capacity` values, no fewer than there is memory for; where that fails the
    /// list stays as it is. May sleep.
    fn grow(&mut self, capacity: usize) -> Result {
        let () = Self::FITS;
        let bytes = capacity.checked_mul(size_of::<T>()).ok_or(ENOMEM)?;
        let old: *mut c_void = self.values.as_ptr().cast();
        let new = match self.capacity {
            // SAFETY: takes nothing but a number.
            0 => unsafe { bindings::cf_alloc(bytes) },
            // SAFETY: memory from here, owned by this list; it stays where it is when this fails, and
            // is not freed, as `bytes` is not zero: no type here has no size.
            _ => unsafe { bindings::cf_realloc(old, bytes) },
        };
        self.values = NonNull::new(new.cast()).ok_or(ENOMEM)?;
        self.capacity = capacity;
        Ok(())
    }

    /// Appends a value. May sleep.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn push(&mut self, value: T) -> Result {
        if self.len >= self.capacity {
            self.grow(self.capacity.saturating_mul(2).max(1))?;
        }
        self.push_within(value).map_err(|_| ENOMEM)
    }

    /// Appends a value where there is memory for it already: this neither sleeps nor drops anything.
    ///
    /// # Errors
    /// The value, when there is not.
    pub(crate) fn push_within(&mut self, value: T) -> core::result::Result<(), T> {
        if self.len >= self.capacity {
            return Err(value);
        }
        let end = self.values.as_ptr().wrapping_add(self.len);
        // SAFETY: there is memory for one value more.
        unsafe { end.write(value) };
        self.len = self.len.wrapping_add(1);
        Ok(())
    }
}

impl Bytes {
    /// That many zeros.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn zeroed(len: usize) -> Result<Bytes> {
        let mut bytes = Bytes::with_capacity(len)?;
        // SAFETY: that many there is memory for.
        unsafe { bytes.values.as_ptr().write_bytes(0, len) };
        bytes.len = len;
        Ok(bytes)
    }
}

impl<T> core::ops::Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many have been written; where there are none, the pointer is aligned.
        unsafe { core::slice::from_raw_parts(self.values.as_ptr(), self.len) }
    }
}

impl<T> core::ops::DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(self.values.as_ptr(), self.len) }
    }
}

impl<T> Drop for List<T> {
    fn drop(&mut self) {
        let values: *mut [T] = &mut **self;
        // SAFETY: owned by this list, which ends here.
        unsafe { core::ptr::drop_in_place(values) };
        if self.capacity > 0 {
            // SAFETY: memory from `grow`, which nobody uses any more.
            unsafe { bindings::kvfree(self.values.as_ptr().cast()) };
        }
    }
}
