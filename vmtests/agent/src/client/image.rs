// SPDX-License-Identifier: GPL-2.0-or-later
//! An image that the probe has mounted.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use rustix::io::Errno;
use serde::Deserialize;
use serde::Serialize;
use vmtest_protocol::step::Mount;

use super::FOLDER;
use super::PIECE;
use super::domain;
use super::holder;
use super::ranges;
use super::session::Session;
use crate::worker::manifest::Manifest;

/// Where the runner's share puts blobs.
const BLOBS: &str = "/blobs";
/// Where an erofs image has its superblock, and what it begins with.
const SUPERBLOCK: (usize, [u8; 4]) = (1024, 0xe0f5_e1e2_u32.to_le_bytes());

/// What is written down of an image that is mounted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    /// The image, for its manifest and bytes.
    image: String,
    /// The blobs of its objects: its own, then those of its devices.
    blobs: Vec<String>,
    /// The domain that it shares its session with.
    domain: Option<String>,
    /// The process that holds the session.
    holder: i32,
    /// The number of its first cookie.
    first: u64,
}

/// An image that is mounted.
pub struct Image {
    record: Record,
    file: PathBuf,
    session: Arc<Session>,
}

/// The part of an image that stands for one of its files, open.
pub struct ImageFile {
    session: Arc<Session>,
    cookie: u64,
    rest: Range<u64>,
}

fn record_of(at: &Path) -> PathBuf {
    let name = at.to_string_lossy().trim_end_matches('/').replace('/', "%");
    Path::new(FOLDER).join(format!("at{name}"))
}

/// Does what mounting does; see [`super::mount`].
pub fn mount(step: &Mount) -> Result<io::Result<()>> {
    let at = Path::new(&step.at);
    fs::create_dir_all(at).with_context(|| format!("cannot make the mount point {}", step.at))?;
    let file = record_of(at);
    if file.exists() {
        return Ok(Err(Errno::BUSY.into()));
    }
    let mut blobs = vec![step.image.clone()];
    blobs.extend(step.devices.iter().cloned());
    let objects = blobs.len() as u64;
    let (holder, first) = match &step.domain_id {
        Some(domain) => {
            let place = match domain::enter(domain, objects)? {
                Ok(place) => place,
                Err(error) => return Ok(Err(error)),
            };
            if let Err(error) = acquire(&place.session, place.first, step) {
                // Those that were acquired; of the others the probe says so.
                let _ = place.session.relinquish(place.first, objects);
                domain::leave(domain, place.session)?.ok();
                return Ok(Err(error));
            }
            (place.holder, place.first)
        }
        None => {
            let session = Session::open()?;
            let fsid = step.fsid.as_ref().unwrap_or(&step.image);
            let acquired = session
                .acquire_volume(&format!("erofs,{fsid}"))
                .and_then(|()| acquire(&session, 0, step));
            // With an error everything goes with the session.
            if let Err(error) = acquired {
                return Ok(Err(error));
            }
            (holder::start(session)?, 0)
        }
    };
    let record = Record {
        image: step.image.clone(),
        blobs,
        domain: step.domain_id.clone(),
        holder,
        first,
    };
    let text = serde_json::to_vec(&record).context("a record as JSON")?;
    // Whoever finds the record finds all of it.
    let new = file.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &file))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Ok(()))
}

/// Acquires the cookies that erofs would, in its order, and looks for a superblock.
fn acquire(session: &Session, first: u64, step: &Mount) -> io::Result<()> {
    let fsid = step.fsid.as_ref().unwrap_or(&step.image);
    session.acquire(first, fsid)?;
    let mut page = [0; ranges::PAGE as usize];
    session.read(first, 0, &mut page)?;
    let (at, magic) = SUPERBLOCK;
    if page[at..at + magic.len()] != magic {
        return Err(Errno::INVAL.into());
    }
    for (device, number) in step.devices.iter().zip(first + 1..) {
        session.acquire(number, device)?;
    }
    Ok(())
}

impl Image {
    /// What is mounted just there.
    pub fn at(at: impl AsRef<Path>) -> Result<Option<Image>> {
        let file = record_of(at.as_ref());
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let record: Record = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no record of an image", file.display()))?;
        let session = Session::of(record.holder)
            .with_context(|| format!("cannot have what {} holds", record.holder))?;
        Ok(Some(Image {
            record,
            file,
            session: Arc::new(session),
        }))
    }

    /// What is mounted above a path, and the path inside of it.
    pub fn above(path: &Path) -> Result<Option<(Image, String)>> {
        for folder in path.ancestors().skip(1) {
            if let Some(image) = Image::at(folder)? {
                let inside = path.strip_prefix(folder).unwrap_or(path);
                return Ok(Some((image, inside.to_string_lossy().into_owned())));
            }
        }
        Ok(None)
    }

    /// The image's manifest, and for each of its entries the part of the image that stands for it.
    pub fn parts(&self) -> Result<(Manifest, Vec<Range<u64>>)> {
        let manifest = Manifest::load(&self.record.image)?;
        let (_, length) = self.blob(0)?;
        let parts = ranges::of(&manifest.files, length);
        Ok((manifest, parts))
    }

    /// How many objects it has: its own, and those of its devices.
    pub fn objects(&self) -> u64 {
        self.record.blobs.len() as u64
    }

    fn blob(&self, object: u64) -> Result<(File, u64)> {
        let names = &self.record.blobs;
        let name = usize::try_from(object).ok().and_then(|at| names.get(at));
        let path = Path::new(BLOBS).join(name.context("no such object")?);
        let open = || {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            Ok::<_, io::Error>((file, length))
        };
        open().with_context(|| format!("cannot open the blob {}", path.display()))
    }

    /// All of an object, as far as its blob goes.
    pub fn whole(&self, object: u64) -> Result<Range<u64>> {
        let (_, length) = self.blob(object)?;
        Ok(0..length)
    }

    /// Opens a part of an object.
    pub fn open(&self, object: u64, part: Range<u64>) -> ImageFile {
        ImageFile {
            session: Arc::clone(&self.session),
            cookie: self.record.first.saturating_add(object),
            rest: part,
        }
    }

    /// Opens the part that stands for a file, from `offset` of it on.
    pub fn file(&self, path: &str, offset: u64) -> io::Result<ImageFile> {
        let (manifest, parts) = self.parts().map_err(io::Error::other)?;
        let mut both = manifest.files.iter().zip(parts);
        match both.find(|(entry, _)| entry.path() == path) {
            Some((_, part)) => Ok(self.open(0, part.start.saturating_add(offset)..part.end)),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// Reads a part and compares it with the blob; the number of bytes.
    pub fn compare(&self, object: u64, part: Range<u64>) -> Result<u64> {
        let (blob, _) = self.blob(object)?;
        let mut file = self.open(object, part.clone());
        let mut at = part.start;
        let mut seen = vec![0; PIECE];
        let mut wanted = vec![0; PIECE];
        loop {
            let got = file
                .read(&mut seen)
                .map_err(|error| anyhow!("at {at}: {}", crate::worker::child::describe(&error)))?;
            if got == 0 {
                break;
            }
            blob.read_exact_at(&mut wanted[..got], at)
                .with_context(|| format!("the blob at {at}"))?;
            if let Some(first) = (0..got).find(|byte| seen[*byte] != wanted[*byte]) {
                let place = at + first as u64;
                let (is, should) = (seen[first], wanted[first]);
                return Err(anyhow!(
                    "the byte at {place} is {is:#04x}, {should:#04x} was expected"
                ));
            }
            at += got as u64;
        }
        anyhow::ensure!(at == part.end, "ends at {at}, {} was expected", part.end);
        Ok(at - part.start)
    }

    /// Relinquishes everything.
    pub fn umount(self) -> Result<io::Result<()>> {
        // Of two that unmount the same, one finds nothing.
        if fs::remove_file(&self.file).is_err() {
            return Ok(Err(Errno::INVAL.into()));
        }
        let result = self.session.relinquish(self.record.first, self.objects());
        let session = Arc::into_inner(self.session).context("an image whose files are open")?;
        let more = match &self.record.domain {
            Some(domain) => domain::leave(domain, session)?,
            None => {
                let more = session.relinquish_volume();
                drop(session);
                holder::end(self.record.holder)?;
                more
            }
        };
        Ok(result.and(more))
    }
}

impl Read for ImageFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.rest.end.saturating_sub(self.rest.start);
        let want = left.min(PIECE as u64).min(buffer.len() as u64);
        if want == 0 {
            return Ok(0);
        }
        // The cache is asked for whole pages.
        let mut pages = vec![0; want.next_multiple_of(ranges::PAGE) as usize];
        let got = self
            .session
            .read(self.cookie, self.rest.start, &mut pages)?;
        let got = got.min(want as usize);
        buffer[..got].copy_from_slice(&pages[..got]);
        self.rest.start += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mount_point_has_a_record_of_its_own() {
        let name = |at: &str| record_of(Path::new(at)).to_string_lossy().into_owned();
        assert_eq!(name("/mnt/a"), "/run/vmtest-client/at%mnt%a");
        assert_eq!(name("/mnt/a/"), name("/mnt/a"));
        assert_ne!(name("/mnt/a"), name("/mnt/b"));
    }
}
