// SPDX-License-Identifier: GPL-2.0-or-later
//! How many instructions the guest has executed: only the machine counts them, so the host is asked.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use vmtest_protocol::FromAgent;

use super::Context;
use super::Stop;
use super::lock;

/// How long the host may take to answer, by the guest's clock.
const LIMIT: Duration = Duration::from_secs(30);

/// Questions to the host that are under way.
#[derive(Debug, Default)]
pub struct Executed {
    counted: AtomicBool,
    last: AtomicU64,
    waiting: Mutex<BTreeMap<u64, mpsc::Sender<Option<u64>>>>,
}

impl Executed {
    /// The machine counts, or does not: then nobody is asked.
    pub fn set_counted(&self, counted: bool) {
        self.counted.store(counted, Ordering::Relaxed);
    }

    /// The host has answered the question `seq`.
    pub fn answer(&self, seq: u64, executed: Option<u64>) {
        if let Some(asker) = lock(&self.waiting).remove(&seq) {
            // Whoever asked may have given up.
            let _ = asker.send(executed);
        }
    }
}

impl Context {
    /// Instructions since the machine was started; `None` on one that does not count them. Asking
    /// costs some itself, each time about the same number.
    pub(super) fn executed(&self) -> Result<Option<u64>, Stop> {
        let executed = &self.agent.executed;
        if !executed.counted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let seq = executed.last.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = mpsc::channel();
        lock(&executed.waiting).insert(seq, sender);
        self.agent
            .sender
            .send(&FromAgent::CountInstructions { seq });
        match answer.recv_timeout(LIMIT) {
            Ok(Some(count)) => Ok(Some(count)),
            Ok(None) => Err(Stop::Error(
                "the host could not ask QEMU how many instructions it has executed (its own log \
                 says why)"
                    .to_owned(),
            )),
            Err(_) => Err(Stop::Error(format!(
                "the host did not say within {} s how many instructions were executed",
                LIMIT.as_secs()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_who_asked_and_nobody_else() {
        let executed = Executed::default();
        let (sender, answer) = mpsc::channel();
        lock(&executed.waiting).insert(4, sender);
        executed.answer(3, Some(1));
        assert!(answer.try_recv().is_err());
        executed.answer(4, Some(2));
        assert_eq!(answer.try_recv(), Ok(Some(2)));
        executed.answer(4, Some(3));
        assert!(answer.try_recv().is_err());
    }
}
