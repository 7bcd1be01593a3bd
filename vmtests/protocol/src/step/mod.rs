// SPDX-License-Identifier: GPL-2.0-or-later
//! The step language.
//!
//! A step is a map with one action and, if wanted, a `name` (shown in reports) and a `timeout`:
//!
//! ```yaml
//! - mount: {image: small, at: /mnt/small}
//! - verify: {image: small, at: /mnt/small, threads: 4}
//!   name: every digest is right
//!   timeout: 2m
//! ```
//!
//! Unknown keys, unknown actions, and two actions in one step are errors.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::ser::SerializeMap;

use crate::template;
use crate::template::TemplateError;
use crate::template::Vars;
use crate::value::Span;

#[macro_use]
mod one_key;

mod conditions;
mod cookie_state;
mod daemon;
mod files;
mod flow;
mod host;
mod mounts;
mod observe;
mod paths;
mod probe;
mod programs;
mod puppet;
mod system;

pub use conditions::*;
pub use cookie_state::*;
pub use daemon::*;
pub use files::*;
pub use flow::*;
pub use host::*;
pub use mounts::*;
pub use observe::*;
pub use paths::*;
pub use probe::*;
pub use programs::*;
pub use puppet::*;
pub use system::*;

/// How long a step may take that does not say so itself.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Keys whose contents are filled in later than the step that holds them.
const STEPS_BELOW: &[&str] = &["steps"];

/// One step of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// A name for reports; without it the action describes itself.
    pub name: Option<String>,
    /// How long it may take; [`DEFAULT_TIMEOUT`] without it.
    pub timeout: Option<Span>,
    /// What it does.
    pub action: Action,
}

macro_rules! actions {
    ($($(#[doc = $doc:literal])* $key:ident: $type:ident),* $(,)?) => {
        /// What a step does. The variant's name in lower case is its key in a scenario.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant)]
        pub enum Action {
            $($(#[doc = $doc])* $type($type)),*
        }

        /// The keys of all actions.
        pub const ACTIONS: &[&str] = &[$(stringify!($key)),*];

        /// The keys of all actions, with what they do.
        pub const ACTION_DOCS: &[(&str, &str)] = &[$((stringify!($key), concat!($($doc),*))),*];

        /// Every key that may stand in a step: the actions, `name` and `timeout`.
        const KEYS: &[&str] = &[$(stringify!($key),)* "name", "timeout"];

        impl Action {
            /// The action's key, such as `mount`.
            pub fn key(&self) -> &'static str {
                match self {
                    $(Action::$type(_) => stringify!($key)),*
                }
            }

            fn next_value<'de, A: de::MapAccess<'de>>(
                key: &str,
                map: &mut A,
            ) -> Result<Action, A::Error> {
                match key {
                    $(stringify!($key) => map.next_value().map(Action::$type),)*
                    _ => Err(de::Error::unknown_field(key, KEYS)),
                }
            }

            fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self {
                    $(Action::$type(action) => map.serialize_entry(stringify!($key), action)),*
                }
            }

            #[cfg(feature = "schema")]
            pub(crate) fn schemas(
                generator: &mut schemars::SchemaGenerator,
            ) -> Vec<(&'static str, &'static str, schemars::Schema)> {
                vec![$((
                    stringify!($key),
                    concat!($($doc),*),
                    generator.subschema_for::<$type>(),
                )),*]
            }
        }
    };
}

actions! {
    /// Starts a daemon and waits until it serves.
    start_daemon: StartDaemon,
    /// Sends a signal to a daemon.
    signal_daemon: SignalDaemon,
    /// Stops a daemon in its tracks.
    pause_daemon: PauseDaemon,
    /// Lets a paused daemon go on.
    resume_daemon: ResumeDaemon,
    /// Ends a daemon at once, and waits until it is gone.
    kill_daemon: KillDaemon,
    /// Ends a daemon and starts it again, with the options it had.
    restart_daemon: RestartDaemon,
    /// Changes a running daemon's configuration.
    reconfigure_daemon: ReconfigureDaemon,
    /// Waits until a daemon has ended and looks at how.
    wait_daemon: WaitDaemon,
    /// Closes the device that a keeper holds for a daemon.
    close_keeper: CloseKeeper,
    /// Acts as a daemon by hand, in a process of its own.
    puppet: Puppet,
    /// Acts as a filesystem that uses a cache, through the probe module.
    probe: Probe,
    /// Mounts an erofs image over fscache.
    mount: Mount,
    /// Unmounts.
    umount: Umount,
    /// Mounts any filesystem.
    mount_fs: MountFs,
    /// Changes a mounted filesystem's options.
    remount: Remount,
    /// Shows a folder in a second place.
    bind_mount: BindMount,
    /// Makes a mounted ext4 as large as its disk has become.
    grow_fs: GrowFs,
    /// Reads files and compares them with the image's manifest.
    verify: Verify,
    /// Reads a part of one file.
    read: Read,
    /// Keeps a file open until `close_held`.
    hold_open: HoldOpen,
    /// Closes a file kept open by `hold_open`.
    close_held: CloseHeld,
    /// Makes a file of junk, to take away space.
    fill_file: FillFile,
    /// Writes to a file.
    write: Write,
    /// Changes a file's length.
    truncate: Truncate,
    /// Makes a folder.
    make_dir: MakeDir,
    /// Gives a file or folder another name.
    rename: Rename,
    /// Removes a file, or a folder.
    remove_file: RemoveFile,
    /// Sets an extended attribute.
    set_xattr: SetXattr,
    /// Removes an extended attribute.
    remove_xattr: RemoveXattr,
    /// Makes a file or folder immutable, or mutable again.
    set_flags: SetFlags,
    /// Drops clean caches, so that the next read comes from below.
    drop_caches: DropCaches,
    /// Waits a fixed time.
    sleep: Sleep,
    /// Waits for a condition.
    wait_until: WaitUntil,
    /// Remembers all counters under a name, and how far each log goes.
    snapshot: Snapshot,
    /// Compares counters, files, logs, states and measurements with what they should be.
    expect: Expect,
    /// Starts recording trace events.
    start_trace: StartTrace,
    /// Stops recording trace events.
    stop_trace: StopTrace,
    /// Checks from trace and event logs that no request was overtaken without bound.
    check_fairness: CheckFairness,
    /// Runs steps in sequence, with variables of their own.
    group: Group,
    /// Runs sequences of steps all at once.
    parallel: Parallel,
    /// Repeats steps with a counter.
    repeat: Repeat,
    /// Runs steps in sequence and measures them.
    measure: Measure,
    /// Runs steps beside the following ones.
    spawn: Spawn,
    /// Waits for a branch started by `spawn`.
    join: Join,
    /// Runs a program.
    run: Run,
    /// Starts a program beside the following steps.
    start_program: StartProgram,
    /// Sends a signal to a program.
    signal_program: SignalProgram,
    /// Waits until a program has ended and looks at how.
    wait_program: WaitProgram,
    /// Loads a kernel module.
    load_module: LoadModule,
    /// Unloads a kernel module.
    unload_module: UnloadModule,
    /// Writes a kernel setting below /proc/sys.
    sysctl: Sysctl,
    /// Cuts the power.
    power_cut: PowerCut,
    /// Switches the power on again.
    boot: Boot,
    /// Makes requests to a disk fail.
    disk_errors: DiskErrors,
    /// Ends the errors of a disk.
    heal_disk: HealDisk,
    /// Makes a disk slow, or fast again.
    throttle_disk: ThrottleDisk,
    /// Makes a disk larger.
    grow_disk: GrowDisk,
    /// Stops the whole machine for a while.
    pause_vm: PauseVm,
    /// Takes a disk out of the running machine.
    unplug_disk: UnplugDisk,
    /// Puts a disk in again.
    plug_disk: PlugDisk,
    /// Takes memory away from the guest, or gives it back.
    memory_pressure: MemoryPressure,
}

impl Action {
    /// Whether the host carries it out, and not the guest.
    pub fn is_host(&self) -> bool {
        matches!(
            self,
            Action::PowerCut(_)
                | Action::Boot(_)
                | Action::DiskErrors(_)
                | Action::HealDisk(_)
                | Action::ThrottleDisk(_)
                | Action::GrowDisk(_)
                | Action::PauseVm(_)
                | Action::UnplugDisk(_)
                | Action::PlugDisk(_)
                | Action::MemoryPressure(_)
        )
    }

    /// Whether its fields contradict each other, as far as can be known before it runs.
    fn check(&self) -> Result<(), String> {
        match self {
            Action::RestartDaemon(step) => step.check(),
            Action::ReconfigureDaemon(step) => step.check(),
            Action::Puppet(step) => step.check(),
            Action::Probe(step) => step.check(),
            Action::MountFs(step) => step.check(),
            Action::Remount(step) => step.check(),
            Action::Verify(step) => step.check(),
            Action::Read(step) => step.check(),
            Action::HoldOpen(step) => step.check(),
            Action::FillFile(step) => step.check(),
            Action::Write(step) => step.check(),
            Action::Truncate(step) => step.check(),
            Action::MakeDir(step) => step.check(),
            Action::SetXattr(step) => step.check(),
            Action::SetFlags(step) => step.check(),
            Action::WaitUntil(step) => step.check(),
            Action::Expect(step) => step.check(),
            Action::Parallel(step) => step.check(),
            Action::Repeat(step) => step.check(),
            Action::Run(step) => step.check(),
            Action::StartProgram(step) => step.check(),
            Action::PowerCut(step) => step.check(),
            Action::DiskErrors(step) => step.check(),
            Action::MemoryPressure(step) => step.check(),
            _ => Ok(()),
        }
    }
}

impl Step {
    /// A step without a name and with the default time limit.
    pub fn new(action: Action) -> Self {
        Step {
            name: None,
            timeout: None,
            action,
        }
    }

    /// What to call it in reports.
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.action.key())
    }

    /// Its time limit; a template in it must have been filled in.
    pub fn limit(&self) -> Result<Duration, String> {
        match &self.timeout {
            Some(span) => span.get().map(|time| time.0),
            None => Ok(DEFAULT_TIMEOUT),
        }
    }

    /// The step with its `${...}` filled in. Steps inside it are left for their own turn.
    pub fn resolve(&self, vars: &Vars) -> Result<Step, ResolveError> {
        let mut value = serde_json::to_value(self).map_err(ResolveError::Value)?;
        template::fill_value(&mut value, vars, STEPS_BELOW)?;
        serde_json::from_value(value).map_err(ResolveError::Value)
    }

    /// The steps inside this one.
    pub fn inner(&self) -> Vec<&Step> {
        match &self.action {
            Action::Group(group) => group.steps.iter().collect(),
            Action::Parallel(parallel) => {
                let branches = parallel.branches.iter();
                branches.flat_map(|branch| &branch.steps).collect()
            }
            Action::Repeat(repeat) => repeat.steps.iter().collect(),
            Action::Measure(measure) => measure.steps.iter().collect(),
            Action::Spawn(spawn) => spawn.steps.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the step, or one inside it, is the host's to carry out.
    pub fn holds_host(&self) -> bool {
        self.action.is_host() || self.inner().into_iter().any(Step::holds_host)
    }

    /// The step and every step inside it, outermost first.
    pub fn walk(&self, visit: &mut impl FnMut(&Step)) {
        visit(self);
        for step in self.inner() {
            step.walk(visit);
        }
    }
}

/// Checks every `${...}` in `steps` against the names that will exist.
pub fn check_templates<'a>(
    steps: &[Step],
    params: impl IntoIterator<Item = &'a String>,
) -> Result<(), ResolveError> {
    let known = params.into_iter().cloned().collect();
    for step in steps {
        let value = serde_json::to_value(step).map_err(ResolveError::Value)?;
        template::check_value(&value, &known)?;
    }
    Ok(())
}

/// Why a step's `${...}` could not be filled in.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The expression is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The filled-in text is no value of its field's type.
    #[error("after filling in `${{...}}`: {0}")]
    Value(serde_json::Error),
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(name) = &self.name {
            map.serialize_entry("name", name)?;
        }
        if let Some(timeout) = &self.timeout {
            map.serialize_entry("timeout", timeout)?;
        }
        self.action.serialize_into(&mut map)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StepVisitor)
    }
}

struct StepVisitor;

impl<'de> de::Visitor<'de> for StepVisitor {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step: a map with one action such as `mount: {...}`, and perhaps `name` and `timeout`")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Step, A::Error> {
        let mut name = None;
        let mut timeout = None;
        let mut action: Option<Action> = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" if name.is_none() => name = Some(map.next_value()?),
                "timeout" if timeout.is_none() => timeout = Some(map.next_value()?),
                "name" | "timeout" => {
                    return Err(de::Error::custom(format!(
                        "`{key}` appears twice in a step"
                    )));
                }
                key => {
                    let next = Action::next_value(key, &mut map)?;
                    if let Some(first) = &action {
                        return Err(de::Error::custom(format!(
                            "a step has one action, this one has `{}` and `{key}`: begin the \
                             second with `- `",
                            first.key()
                        )));
                    }
                    action = Some(next);
                }
            }
        }
        match action {
            Some(action) => {
                action.check().map_err(de::Error::custom)?;
                Ok(Step {
                    name,
                    timeout,
                    action,
                })
            }
            None => Err(de::Error::custom(format!(
                "a step without an action; the actions are: {}",
                ACTIONS.join(", ")
            ))),
        }
    }
}
