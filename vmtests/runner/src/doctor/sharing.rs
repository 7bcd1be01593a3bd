// SPDX-License-Identifier: GPL-2.0-or-later
//! Whether a folder can be shared: a real helper is started and asked over vhost-user.

use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::ensure;

use super::Point;
use crate::share::Share;
use crate::share::ShareSpec;

/// How long the helper may take: it answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// vhost-user's request for the features that the other side has.
const GET_FEATURES: u32 = 1;
/// Version 1, a request.
const REQUEST: u32 = 0x1;
/// Version 1, an answer.
const ANSWER: u32 = 0x5;
/// The bit for virtio 1.0, without which no guest of ours could use a device.
const VIRTIO_VERSION_1: u64 = 1 << 32;

/// Shares an empty folder.
pub(super) fn examine(own: &Path) -> Point {
    let name = "virtiofs";
    match try_it(own) {
        Ok(features) => Point::ok(
            name,
            format!("a share's helper answers (features {features:#x})"),
        ),
        Err(error) => Point::bad(
            name,
            format!("{error:#}"),
            "see what the helper says; it needs a writable folder for temporary files (TMPDIR), \
             /proc, and a hard limit of a few thousand open files",
        ),
    }
}

fn try_it(own: &Path) -> anyhow::Result<u64> {
    let dir = tempfile::Builder::new()
        .prefix("vmtest-doctor-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let folder = dir.path().join("shared");
    std::fs::create_dir(&folder).context("cannot make a temporary folder")?;
    let log = dir.path().join("log");
    let spec = ShareSpec {
        tag: "doctor".to_owned(),
        dir: folder,
        read_only: false,
    };
    let mut share = Share::start(own, &spec, &log)?;
    let features = features(UnixStream::from(share.socket.try_clone()?));
    features.with_context(|| {
        let ended = share.helper.wait(Duration::from_millis(200));
        let how = match ended {
            Some(status) => format!(" ({status})"),
            None => String::new(),
        };
        let says = std::fs::read_to_string(&log).unwrap_or_default();
        format!("a share's helper does not answer{how}: {}", says.trim())
    })
}

fn features(mut socket: UnixStream) -> anyhow::Result<u64> {
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    let mut request = Vec::new();
    for word in [GET_FEATURES, REQUEST, 0] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    socket.write_all(&request)?;
    let mut answer = [0u8; 20];
    socket.read_exact(&mut answer)?;
    let word = |at: usize| {
        let mut bytes = [0u8; 4];
        bytes.copy_from_slice(&answer[at..at + 4]);
        u32::from_ne_bytes(bytes)
    };
    ensure!(
        (word(0), word(4), word(8)) == (GET_FEATURES, ANSWER, 8),
        "it answers something else than its features: {answer:02x?}"
    );
    let features = u64::from(word(12)) | u64::from(word(16)) << 32;
    ensure!(
        features & VIRTIO_VERSION_1 != 0,
        "it has no virtio 1.0 (features {features:#x})"
    );
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(words: [u32; 5]) -> anyhow::Result<u64> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for word in words {
            theirs.write_all(&word.to_ne_bytes()).unwrap();
        }
        features(ours)
    }

    #[test]
    fn only_an_answer_with_virtio_1_counts() {
        assert_eq!(
            answered([GET_FEATURES, ANSWER, 8, 7, 1]).unwrap(),
            0x1_0000_0007
        );
        assert!(answered([GET_FEATURES, ANSWER, 8, 7, 0]).is_err());
        assert!(answered([9, ANSWER, 8, 7, 1]).is_err());
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(features(ours).is_err());
    }
}
