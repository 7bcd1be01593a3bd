// SPDX-License-Identifier: GPL-2.0-or-later
//! Images of one domain share a volume, and so a session, which lives as long as one of them is
//! mounted. One who is killed while mounting leaves it behind; a session of its own would end.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::FlockOperation;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;

use super::FOLDER;
use super::holder;
use super::session::Session;

/// What is written down of a domain that has an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    /// The process that holds the session.
    holder: i32,
    /// How many images it has.
    users: u64,
    /// The number of the next cookie.
    next: u64,
}

/// A domain's record, nobody else's while this lives.
struct Locked {
    path: PathBuf,
    record: Option<Record>,
    _lock: File,
}

/// What an image has in its domain.
pub struct Place {
    /// The domain's session.
    pub session: Session,
    /// The process that holds it.
    pub holder: i32,
    /// The number of the image's first cookie.
    pub first: u64,
}

impl Locked {
    fn of(domain: &str) -> Result<Locked> {
        let path = record_path(domain);
        let at = path.with_extension("lock");
        let lock = File::create(&at).with_context(|| format!("cannot make {}", at.display()))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", at.display()))?;
        let record = match fs::read(&path) {
            Ok(text) => Some(
                serde_json::from_slice(&text)
                    .with_context(|| format!("{} is no record of a domain", path.display()))?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok(Locked {
            path,
            record,
            _lock: lock,
        })
    }

    fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).context("a record as JSON")?;
        fs::write(&self.path, text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The file of a domain's record: a domain may have any bytes and be as long as a name may be.
fn record_path(domain: &str) -> PathBuf {
    let digest = Sha256::digest(domain);
    Path::new(FOLDER).join(format!("domain%{digest:x}"))
}

/// Takes numbers for `cookies` cookies of one more image; the first image acquires the volume.
///
/// # Errors
/// When it could not be tried; the inner error is the cache's.
pub fn enter(domain: &str, cookies: u64) -> Result<io::Result<Place>> {
    let locked = Locked::of(domain)?;
    let mut record = match &locked.record {
        Some(record) => record.clone(),
        None => {
            let session = Session::open()?;
            if let Err(error) = session.acquire_volume(&format!("erofs,{domain}")) {
                return Ok(Err(error));
            }
            Record {
                holder: holder::start(session)?,
                users: 0,
                next: 0,
            }
        }
    };
    let place = Place {
        session: Session::of(record.holder).context("cannot have a domain's session")?,
        holder: record.holder,
        first: record.next,
    };
    record.users += 1;
    record.next += cookies;
    locked.write(&record)?;
    Ok(Ok(place))
}

/// An image's cookies are relinquished; with the last image goes the volume.
pub fn leave(domain: &str, session: Session) -> Result<io::Result<()>> {
    let locked = Locked::of(domain)?;
    let mut record = locked.record.clone().context("a domain without a record")?;
    record.users = record.users.saturating_sub(1);
    if record.users > 0 {
        locked.write(&record)?;
        return Ok(Ok(()));
    }
    fs::remove_file(&locked.path)
        .with_context(|| format!("cannot remove {}", locked.path.display()))?;
    let result = session.relinquish_volume();
    drop(session);
    holder::end(record.holder)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_has_a_file_of_its_own_whose_name_fits() {
        let name = |domain: &str| record_path(domain).file_name().unwrap().to_owned();
        assert!(name(&"x".repeat(250)).len() + ".lock".len() <= 255);
        assert_ne!(name("a/b"), name("a%b"));
        assert!(!name("../../up").to_string_lossy().contains(['/', '.']));
    }
}
