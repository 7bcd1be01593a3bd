// SPDX-License-Identifier: GPL-2.0-or-later
//! Frames: a little-endian `u32` length, then that many bytes of JSON.
//!
//! The length is checked before anything is allocated, so a garbled stream is an error that shows
//! what arrived and not a 4 GiB allocation.

use std::io;
use std::io::Read;
use std::io::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest body that is sent or accepted, in bytes.
pub const MAX_FRAME: usize = 4 << 20;

/// Why a frame could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the stream between two frames.
    #[error("the other side closed the channel")]
    Closed,
    /// The stream ended inside a frame.
    #[error("the channel closed inside a frame: {got} of {want} bytes had arrived")]
    Truncated {
        /// Bytes of the body that arrived.
        got: usize,
        /// Bytes of the body that were announced.
        want: usize,
    },
    /// The length is beyond [`MAX_FRAME`]: almost always bytes that are no frame at all.
    #[error(
        "a frame of {len} bytes is announced, the limit is {MAX_FRAME}; the first four bytes read \
         as text are {text:?} (something other than the agent may be writing to the port)"
    )]
    TooLong {
        /// The announced length in bytes.
        len: usize,
        /// The four length bytes as text.
        text: String,
    },
    /// The body is not the JSON of a known message.
    #[error(
        "a frame of {len} bytes is not a message of this protocol: {source}; it begins {start:?}"
    )]
    Garbage {
        /// Length of the body in bytes.
        len: usize,
        /// The first bytes as text.
        start: String,
        /// What the parser found.
        source: serde_json::Error,
    },
    /// The message to send cannot be written as JSON.
    #[error("cannot encode a message: {0}")]
    Encode(serde_json::Error),
    /// The transport failed.
    #[error("the channel failed: {0}")]
    Io(#[from] io::Error),
}

/// Encodes one message as a whole frame, length included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(message).map_err(FrameError::Encode)?;
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLong {
            len: body.len(),
            text: String::new(),
        });
    }
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Writes one message as a single write, so that two writers behind one lock never interleave.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let frame = encode(message)?;
    to.write_all(&frame)?;
    to.flush()?;
    Ok(())
}

/// Reads one message; blocks as long as `from` does.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, FrameError> {
    let mut head = [0u8; 4];
    match fill(from, &mut head)? {
        0 => return Err(FrameError::Closed),
        4 => {}
        got => return Err(FrameError::Truncated { got, want: 4 }),
    }
    let len = check_len(head)?;
    let mut body = vec![0u8; len];
    let got = fill(from, &mut body)?;
    if got != len {
        return Err(FrameError::Truncated { got, want: len });
    }
    decode(&body)
}

/// Takes whole frames out of bytes that arrive in any portions (for readers that must not block).
#[derive(Debug, Default)]
pub struct Splitter {
    pending: Vec<u8>,
}

impl Splitter {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` when more bytes are needed.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(head) = self.pending.first_chunk::<4>() else {
            return Ok(None);
        };
        let len = check_len(*head)?;
        let Some(body) = self.pending.get(4..4 + len) else {
            return Ok(None);
        };
        let message = decode(body);
        self.pending.drain(..4 + len);
        message.map(Some)
    }
}

fn check_len(head: [u8; 4]) -> Result<usize, FrameError> {
    let len = u32::from_le_bytes(head) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong {
            len,
            text: String::from_utf8_lossy(&head).into_owned(),
        });
    }
    Ok(len)
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(|source| FrameError::Garbage {
        len: body.len(),
        start: String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned(),
        source,
    })
}

/// Reads until `buffer` is full or the stream ends; says how much came.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
