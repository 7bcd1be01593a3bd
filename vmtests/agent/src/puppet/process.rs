// SPDX-License-Identifier: GPL-2.0-or-later
//! Actions on the process: serving, files, limits, rights, the working directory.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;
use vmtest_protocol::step::PuppetChangeDir;
use vmtest_protocol::step::PuppetCloseFile;
use vmtest_protocol::step::PuppetLimitFiles;
use vmtest_protocol::step::PuppetOpenFile;
use vmtest_protocol::step::PuppetServe;
use vmtest_protocol::step::PuppetStartReading;

use super::descriptors::TABLE;
use super::hand::Hand;
use super::serve::Server;
use super::serve::Supply;
use crate::client;
use crate::engine::lock;
use crate::worker::child::Verdict;
use crate::worker::child::judge;
use crate::worker::glob;

impl Hand {
    pub(super) fn serve(&self, options: &PuppetServe) -> Result<Verdict> {
        let device = self.device()?;
        let mut server = lock(&self.shared.server);
        anyhow::ensure!(server.is_none(), "this puppet serves already");
        let objects = Arc::clone(&self.shared.objects);
        let log = Arc::clone(&self.shared.log);
        let supply = match &options.content {
            None => Supply::Blobs(options.blobs.clone()),
            Some(content) => {
                let size = content.size.get().map_err(anyhow::Error::msg)?.0;
                Supply::Content {
                    size: i64::try_from(size).context("a size that no file can have")?,
                    generation: content.generation.get().map_err(anyhow::Error::msg)?,
                }
            }
        };
        let stubborn = options.ignore_errors;
        *server = Some(Server::start(device, supply, objects, log, stubborn)?);
        Ok(Verdict::passed())
    }

    pub(super) fn stop_serving(&self) -> Result<Verdict> {
        let server = lock(&self.shared.server).take();
        server.context("this puppet does not serve")?.stop()?;
        Ok(Verdict::passed())
    }

    pub(super) fn open_file(&self, open: &PuppetOpenFile) -> Result<Verdict> {
        let known = || lock(&self.shared.files).contains_key(&open.name);
        anyhow::ensure!(!known(), "a file called `{}` is open already", open.name);
        let mut options = OpenOptions::new();
        options.read(true).write(open.write);
        let result = TABLE.make(|| options.open(&open.path));
        let result = result.map(|file| {
            lock(&self.shared.files).insert(open.name.clone(), file);
        });
        let what = format!("opening {}", open.path);
        Ok(judge(&what, result, &open.expect_errno))
    }

    pub(super) fn start_reading(&self, reading: &PuppetStartReading) -> Result<Verdict> {
        let path = reading.path.clone();
        std::thread::Builder::new()
            .name("puppet-read".to_owned())
            // Opening may wait for this very daemon, too.
            .spawn(move || {
                if let Ok(mut file) = TABLE.make(|| client::open(&path, 0)) {
                    let _ = io::copy(&mut file, &mut io::sink());
                }
            })
            .context("cannot start the reading thread")?;
        Ok(Verdict::passed())
    }

    pub(super) fn close_file(&self, close: &PuppetCloseFile) -> Result<Verdict> {
        let file = lock(&self.shared.files).remove(&close.name);
        let file = file.with_context(|| format!("no file called `{}` is open", close.name))?;
        drop(file);
        Ok(Verdict::passed())
    }

    pub(super) fn limit_files(&self, limit: &PuppetLimitFiles) -> Result<Verdict> {
        const MOST: u64 = 1 << 20;
        let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
        // Without this, a limit that is reached already would hide what is open.
        set_soft_limit(hard, hard)?;
        let Some(more) = &limit.to else {
            return Ok(Verdict::passed());
        };
        let more = more.get().map_err(anyhow::Error::msg)?;
        anyhow::ensure!(
            more <= MOST,
            "`limit_files: {{to: {more}}}`: {MOST} are the most"
        );
        let open = TABLE
            .make(open_numbers)
            .context("cannot list the open descriptors")?;
        set_soft_limit(Some(limit_for(&open, more)), hard)?;
        Ok(Verdict::passed())
    }

    pub(super) fn drop_capabilities(&self) -> Result<Verdict> {
        // Capabilities are each thread's own: one that serves already would keep them.
        anyhow::ensure!(
            lock(&self.shared.server).is_none(),
            "the puppet serves already, with capabilities: `drop_capabilities` before `serve`"
        );
        let none = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        rustix::thread::set_capabilities(None, sets).context("cannot give up capabilities")?;
        Ok(Verdict::passed())
    }

    pub(super) fn change_dir(&self, change: &PuppetChangeDir) -> Result<Verdict> {
        let path = TABLE
            .make(|| glob::one(&change.path))
            .map_err(anyhow::Error::msg)?;
        let what = format!("changing the working directory to {}", path.display());
        let result = rustix::process::chdir(&path).map_err(io::Error::from);
        Ok(judge(&what, result, &change.expect_errno))
    }
}

fn set_soft_limit(soft: Option<u64>, hard: Option<u64>) -> Result<()> {
    let limit = Rlimit {
        current: soft,
        maximum: hard,
    };
    rustix::process::setrlimit(Resource::Nofile, limit)
        .with_context(|| format!("cannot set RLIMIT_NOFILE to {soft:?}"))
}

/// The numbers of the descriptors that are open.
fn open_numbers() -> io::Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        if let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            numbers.insert(number);
        }
    }
    // One of them was the list's own, and is closed by now.
    numbers.retain(|number| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
    Ok(numbers)
}

/// The limit under which exactly `more` numbers are free. RLIMIT_NOFILE is no count: it is the
/// first number that cannot be had. Of several such limits the highest, as poll(2) refuses more
/// descriptors at once than the limit says.
fn limit_for(open: &BTreeSet<u64>, more: u64) -> u64 {
    let mut free = 0;
    let mut limit = 0;
    loop {
        match open.contains(&limit) {
            true => {}
            false if free < more => free += 1,
            false => return limit,
        }
        limit += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_leaves_exactly_so_many_numbers_free() {
        let open: BTreeSet<u64> = [0, 1, 2, 4, 5, 9].into();
        for (more, limit) in [(0, 3), (1, 6), (2, 7), (3, 8), (4, 10), (5, 11), (100, 106)] {
            assert_eq!(limit_for(&open, more), limit, "{more} more");
            let free = (0..limit).filter(|number| !open.contains(number)).count();
            assert_eq!(free as u64, more);
        }
    }

    #[test]
    fn open_descriptors_are_listed_by_number() {
        use std::os::fd::AsRawFd;
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let open = open_numbers().unwrap();
        assert!(open.contains(&(reader.as_raw_fd() as u64)), "{open:?}");
        assert!(open.contains(&(writer.as_raw_fd() as u64)), "{open:?}");
    }
}
