// SPDX-License-Identifier: GPL-2.0-or-later
//! A daemon played by hand: raw actions on /dev/cachefiles, in a process of its own.

use serde::Deserialize;
use serde::Serialize;

mod device;
mod objects;
mod process;

pub use device::*;
pub use objects::*;
pub use process::*;

/// Does `actions` one after the other in the process called `name`, which is started when the
/// name is new and lives until `kill` or the run's end. What it reads from the device counts as
/// `requests.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Puppet {
    /// The process.
    #[serde(default = "default_puppet")]
    pub name: String,
    /// What it does.
    pub actions: Vec<PuppetAction>,
}

fn default_puppet() -> String {
    "puppet".to_owned()
}

impl Puppet {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.actions.is_empty() {
            return Err("a puppet without actions".to_owned());
        }
        let last = self.actions.len() - 1;
        for (index, action) in self.actions.iter().enumerate() {
            if matches!(action, PuppetAction::Kill(_)) && index != last {
                return Err("`kill` must be a puppet's last action".to_owned());
            }
        }
        Ok(())
    }
}

one_key_actions! {
    PuppetAction, "one of the puppet's actions";
    /// Opens the device.
    open: Open(PuppetOpen),
    /// Writes a command to the device.
    command: Command(PuppetCommand),
    /// Writes exact bytes, in one system call, to the device or to an object's descriptor.
    write_raw: WriteRaw(PuppetWriteRaw),
    /// Reads one message and remembers it.
    read_message: ReadMessage(PuppetRead),
    /// Reads the line by which a classic cache tells its state.
    read_state: ReadState(PuppetReadState),
    /// Answers an OPEN.
    copen: Copen(PuppetCopen),
    /// Writes to an object's descriptor.
    write: Write(PuppetWrite),
    /// Moves an object's file position, or asks where data and holes are.
    seek: Seek(PuppetSeek),
    /// Completes a READ.
    complete: Complete(PuppetComplete),
    /// Any ioctl on the device or on an object's descriptor.
    ioctl: Ioctl(PuppetIoctl),
    /// Polls the device or an object's descriptor.
    poll: Poll(PuppetPoll),
    /// Begins to answer requests in the background.
    serve: Serve(PuppetServe),
    /// Ends what `serve` began; what it has taken is answered first.
    stop_serving: StopServing(PuppetNothing),
    /// Waits until this many objects' descriptors are open.
    await_objects: AwaitObjects(PuppetAwait),
    /// Closes the device.
    close_device: CloseDevice(PuppetNothing),
    /// Closes the descriptor that was saved with a message, or by `dup` or `take`.
    close: Close(PuppetCloseOne),
    /// Closes descriptors of objects.
    close_objects: CloseObjects(PuppetClose),
    /// Closes the number that the next descriptor would get, as a thread that guesses it does. In
    /// a storm, `close_next.closed` measures how often a message's descriptor was hit.
    close_next: CloseNext(PuppetNothing),
    /// Makes a second descriptor of the same open file.
    dup: Dup(PuppetDup),
    /// Takes a descriptor of another puppet, as if that had passed it on.
    take: Take(PuppetTake),
    /// Opens a file of any path, and keeps it open.
    open_file: OpenFile(PuppetOpenFile),
    /// Closes a file that `open_file` keeps open.
    close_file: CloseFile(PuppetCloseFile),
    /// Begins to read a file, by a thread of this process.
    start_reading: StartReading(PuppetStartReading),
    /// Sets how many descriptors may be open: so many more than are open now.
    limit_files: LimitFiles(PuppetLimitFiles),
    /// Gives up all capabilities.
    drop_capabilities: DropCapabilities(PuppetNothing),
    /// Changes the working directory, to which `cull` and `inuse` are relative.
    change_dir: ChangeDir(PuppetChangeDir),
    /// Does actions in several threads at once, over and over.
    storm: Storm(PuppetStorm),
    /// Ends the process with SIGKILL: the kernel closes whatever it held.
    kill: Kill(PuppetNothing),
}

/// No fields: written `{}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PuppetNothing {}

/// Actions whose fields cannot contradict each other.
macro_rules! nothing_to_check {
    ($($type:ident),* $(,)?) => {
        $(impl $type {
            #[allow(clippy::unused_self)]
            fn check(&self) -> Result<(), String> {
                Ok(())
            }
        })*
    };
}

nothing_to_check! {
    PuppetNothing, PuppetOpen, PuppetCommand, PuppetSeek, PuppetIoctl, PuppetServe, PuppetAwait,
    PuppetCloseOne, PuppetClose, PuppetDup, PuppetOpenFile, PuppetCloseFile, PuppetLimitFiles,
    PuppetChangeDir, PuppetStartReading, PuppetReadState,
}

fn exactly_one(what: &str, given: &[(&str, bool)]) -> Result<(), String> {
    match given.iter().filter(|(_, given)| *given).count() {
        1 => Ok(()),
        _ => {
            let names: Vec<String> = given.iter().map(|(name, _)| format!("`{name}`")).collect();
            Err(format!(
                "`{what}` wants exactly one of {}",
                names.join(", ")
            ))
        }
    }
}
