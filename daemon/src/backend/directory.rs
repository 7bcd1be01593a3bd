// SPDX-License-Identifier: GPL-2.0-or-later
//! Blobs that are files of one folder. The file's name is the cookie's key.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Backend;
use super::Blob;
use crate::reload::Tuning;

/// A folder of blobs. It is opened once: moving it does not move the service.
#[derive(Debug)]
pub struct Directory {
    folder: OwnedFd,
    tuning: Arc<Tuning>,
}

impl Directory {
    /// Opens the folder. Every request to it then takes at least as long as `tuning` says at that
    /// time, as to a place far away.
    ///
    /// # Errors
    /// When it is no folder, or cannot be read.
    pub fn open(path: &Path, tuning: Arc<Tuning>) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Directory { folder, tuning })
    }
}

/// The name of the file, or why the key cannot be one.
fn file_name(key: &[u8]) -> io::Result<&OsStr> {
    // Some filesystems count the NUL of a name into its key.
    let name = key.strip_suffix(b"\0").unwrap_or(key);
    let is_name =
        !matches!(name, b"" | b"." | b"..") && !name.iter().any(|b| matches!(b, b'/' | 0));
    if is_name {
        Ok(OsStr::from_bytes(name))
    } else {
        Err(Errno::INVAL.into())
    }
}

impl Backend for Directory {
    fn open(&self, key: &[u8]) -> io::Result<Box<dyn Blob>> {
        std::thread::sleep(self.tuning.delay());
        // NONBLOCK: the name may be a pipe's, and nobody at its other end.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let name = file_name(key)?;
        let opened = rustix::io::retry_on_intr(|| {
            rustix::fs::openat(&self.folder, name, flags, Mode::empty())
        });
        let file = File::from(opened?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Errno::INVAL.into());
        }
        Ok(Box::new(FileBlob {
            file,
            size: metadata.len(),
            tuning: Arc::clone(&self.tuning),
        }))
    }
}

#[derive(Debug)]
struct FileBlob {
    file: File,
    size: u64,
    tuning: Arc<Tuning>,
}

impl Blob for FileBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::thread::sleep(self.tuning.delay());
        self.file.read_at(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn quick() -> Arc<Tuning> {
        Arc::new(Tuning::new(4096, Duration::ZERO))
    }

    fn errno(result: io::Result<Box<dyn Blob>>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn a_key_opens_the_file_of_that_name_and_nothing_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("blobs");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        std::fs::write(inside.join("image"), "hello").unwrap();
        std::fs::create_dir(inside.join("folder")).unwrap();
        let backend = Directory::open(&inside, quick()).unwrap();

        let blob = backend.open(b"image\0").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(blob.size(), 5);
        assert_eq!(blob.read_at(&mut buffer, 1).unwrap(), 4);
        assert_eq!(&buffer[..4], b"ello");
        assert_eq!(blob.read_at(&mut buffer, 5).unwrap(), 0);

        let invalid = Some(Errno::INVAL.raw_os_error());
        for key in [
            &b"../secret"[..],
            b"..",
            b".",
            b"",
            b"\0",
            b"a\0b",
            b"folder",
        ] {
            assert_eq!(errno(backend.open(key)), invalid, "{key:?}");
        }
        let absent = Some(Errno::NOENT.raw_os_error());
        assert_eq!(errno(backend.open(b"absent")), absent);
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let backend = Directory::open(folder.path(), quick()).unwrap();
        assert_eq!(
            errno(backend.open(b"pipe")),
            Some(Errno::INVAL.raw_os_error())
        );
    }
}
