// SPDX-License-Identifier: GPL-2.0-or-later
//! Fields of C's structs, which others may be changing at any time: they are loaded one by one, each
//! with one volatile load, and never borrowed.

use core::marker::PhantomData;

/// A field of the struct `C`: where it is, and its type.
pub(super) struct Field<C, F> {
    offset: usize,
    _of: PhantomData<fn(&C) -> &F>,
}

impl<C, F> Field<C, F> {
    /// `_of` only lends its type. To be had by [`field`].
    ///
    /// # Safety
    /// `C` has a field of type `F` at `offset` bytes.
    pub(super) const unsafe fn new(offset: usize, _of: fn(&C) -> &F) -> Self {
        Field {
            offset,
            _of: PhantomData,
        }
    }
}

/// The field of that name of the struct of that name in the bindings.
macro_rules! field {
    ($of:ident . $name:ident) => {{
        use $crate::sys::bindings;
        // SAFETY: offset and type are those of one field, as both come from its name: this holds
        // wherever the macro is used, and whatever its arguments are.
        unsafe {
            $crate::sys::field::Field::<bindings::$of, _>::new(
                core::mem::offset_of!(bindings::$of, $name),
                |of| &of.$name,
            )
        }
    }};
}
pub(super) use field;

/// What stands for a struct of C that is alive.
///
/// # Safety
/// As long as there is a `&self`, the struct at `raw` is alive.
pub(super) unsafe trait Struct {
    /// C's struct.
    type C;

    /// Its address.
    fn raw(&self) -> *mut Self::C;

    /// The address of a field of it.
    fn place<F>(&self, field: Field<Self::C, F>) -> *mut F {
        self.raw()
            .cast::<u8>()
            .wrapping_add(field.offset)
            .cast::<F>()
    }

    /// What a field of it holds now.
    fn load<F: Copy>(&self, field: Field<Self::C, F>) -> F {
        // SAFETY: the struct is alive (the trait's promise), and `Field` that it has such a field
        // there. The load is volatile, as others may store meanwhile.
        unsafe { self.place(field).read_volatile() }
    }
}
