// SPDX-License-Identifier: GPL-2.0-or-later
//! Actions on objects: answers, and what is done with their descriptors.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::SeekFrom;
use vmtest_protocol::step::CloseOrder;
use vmtest_protocol::step::IdForm;
use vmtest_protocol::step::PuppetAwait;
use vmtest_protocol::step::PuppetClose;
use vmtest_protocol::step::PuppetCloseOne;
use vmtest_protocol::step::PuppetComplete;
use vmtest_protocol::step::PuppetCopen;
use vmtest_protocol::step::PuppetDup;
use vmtest_protocol::step::PuppetSeek;
use vmtest_protocol::step::PuppetWrite;
use vmtest_protocol::step::Whence;

use super::descriptors::Descriptor;
use super::descriptors::TABLE;
use super::device::Expected;
use super::device::write_command;
use super::hand::Hand;
use super::hand::Saved;
use super::hand::free_name;
use super::hand::in_memory;
use super::serve;
use super::serve::Memory;
use crate::sys;
use crate::worker::child::Verdict;
use crate::worker::child::judge;

impl Hand {
    pub(super) fn copen(&self, copen: &PuppetCopen) -> Result<Verdict> {
        let (id, answered) = match (&copen.id, &copen.of) {
            (Some(id), _) => (id.clone(), None),
            (None, Some(of)) => {
                let ids = self.ids(of)?;
                (written_id(ids.message, copen.form), Some(ids.message))
            }
            (None, None) => anyhow::bail!("`copen` wants `of` or `id`"),
        };
        let size = match (&copen.size, &copen.blob) {
            (Some(size), _) => size.clone(),
            (None, Some(blob)) => std::fs::metadata(blob)
                .with_context(|| format!("cannot ask for the length of {blob}"))?
                .len()
                .to_string(),
            (None, None) => anyhow::bail!("`copen` wants `size` or `blob`"),
        };
        let command = format!("copen {id},{size}");
        let result = write_command(self.device()?, &command);
        if let (Ok(()), Some(id)) = (&result, answered) {
            self.shared.log.reply("open", id);
        }
        let what = format!("the command `{command}`");
        Ok(judge(&what, result, &copen.expect_errno))
    }

    pub(super) fn complete(&self, complete: &PuppetComplete) -> Result<Verdict> {
        let plus = match &complete.plus {
            Some(plus) => plus.get().map_err(anyhow::Error::msg)?,
            None => 0,
        };
        let (id, answered) = match (&complete.id, &complete.of) {
            (Some(id), _) => (id.get().map_err(anyhow::Error::msg)?.0, None),
            (None, Some(of)) => {
                let id = self.ids(of)?.message;
                let answered = (plus == 0).then_some(id);
                (u64::from(id).wrapping_add_signed(plus), answered)
            }
            (None, None) => anyhow::bail!("`complete` wants `of` or `id`"),
        };
        let on = complete.on.as_ref().or(complete.of.as_ref());
        let on = on.context("`complete` with an `id` wants `on`: whose descriptor?")?;
        let what = format!("completing READ {id} on the descriptor of `{on}`");
        let id = usize::try_from(id)
            .with_context(|| format!("{what}: the id is longer than a machine word"))?;
        let result = sys::read_complete(self.object(on)?, id);
        if let (Ok(()), Some(id)) = (&result, answered) {
            self.shared.log.reply("read", id);
        }
        Ok(judge(&what, result, &complete.expect_errno))
    }

    pub(super) fn write(&self, write: &PuppetWrite) -> Result<Verdict> {
        let object = self.object(&write.of)?;
        let blob = match &write.blob {
            Some(path) => {
                let blob = TABLE.make(|| File::open(path));
                Some(blob.with_context(|| format!("cannot open the blob {path}"))?)
            }
            None => None,
        };
        if write.is_exact() {
            return write_exactly(write, &object, blob.as_ref());
        }
        let offset = write.offset.as_ref().context("`write` wants `offset`")?;
        let offset = offset.get().map_err(anyhow::Error::msg)?.0;
        let length = write.length.get().map_err(anyhow::Error::msg)?.0;
        let what = format!("writing {length} bytes at {offset} to `{}`", write.of);
        let result = serve::copy_range(blob.as_ref(), &object, offset, length);
        Ok(judge(&what, result, &write.expect_errno))
    }

    pub(super) fn seek(&self, seek: &PuppetSeek) -> Result<Verdict> {
        let object = self.object(&seek.of)?;
        let offset = seek.offset.get().map_err(anyhow::Error::msg)?.0;
        // The kernel takes a signed place; so a wrong one goes out as it is.
        let place = offset as u64;
        let (word, from) = match seek.whence {
            Whence::Set => ("SEEK_SET", SeekFrom::Start(place)),
            Whence::Cur => ("SEEK_CUR", SeekFrom::Current(offset)),
            Whence::End => ("SEEK_END", SeekFrom::End(offset)),
            Whence::Data => ("SEEK_DATA", SeekFrom::Data(place)),
            Whence::Hole => ("SEEK_HOLE", SeekFrom::Hole(place)),
        };
        let what = format!("lseek of `{}` to {offset} by {word}", seek.of);
        let expected = seek.expect.as_ref().map(|size| size.get()).transpose();
        let expected = expected.map_err(anyhow::Error::msg)?.map(|bytes| bytes.0);
        Ok(match (rustix::fs::seek(object, from), expected) {
            (Ok(seen), Some(wanted)) if seek.expect_errno.is_none() && seen != wanted => {
                Verdict::Failed(format!("{what}: it led to {seen}, {wanted} was expected"))
            }
            (Ok(seen), _) => {
                let verdict = judge(&what, Ok(()), &seek.expect_errno);
                super::message::because(verdict, &format!("it led to {seen}"))
            }
            (Err(error), _) => judge(&what, Err(error.into()), &seek.expect_errno),
        })
    }

    pub(super) fn await_objects(&self, wait: &PuppetAwait) -> Result<Verdict> {
        let count = wait.count.get().map_err(anyhow::Error::msg)? as usize;
        let patience = self.patience(Some(&wait.within))?;
        loop {
            let open = self.shared.objects.len();
            if open == count {
                return Ok(Verdict::passed());
            }
            if !patience.sleep(Duration::from_millis(5)) {
                return Ok(Verdict::Failed(format!(
                    "{open} objects are open, {count} were expected"
                )));
            }
        }
    }

    pub(super) fn close(&self, close: &PuppetCloseOne) -> Result<Verdict> {
        let descriptor = self.descriptor(&close.of)?;
        self.shared.objects.forget(&descriptor);
        anyhow::ensure!(
            descriptor.close(),
            "the descriptor of `{}` has been closed already",
            close.of
        );
        Ok(Verdict::passed())
    }

    pub(super) fn close_objects(&self, close: &PuppetClose) -> Result<Verdict> {
        let order = in_order(self.shared.objects.ids(), close.order);
        let count = match &close.count {
            Some(count) => count.get().map_err(anyhow::Error::msg)? as usize,
            None => order.len(),
        };
        for id in order.iter().take(count) {
            self.shared.objects.close(*id);
        }
        Ok(Verdict::passed())
    }

    pub(super) fn dup(&mut self, dup: &PuppetDup) -> Result<Verdict> {
        free_name(&dup.name)?;
        let target = self.target(&dup.of)?;
        let second = TABLE
            .make(|| rustix::io::fcntl_dupfd_cloexec(target, 0))
            .with_context(|| format!("cannot duplicate the descriptor of `{}`", dup.of))?;
        let saved = Saved {
            ids: None,
            descriptor: Some(Arc::new(Descriptor::new(second))),
        };
        self.save(&dup.name, saved)?;
        Ok(Verdict::passed())
    }
}

/// An id as it goes out.
fn written_id(id: u32, form: IdForm) -> String {
    match form {
        IdForm::Decimal => id.to_string(),
        IdForm::Hex => format!("{id:#x}"),
        IdForm::Octal => format!("0{id:o}"),
    }
}

/// In which order objects are closed.
fn in_order(mut ids: Vec<u32>, order: CloseOrder) -> Vec<u32> {
    match order {
        CloseOrder::Opened => {}
        CloseOrder::Reversed => ids.reverse(),
        CloseOrder::Interleaved => {
            let numbered = ids.iter().enumerate();
            let first = numbered.clone().filter(|(at, _)| at % 3 == 0);
            let then = numbered.rev().filter(|(at, _)| at % 3 != 0);
            ids = first.chain(then).map(|(_, id)| *id).collect();
        }
    }
    ids
}

/// One system call of exactly the bytes that were asked for.
fn write_exactly(write: &PuppetWrite, object: &OwnedFd, blob: Option<&File>) -> Result<Verdict> {
    let length = in_memory(&write.length, "write")?;
    let misalign = match &write.misalign {
        Some(size) => size.get().map_err(anyhow::Error::msg)?.0,
        None => 0,
    };
    anyhow::ensure!(
        misalign < serve::BLOCK,
        "`misalign: {misalign}`: a block has {} bytes",
        serve::BLOCK
    );
    let offset = match &write.offset {
        Some(offset) => Some(offset.get().map_err(anyhow::Error::msg)?.0),
        None => None,
    };
    let place = match offset {
        Some(offset) => format!("at {offset}"),
        None => "at its position".to_owned(),
    };
    let what = format!("writing {length} bytes {place} to `{}` at once", write.of);
    let mut memory = Memory::new(length, misalign as usize);
    if let Some(blob) = blob {
        let from = match offset {
            Some(offset) => offset,
            None => position(object)?,
        };
        serve::read_all(blob, memory.bytes(), from)
            .with_context(|| format!("cannot read the blob at {from}"))?;
    }
    let result = match offset {
        Some(offset) => rustix::io::pwrite(object, memory.bytes(), offset),
        None => rustix::io::write(object, memory.bytes()),
    };
    let expected = Expected {
        errno: &write.expect_errno,
        written: &write.expect_written,
        length,
    };
    expected.judge(&what, result.map_err(io::Error::from))
}

/// The position from which write(2) goes on. An object answers lseek(2) with that of the file
/// below it, which is another one.
fn position(object: &OwnedFd) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", object.as_raw_fd());
    let text = TABLE
        .make(|| std::fs::read_to_string(&path))
        .with_context(|| format!("cannot read {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("pos:"))
        .and_then(|pos| pos.trim().parse().ok())
        .with_context(|| format!("{path} has no position in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_all_forms() {
        assert_eq!(written_id(26, IdForm::Decimal), "26");
        assert_eq!(written_id(26, IdForm::Hex), "0x1a");
        assert_eq!(written_id(26, IdForm::Octal), "032");
    }

    #[test]
    fn every_order_closes_every_object_once() {
        let ids = || (1..=10).collect::<Vec<u32>>();
        assert_eq!(in_order(ids(), CloseOrder::Opened), ids());
        let reversed: Vec<u32> = (1..=10).rev().collect();
        assert_eq!(in_order(ids(), CloseOrder::Reversed), reversed);
        let mut interleaved = in_order(ids(), CloseOrder::Interleaved);
        assert_eq!(interleaved, [1, 4, 7, 10, 9, 8, 6, 5, 3, 2]);
        interleaved.sort_unstable();
        assert_eq!(interleaved, ids());
    }
}
