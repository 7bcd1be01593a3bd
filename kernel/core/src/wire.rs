// SPDX-License-Identifier: GPL-2.0-or-later
//! The messages of on-demand mode, as `read(2)` on the device delivers them.
//!
//! A message is a header of four 32-bit words (`msg_id`, `opcode`, `len`, `object_id`) and a body
//! that depends on the opcode, all in the machine's own byte order. `len` counts header and body.
//! The kernel side encodes, a daemon parses; both sides share this file, so they cannot disagree.
//!
//! Layout source: `include/uapi/linux/cachefiles.h` of Linux 6.12.

/// The longest message there can be, in bytes: a daemon that reads with a buffer of this size
/// never gets `EMSGSIZE`.
pub const MSG_MAX: usize = 1024;

/// Bytes of the header that every message begins with.
pub const HEADER_LEN: usize = 16;

/// Bytes of an OPEN body before the two keys.
pub const OPEN_FIXED_LEN: usize = 16;

/// Bytes of a READ body.
pub const READ_BODY_LEN: usize = 16;

/// Bytes of a whole CLOSE message.
pub const CLOSE_LEN: usize = HEADER_LEN;

/// Bytes of a whole READ message.
pub const READ_LEN: usize = HEADER_LEN + READ_BODY_LEN;

/// Opcode of OPEN: an object is looked up; answered with `copen ID,SIZE` on the device.
pub const OP_OPEN: u32 = 0;

/// Opcode of CLOSE: an object is withdrawn; it has no answer.
pub const OP_CLOSE: u32 = 1;

/// Opcode of READ: a range is missing; answered with [`IOC_READ_COMPLETE`] on the object's fd.
pub const OP_READ: u32 = 2;

/// The ioctl that completes a READ: `_IOW(0x98, 1, int)`. The message id is the argument itself,
/// not what it points to.
pub const IOC_READ_COMPLETE: u32 = 0x4004_9801;

/// One message, as a daemon sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// An object is looked up and wants its size.
    Open(Open<'a>),
    /// An object is gone; its fd may be closed. Has no reply.
    Close {
        /// Number of this message.
        msg_id: u32,
        /// Number of the object, as its OPEN gave it.
        object_id: u32,
    },
    /// A range of an object is missing.
    Read(Read),
}

/// The body of an OPEN, with its header's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Number to answer with.
    pub msg_id: u32,
    /// Number of the object; new at each OPEN, also when an object is opened anew.
    pub object_id: u32,
    /// The anonymous fd, already installed in the process that read the message.
    pub fd: i32,
    /// Zero so far.
    pub flags: u32,
    /// The volume's key, without the NUL that ends it on the wire.
    pub volume_key: &'a [u8],
    /// The cookie's key: any bytes.
    pub cookie_key: &'a [u8],
}

/// The body of a READ, with its header's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Number to answer with.
    pub msg_id: u32,
    /// Number of the object, as its OPEN gave it.
    pub object_id: u32,
    /// First missing byte.
    pub off: u64,
    /// Bytes that are missing.
    pub len: u64,
}

impl Message<'_> {
    /// The number of this message.
    pub fn msg_id(&self) -> u32 {
        match self {
            Message::Open(open) => open.msg_id,
            Message::Close { msg_id, .. } => *msg_id,
            Message::Read(read) => read.msg_id,
        }
    }

    /// The number of the object that this message is about.
    pub fn object_id(&self) -> u32 {
        match self {
            Message::Open(open) => open.object_id,
            Message::Close { object_id, .. } => *object_id,
            Message::Read(read) => read.object_id,
        }
    }
}

/// Why a message could not be parsed or encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// Fewer bytes than the header, or than the body's fixed part, has.
    Truncated,
    /// The header's `len` is not the number of bytes at hand.
    LengthMismatch {
        /// What the header says, in bytes.
        header: u32,
        /// What there is, in bytes.
        actual: usize,
    },
    /// An opcode that this version does not know.
    UnknownOpcode(u32),
    /// The body's length does not fit its opcode or its own key sizes.
    BadBody,
    /// The volume key does not end in NUL.
    VolumeKeyNotTerminated,
    /// The message would be longer than [`MSG_MAX`].
    TooLong,
    /// The buffer to encode into is shorter than the message.
    BufferTooSmall,
}

/// Takes one 32-bit word off the front.
fn take_u32(data: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let (head, rest) = data.split_first_chunk().ok_or(WireError::Truncated)?;
    Ok((u32::from_ne_bytes(*head), rest))
}

/// Takes one 64-bit word off the front.
fn take_u64(data: &[u8]) -> Result<(u64, &[u8]), WireError> {
    let (head, rest) = data.split_first_chunk().ok_or(WireError::Truncated)?;
    Ok((u64::from_ne_bytes(*head), rest))
}

/// Parses one message: `data` is what one `read(2)` returned, no more and no less.
pub fn parse(data: &[u8]) -> Result<Message<'_>, WireError> {
    let (msg_id, rest) = take_u32(data)?;
    let (opcode, rest) = take_u32(rest)?;
    let (len, rest) = take_u32(rest)?;
    let (object_id, body) = take_u32(rest)?;
    if usize::try_from(len) != Ok(data.len()) {
        return Err(WireError::LengthMismatch {
            header: len,
            actual: data.len(),
        });
    }
    match opcode {
        OP_OPEN => parse_open(msg_id, object_id, body).map(Message::Open),
        OP_CLOSE if body.is_empty() => Ok(Message::Close { msg_id, object_id }),
        OP_READ => {
            let (off, rest) = take_u64(body)?;
            let (len, rest) = take_u64(rest)?;
            if !rest.is_empty() {
                return Err(WireError::BadBody);
            }
            Ok(Message::Read(Read {
                msg_id,
                object_id,
                off,
                len,
            }))
        }
        OP_CLOSE => Err(WireError::BadBody),
        other => Err(WireError::UnknownOpcode(other)),
    }
}

fn parse_open(msg_id: u32, object_id: u32, body: &[u8]) -> Result<Open<'_>, WireError> {
    let (volume_key_size, rest) = take_u32(body)?;
    let (cookie_key_size, rest) = take_u32(rest)?;
    let (fd, rest) = take_u32(rest)?;
    let (flags, keys) = take_u32(rest)?;
    let (volume_key, cookie_key) = usize::try_from(volume_key_size)
        .ok()
        .and_then(|size| keys.split_at_checked(size))
        .ok_or(WireError::BadBody)?;
    if usize::try_from(cookie_key_size) != Ok(cookie_key.len()) {
        return Err(WireError::BadBody);
    }
    let Some((0, volume_key)) = volume_key.split_last() else {
        return Err(WireError::VolumeKeyNotTerminated);
    };
    Ok(Open {
        msg_id,
        object_id,
        fd: i32::from_ne_bytes(fd.to_ne_bytes()),
        flags,
        volume_key,
        cookie_key,
    })
}

/// A cursor over the buffer that a message is encoded into.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    fn new(rest: &'a mut [u8]) -> Self {
        Writer { rest }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let rest = core::mem::take(&mut self.rest);
        let (head, tail) = rest
            .split_at_mut_checked(bytes.len())
            .ok_or(WireError::BufferTooSmall)?;
        for (to, from) in head.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.rest = tail;
        Ok(())
    }

    fn word(&mut self, word: u32) -> Result<(), WireError> {
        self.bytes(&word.to_ne_bytes())
    }

    fn header(
        &mut self,
        msg_id: u32,
        opcode: u32,
        len: usize,
        object_id: u32,
    ) -> Result<(), WireError> {
        self.word(msg_id)?;
        self.word(opcode)?;
        self.word(u32::try_from(len).map_err(|_| WireError::TooLong)?)?;
        self.word(object_id)
    }
}

/// Bytes of a whole OPEN message, or `None` when it would be longer than [`MSG_MAX`].
///
/// `volume_key_len` counts the NUL at the key's end.
pub fn open_len(volume_key_len: usize, cookie_key_len: usize) -> Option<usize> {
    HEADER_LEN
        .checked_add(OPEN_FIXED_LEN)?
        .checked_add(volume_key_len)?
        .checked_add(cookie_key_len)
        .filter(|len| *len <= MSG_MAX)
}

/// Encodes an OPEN at the front of `buf` and returns its length in bytes.
///
/// `volume_key` comes with the NUL that ends it, as it goes on the wire.
pub fn encode_open(
    buf: &mut [u8],
    msg_id: u32,
    object_id: u32,
    fd: i32,
    flags: u32,
    volume_key: &[u8],
    cookie_key: &[u8],
) -> Result<usize, WireError> {
    if volume_key.last() != Some(&0) {
        return Err(WireError::VolumeKeyNotTerminated);
    }
    let len = open_len(volume_key.len(), cookie_key.len()).ok_or(WireError::TooLong)?;
    let size = |key: &[u8]| u32::try_from(key.len()).map_err(|_| WireError::TooLong);
    let mut out = Writer::new(buf);
    out.header(msg_id, OP_OPEN, len, object_id)?;
    out.word(size(volume_key)?)?;
    out.word(size(cookie_key)?)?;
    out.bytes(&fd.to_ne_bytes())?;
    out.word(flags)?;
    out.bytes(volume_key)?;
    out.bytes(cookie_key)?;
    Ok(len)
}

/// Encodes a CLOSE at the front of `buf` and returns its length in bytes.
pub fn encode_close(buf: &mut [u8], msg_id: u32, object_id: u32) -> Result<usize, WireError> {
    Writer::new(buf).header(msg_id, OP_CLOSE, CLOSE_LEN, object_id)?;
    Ok(CLOSE_LEN)
}

/// Encodes a READ at the front of `buf` and returns its length in bytes.
pub fn encode_read(
    buf: &mut [u8],
    msg_id: u32,
    object_id: u32,
    off: u64,
    len: u64,
) -> Result<usize, WireError> {
    let mut out = Writer::new(buf);
    out.header(msg_id, OP_READ, READ_LEN, object_id)?;
    out.bytes(&off.to_ne_bytes())?;
    out.bytes(&len.to_ne_bytes())?;
    Ok(READ_LEN)
}
