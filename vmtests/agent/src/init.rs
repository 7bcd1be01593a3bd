// SPDX-License-Identifier: GPL-2.0-or-later
//! PID 1: from the kernel's start of it to the power-off.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use vmtest_protocol::FromAgent;
use vmtest_protocol::PROTOCOL_VERSION;
use vmtest_protocol::Step;
use vmtest_protocol::ToAgent;
use vmtest_protocol::frame;
use vmtest_protocol::message::Collected;
use vmtest_protocol::message::Hello;
use vmtest_protocol::message::Level;
use vmtest_protocol::message::Requests;
use vmtest_protocol::message::Setup;
use vmtest_protocol::template::Vars;

use crate::channel;
use crate::channel::console;
use crate::children::Children;
use crate::engine::Agent;
use crate::engine::Cancel;
use crate::engine::Context;
use crate::engine::Done;
use crate::engine::Stop;
use crate::engine::lock;
use crate::inspect;
use crate::logs::Logs;
use crate::logs::follow_kernel;
use crate::setup;
use crate::shell;

/// How often event logs are copied out.
const COPY_EVERY: Duration = Duration::from_millis(200);
/// How much longer than its limit a step may take to end, before it is called stuck.
const GRACE: Duration = Duration::from_secs(5);

/// Open files for each process.
const FILES: u64 = 65_536;

type Running = Arc<Mutex<HashMap<u64, Arc<Cancel>>>>;

/// Runs until the power is off.
pub fn main() -> ! {
    std::panic::set_hook(Box::new(|panic| {
        console(&format!("PANIC: {panic}"));
    }));
    if let Err(error) = run() {
        console(&format!("FATAL: {error:#}"));
    }
    power_off();
}

fn run() -> Result<()> {
    setup::base_mounts().context("cannot mount the basic filesystems")?;
    // Children inherit it: a daemon holds two descriptors for each of thousands of objects.
    let limit = rustix::process::Rlimit {
        current: Some(FILES),
        maximum: Some(FILES),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
        .context("cannot raise the limit of open files")?;
    let children = Arc::new(Children::default());
    let reaper = Arc::clone(&children);
    std::thread::Builder::new()
        .name("reaper".to_owned())
        .spawn(move || reaper.reap())
        .context("cannot start the reaper")?;
    let logs = Arc::new(Logs::default());
    let kernel = Arc::clone(&logs);
    std::thread::Builder::new()
        .name("kmsg".to_owned())
        .spawn(move || {
            if let Err(error) = follow_kernel(&kernel) {
                console(&format!("cannot follow the kernel's log: {error}"));
            }
        })
        .context("cannot start the thread that follows the kernel's log")?;
    let (sender, mut receiver) = channel::open()?;
    let agent = Arc::new(Agent {
        sender: Arc::new(sender),
        children,
        workers: Default::default(),
        events: Default::default(),
        daemons: Default::default(),
        puppets: Default::default(),
        held: Default::default(),
        probes: Default::default(),
        programs: Default::default(),
        logs: Arc::clone(&logs),
        snapshots: Default::default(),
        measured: Default::default(),
        actors: Default::default(),
        branches: Default::default(),
        shells: Default::default(),
        executed: Default::default(),
        tracer: Default::default(),
        room_paths: Default::default(),
        modules: Default::default(),
    });
    agent.sender.send(&FromAgent::Hello(hello()));
    let copier = Arc::clone(&agent);
    std::thread::Builder::new()
        .name("copier".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(COPY_EVERY);
                copier.events.poll();
            }
        })
        .context("cannot start the copier")?;
    let running = Running::default();
    loop {
        match frame::read(&mut receiver).context("the runner's channel")? {
            ToAgent::Wake { unix_ns, seed } => {
                // Not in a thread: whatever follows must find the right time.
                if let Err(error) = wake(unix_ns, seed) {
                    agent.sender.log(Level::Error, format!("{error:#}"));
                }
                agent.sender.send(&FromAgent::Hello(hello()));
            }
            ToAgent::Setup(setup) => in_thread(&agent, "setup", move |agent| {
                let error = prepare(agent, &setup).err().map(|e| format!("{e:#}"));
                agent.sender.send(&FromAgent::SetupDone { error });
            }),
            ToAgent::Run {
                id,
                step,
                vars,
                timeout_ms,
            } => begin(&agent, &running, id, *step, vars, timeout_ms),
            ToAgent::Cancel { id } => {
                if let Some(cancel) = lock(&running).get(&id) {
                    cancel.set();
                }
            }
            ToAgent::Collect => in_thread(&agent, "collect", |agent| {
                let collected = collect(agent);
                agent.sender.send(&FromAgent::Collected(collected));
            }),
            ToAgent::Inspect => in_thread(&agent, "inspect", |agent| {
                let inspected = inspect::inspect();
                agent.sender.send(&FromAgent::Inspected(inspected));
            }),
            ToAgent::Sysrq { keys } => in_thread(&agent, "sysrq", move |agent| {
                let text = sysrq(&keys);
                agent.sender.send(&FromAgent::Notice { text });
            }),
            ToAgent::Shell {
                id,
                rows,
                cols,
                argv,
            } => in_thread(&agent, "shell", move |agent| {
                let size = shell::size(rows, cols);
                agent
                    .shells
                    .start(&agent.sender, &agent.children, id, size, &argv);
            }),
            ToAgent::ShellInput { id, data } => agent.shells.input(&agent.sender, id, data.0),
            ToAgent::ShellResize { id, rows, cols } => {
                agent.shells.resize(id, shell::size(rows, cols));
            }
            ToAgent::ShellHangUp { id } => in_thread(&agent, "hang-up", move |agent| {
                agent.shells.hang_up(&agent.children, id);
            }),
            ToAgent::Instructions { seq, executed } => agent.executed.answer(seq, executed),
            ToAgent::Ping { seq } => agent.sender.send(&FromAgent::Pong { seq }),
            ToAgent::PowerOff => {
                wind_up(&agent);
                return Ok(());
            }
        }
    }
}

/// Nothing is done on the thread that listens to the runner, so that nothing makes it deaf.
fn in_thread(agent: &Arc<Agent>, name: &str, body: impl FnOnce(&Arc<Agent>) + Send + 'static) {
    let own = Arc::clone(agent);
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || body(&own));
    if let Err(error) = started {
        agent.sender.log(
            Level::Error,
            format!("cannot start a thread for {name}: {error}"),
        );
    }
}

fn hello() -> Hello {
    let info = rustix::system::sysinfo();
    Hello {
        protocol: PROTOCOL_VERSION,
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        uptime_ms: channel::uptime_ms(),
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory: info.totalram as u64 * u64::from(info.mem_unit),
    }
}

/// After a restore: the time of now, and random numbers that no other guest has.
fn wake(unix_ns: i64, seed: u64) -> Result<()> {
    let time = rustix::time::Timespec {
        tv_sec: unix_ns.div_euclid(1_000_000_000),
        tv_nsec: unix_ns.rem_euclid(1_000_000_000),
    };
    rustix::time::clock_settime(rustix::time::ClockId::Realtime, time)
        .with_context(|| format!("cannot set the clock to {unix_ns} ns since 1970"))?;
    fs::write("/dev/urandom", seed.to_le_bytes()).context("cannot write to /dev/urandom")
}

fn prepare(agent: &Agent, wanted: &Setup) -> Result<()> {
    agent.events.set_boot(wanted.boot);
    agent.executed.set_counted(wanted.counted);
    lock(&agent.modules).extend(wanted.modules.iter().cloned());
    setup::carry_out(wanted)?;
    let paths = wanted.disks.iter().filter(|disk| disk.mount);
    lock(&agent.room_paths).extend(paths.filter_map(|disk| disk.at.clone()));
    Ok(())
}

/// Starts a step and sees to it that it is answered, whatever happens.
fn begin(agent: &Arc<Agent>, running: &Running, id: u64, step: Step, vars: Vars, timeout_ms: u64) {
    let limit = Duration::from_millis(timeout_ms);
    let cancel = Arc::new(Cancel::default());
    lock(running).insert(id, Arc::clone(&cancel));
    let running = Arc::clone(running);
    in_thread(agent, "step", move |agent| {
        let start = Instant::now();
        let context = Context {
            agent: Arc::clone(agent),
            id,
            path: String::new(),
            branch: None,
            vars,
            deadline: start + limit,
            cancel: Arc::clone(&cancel),
        };
        let (sender, end) = mpsc::channel();
        in_thread(agent, "engine", move |_| {
            // Nobody hears it when it comes after the grace.
            let _ = sender.send(context.step(&step));
        });
        let result: Result<Done, Stop> = end.recv_timeout(limit + GRACE).unwrap_or_else(|_| {
            cancel.set();
            Err(Stop::TimedOut {
                reason: "the agent's own thread for the step does not come back".to_owned(),
                blocked: crate::blocked::tasks(1)
                    .into_iter()
                    .filter(|task| task.state == 'D')
                    .collect(),
            })
        });
        lock(&running).remove(&id);
        let (outcome, done) = match result {
            Ok(done) => (vmtest_protocol::message::Outcome::Passed, done),
            Err(stop) => (stop.outcome(limit), Done::default()),
        };
        agent.sender.send(&FromAgent::StepEnded {
            id,
            outcome,
            exit: done.exit,
            seconds: start.elapsed().as_secs_f64(),
            measurements: done.measurements,
        });
    });
}

fn collect(agent: &Arc<Agent>) -> Collected {
    let context = Context {
        agent: Arc::clone(agent),
        id: 0,
        path: String::new(),
        branch: None,
        vars: Vars::new(),
        deadline: Instant::now() + Duration::from_secs(5),
        cancel: Arc::new(Cancel::default()),
    };
    let counters = context.counters().unwrap_or_default();
    let (tally, _) = agent.events.total();
    let mut leftovers: Vec<String> = lock(&agent.daemons)
        .list()
        .into_iter()
        .map(|(name, pid)| format!("daemon {name} (pid {pid})"))
        .collect();
    let programs = agent.programs.list();
    leftovers.extend(
        programs
            .iter()
            .map(|(n, pid)| format!("program {n} (pid {pid})")),
    );
    let puppets = lock(&agent.puppets).names();
    leftovers.extend(puppets.iter().map(|n| format!("puppet {n}")));
    leftovers.extend(agent.branches.names().iter().map(|n| format!("branch {n}")));
    Collected {
        modules: setup::loaded_modules(),
        requests: Requests { ..tally.requests },
        counters,
        leftovers,
    }
}

fn sysrq(keys: &str) -> String {
    let mut said = Vec::new();
    for key in keys.chars() {
        match fs::write("/proc/sysrq-trigger", key.to_string()) {
            Ok(()) => said.push(format!("sysrq {key}: see the console")),
            Err(error) => said.push(format!("sysrq {key}: {error}")),
        }
    }
    said.join("; ")
}

/// The last things before the power goes: each with a limit.
fn wind_up(agent: &Arc<Agent>) {
    agent.branches.cancel_all();
    agent.shells.hang_up_all(&agent.children);
    let (sender, done) = mpsc::channel();
    let own = Arc::clone(agent);
    in_thread(agent, "wind-up", move |_| {
        own.events.poll();
        rustix::fs::sync();
        // Nobody hears it when it comes too late.
        let _ = sender.send(());
    });
    if done.recv_timeout(Duration::from_secs(3)).is_err() {
        console("writing out before the power-off takes too long: not waiting for it");
    }
}

fn power_off() -> ! {
    let error = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    console(&format!("cannot power off: {error:?}"));
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}
