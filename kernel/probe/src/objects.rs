// SPDX-License-Identifier: GPL-2.0-or-later
#![forbid(unsafe_code)]
//! Calls about volumes and cookies, many at a time.

use crate::abi::call::flag;
use crate::abi::call::op;
use crate::abi::call::Call;
use crate::abi::call::State;
use crate::abi::content::Content;
use crate::input::Input;
use crate::prelude::*;
use crate::session::find;
use crate::session::note;
use crate::session::put;
use crate::session::range;
use crate::session::take;
use crate::session::KeyedVolume;
use crate::session::Session;
use crate::sys::cookie::Cookie;
use crate::sys::cookie::Volume;
use crate::sys::device;
use crate::vectors::push;
use crate::vectors::KVec;
use kernel::str::CStr;
use kernel::sync::Arc;

/// A cookie, and what its object ought to hold.
pub(crate) struct Object {
    /// fscache's cookie.
    pub(crate) cookie: Cookie,
    /// Its content in generation 0.
    pub(crate) content: Content,
}

/// `bytes` and a NUL, as C wants its strings.
fn terminated(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut text = KVec::with_capacity(bytes.len().saturating_add(1), GFP_KERNEL)?;
    text.extend_from_slice(bytes, GFP_KERNEL)?;
    push(&mut text, 0, GFP_KERNEL)?;
    Ok(text)
}

fn string(terminated: &[u8]) -> Result<&CStr> {
    CStr::from_bytes_with_nul(terminated).map_err(|_| EINVAL)
}

/// Carries out `ACQUIRE_VOLUMES`.
pub(crate) fn acquire_volumes(session: &Session, call: &mut Call) -> Result {
    let input = Input::of(call)?;
    let cache = terminated(input.cache())?;
    let cache = match input.cache() {
        [] => None,
        _ => Some(string(&cache)?),
    };
    let one = |number| {
        let key = input.name(number)?;
        let text = terminated(&key)?;
        let volume = Volume::acquire(string(&text)?, cache, input.aux())?;
        let keyed = Arc::new(KeyedVolume { volume, key }, GFP_KERNEL)?;
        put(&session.volumes, number, keyed)
    };
    for number in range(call.volume, call.volumes)? {
        note(call, one(number));
    }
    Ok(())
}

/// Carries out `RELINQUISH_VOLUMES`. A volume that has cookies is relinquished with the last of them.
pub(crate) fn relinquish_volumes(session: &Session, call: &mut Call) -> Result {
    let input = Input::of(call)?;
    let retire = call.flags & flag::RETIRE != 0;
    let one = |number| {
        let keyed = take(&session.volumes, number)?;
        let Some(coherency) = input.given_aux() else {
            if retire {
                keyed.volume.retire();
            }
            return Ok(());
        };
        // Other coherency data can be given by its only owner.
        if coherency.len() != keyed.volume.coherency_len() {
            put(&session.volumes, number, keyed)?;
            return Err(EINVAL);
        }
        keyed.volume.set_last_coherency(coherency)?;
        if retire {
            keyed.volume.retire();
        }
        Ok(())
    };
    for number in range(call.volume, call.volumes)? {
        note(call, one(number));
    }
    Ok(())
}

/// Carries out `ACQUIRE`.
pub(crate) fn acquire(session: &Session, call: &mut Call) -> Result {
    let input = Input::of(call)?;
    let advice = u8::try_from(call.extra).map_err(|_| EINVAL)?;
    let size = i64::try_from(call.size).map_err(|_| EINVAL)?;
    let (first, first_volume, volumes) = (call.first, call.volume, call.volumes.max(1));
    let one = |number: u64| {
        let nth = number
            .saturating_sub(first)
            .checked_rem(volumes)
            .unwrap_or(0);
        let keyed = find(&session.volumes, first_volume.saturating_add(nth))?;
        let key = input.name(number)?;
        let object = Object {
            cookie: Cookie::acquire(&keyed.volume, advice, &key, input.aux(), size)?,
            content: Content::new(&keyed.key, &key, 0),
        };
        put(&session.objects, number, Arc::new(object, GFP_KERNEL)?)
    };
    for number in range(call.first, call.count)? {
        note(call, one(number));
    }
    Ok(())
}

/// Carries out `RELINQUISH`.
pub(crate) fn relinquish(session: &Session, call: &mut Call) -> Result {
    let retire = call.flags & flag::RETIRE != 0;
    let one = |number| {
        let object = take(&session.objects, number)?;
        if retire {
            object.cookie.retire();
        }
        Ok(())
    };
    for number in range(call.first, call.count)? {
        note(call, one(number));
    }
    Ok(())
}

/// Carries out `USE`, `UNUSE`, `UPDATE`, `RESIZE` and `INVALIDATE`.
pub(crate) fn change(session: &Session, call: &mut Call) -> Result {
    let input = Input::of(call)?;
    let (aux, op) = (input.given_aux(), call.op);
    let size = i64::try_from(call.size).map_err(|_| EINVAL)?;
    let given_size = (call.flags & flag::SIZED != 0).then_some(size);
    let modify = call.flags & flag::MODIFY != 0;
    let flags = u32::try_from(call.extra).map_err(|_| EINVAL)?;
    let one = |number| {
        let object = find(&session.objects, number)?;
        match op {
            op::USE => object.cookie.use_it(modify),
            op::UNUSE => object.cookie.unuse(aux, given_size)?,
            op::UPDATE => object.cookie.update(aux, given_size)?,
            op::RESIZE => object.cookie.resize(size),
            _ => object.cookie.invalidate(aux, size, flags)?,
        }
        Ok(())
    };
    for number in range(call.first, call.count)? {
        note(call, one(number));
    }
    Ok(())
}

/// Carries out `STATE`.
pub(crate) fn state(session: &Session, call: &mut Call) -> Result {
    let numbers = range(call.first, call.count)?;
    let mut address = call.output;
    let mut room = call.output_len;
    for number in numbers {
        let state = find(&session.objects, number).map(|object| {
            let state = object.cookie.state();
            State {
                state: state.state,
                flags: state.flags,
                active: state.active,
                accesses: state.accesses,
                invalidations: state.invalidations,
                size: state.size,
            }
        });
        let size = State::BYTES as u64;
        room = room.checked_sub(size).ok_or(EMSGSIZE)?;
        let mut bytes = [0u8; State::BYTES];
        let words = state.as_ref().map_or([u64::MAX; 6], State::words);
        for (eight, word) in bytes.chunks_exact_mut(8).zip(words) {
            for (to, from) in eight.iter_mut().zip(word.to_ne_bytes()) {
                *to = from;
            }
        }
        device::output(address, State::BYTES).write(&bytes)?;
        address = address.saturating_add(size);
        note(call, state.map(|_| ()));
    }
    Ok(())
}
