// SPDX-License-Identifier: GPL-2.0-or-later
//! The daemon from its start to its end.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

use crate::backend::directory::Directory;
use crate::cli::Cli;
use crate::config;
use crate::config::DeviceSettings;
use crate::config::File;
use crate::config::Settings;
use crate::cull::Culler;
use crate::device;
use crate::device::Device;
use crate::device::bind;
use crate::device::kernel::KernelDevice;
use crate::event_log::Event;
use crate::event_log::EventLog;
use crate::failure::Failure;
use crate::log;
use crate::reload::Reload;
use crate::reload::Tuning;
use crate::serve::Context;
use crate::serve::Ended;
use crate::serve::Objects;
use crate::serve::Workers;
use crate::stats::Stats;
use crate::stop::Stop;

/// How long taken requests may need to be finished once the daemon is to end.
const DRAIN: Duration = Duration::from_secs(30);
/// How often the cache is looked at whether it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Descriptors that are asked for: two for each object.
const DESCRIPTORS: u64 = 1 << 20;

/// What can happen to a running daemon.
#[derive(Debug)]
enum News {
    Signal(i32),
    Worker(Ended),
}

/// Runs the daemon until it is asked to end.
///
/// # Errors
/// Why it ended otherwise.
pub fn main(mut cli: Cli) -> Result<(), Failure> {
    // It is read again on SIGHUP, and culling changes the working directory meanwhile.
    cli.config = cli.config.map(config::absolute).transpose()?;
    let file = match &cli.config {
        Some(path) => File::read(path)?,
        None => File::default(),
    };
    let settings = Settings::new(cli.clone(), file)?;
    log::start(settings.log_format, &settings.log_level)?;
    end_on_panic();
    let events = match &settings.event_log {
        Some(path) => EventLog::append_to(path).map_err(|error| {
            Failure::Usage(format!(
                "cannot write --event-log {}: {error}",
                path.display()
            ))
        })?,
        None => EventLog::none(),
    };
    let events = Arc::new(events);
    let result = serve(cli, &settings, &events);
    let code = result.as_ref().err().map_or(0, Failure::exit_code);
    events.write(&Event::End { code });
    result
}

/// A thread that panics would leave its request, and those parked behind it, without an answer.
/// Without the process the kernel answers them, or a successor does, for whom the device is kept.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

fn serve(cli: Cli, settings: &Settings, events: &Arc<EventLog>) -> Result<(), Failure> {
    raise_descriptor_limit();
    // First what can be wrong without touching the device.
    let tuning = Arc::new(Tuning::new(settings.fill, settings.delay));
    let backend =
        Directory::open(&settings.blobs, Arc::clone(&tuning)).map_err(|source| Failure::Blobs {
            path: settings.blobs.clone(),
            source,
        })?;
    let (sender, news) = mpsc::channel();
    watch_signals(sender.clone())?;
    let stop = Stop::new().map_err(|error| Failure::system("cannot make an eventfd", error))?;
    let stop = Arc::new(stop);
    let (device, fresh) = match &settings.device {
        DeviceSettings::Path(path) => (KernelDevice::open(path)?, true),
        DeviceSettings::Inherited(number) => (KernelDevice::inherited(*number)?, false),
    };
    let device: Arc<dyn Device> = Arc::new(device);
    let restored = bind::bind(&*device, &settings.cache, fresh)?;
    tracing::info!(
        dir = %settings.cache.dir.display(),
        blobs = %settings.blobs.display(),
        threads = settings.threads,
        restored,
        "serving"
    );
    let stats = Arc::new(Stats::default());
    let culler = culler(settings, &device, events, &stats, &stop)?;
    let context = Arc::new(Context {
        device,
        backend: Arc::new(backend),
        events: Arc::clone(events),
        stats: Arc::clone(&stats),
        stop: Arc::clone(&stop),
        tuning,
        objects: Objects::default(),
    });
    events.write(&Event::Ready {
        pid: std::process::id(),
        restored,
    });
    // Whoever started us may not read what we say.
    let _ = writeln!(std::io::stdout(), "cachefilesd: ready");

    let (ended, ends) = mpsc::channel();
    let cull_ended = ended.clone();
    let cull_thread = std::thread::Builder::new()
        .name("cull".to_owned())
        .spawn(move || {
            if let Some(why) = culler.run() {
                // Nobody listens any more when the daemon is at its end.
                let _ = cull_ended.send(Ended::Dead(why));
            }
        })
        .map_err(|error| Failure::system("cannot start the culling thread", error))?;
    forward(ends, sender)?;
    let workers = Workers::start(&context, settings.threads, &ended)
        .map_err(|error| Failure::system("cannot start a thread that serves", error))?;
    drop(ended);

    let reload = Reload::new(cli, settings.clone());
    let outcome = wait_for_the_end(&context, &news, reload);
    stop.request();
    drain(&workers, &news)?;
    workers.join();
    // It is between two commands at most: a pass looks at `stop` all the time.
    let _ = cull_thread.join();
    tracing::info!(open = context.objects.count(), "ended: {stats}");
    // The device before the objects: their descriptors then close on a dead cache, and nothing is
    // reopened meanwhile. If somebody keeps the device, the successor gets new ones.
    let Some(context) = Arc::into_inner(context) else {
        return outcome;
    };
    let Context {
        device, objects, ..
    } = context;
    drop(device);
    objects.clear();
    outcome
}

fn culler(
    settings: &Settings,
    device: &Arc<dyn Device>,
    events: &Arc<EventLog>,
    stats: &Arc<Stats>,
    stop: &Arc<Stop>,
) -> Result<Culler, Failure> {
    let dir = settings.cache.dir.clone();
    let gauge = Culler::gauge_of(&dir).map_err(|error| {
        Failure::system(format!("cannot open the cache {}", dir.display()), error)
    })?;
    Ok(Culler::new(
        Arc::clone(device),
        Arc::clone(events),
        Arc::clone(stats),
        Arc::clone(stop),
        dir,
        settings.cache.limits,
        gauge,
    ))
}

/// Sends the ends of threads on as news.
fn forward(ends: mpsc::Receiver<Ended>, sender: mpsc::Sender<News>) -> Result<(), Failure> {
    let body = move || {
        for end in ends {
            if sender.send(News::Worker(end)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("ends".to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| Failure::system("cannot start a thread", error))
}

/// Sends signals on as news; the second one that asks for the end ends the process at once.
fn watch_signals(sender: mpsc::Sender<News>) -> Result<(), Failure> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Failure::system("cannot watch for signals", error))?;
    let body = move || {
        let mut ending = false;
        for signal in signals.forever() {
            if ending && signal != SIGHUP {
                tracing::error!(signal, "asked to end twice: requests are left unanswered");
                std::process::exit(1);
            }
            ending |= signal != SIGHUP;
            if sender.send(News::Signal(signal)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| Failure::system("cannot start a thread", error))
}

fn wait_for_the_end(
    context: &Context,
    news: &mpsc::Receiver<News>,
    mut reload: Reload,
) -> Result<(), Failure> {
    loop {
        match news.recv_timeout(HEARTBEAT) {
            Ok(News::Signal(SIGHUP)) => read_again(context, &mut reload),
            Ok(News::Signal(signal)) => {
                tracing::info!(signal, "asked to end");
                return Ok(());
            }
            Ok(News::Worker(Ended::Dead(why))) => return Err(Failure::DeviceDead(why)),
            Ok(News::Worker(Ended::Stopped)) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if device::is_dead(&*context.device) {
                    return Err(Failure::DeviceDead(
                        "it answers every command with EIO".into(),
                    ));
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Failure::Stuck("every thread has ended".to_owned()));
            }
        }
    }
}

/// Reads the configuration again. A mistake in it is told and does not end the service.
fn read_again(context: &Context, reload: &mut Reload) {
    let tuning = &context.tuning;
    match reload.again(tuning) {
        Ok(()) => {
            let delay_ms = tuning.delay().as_millis() as u64;
            tracing::info!(
                fill = tuning.fill(),
                delay_ms,
                "the configuration was read again"
            );
            context.events.write(&Event::Reconfigured {
                fill: tuning.fill(),
                delay_ms,
            });
        }
        Err(failure) => {
            let reason = failure.to_string();
            tracing::error!("the configuration stays as it was: {reason}");
            context
                .events
                .write(&Event::ReconfigureFailed { reason: &reason });
        }
    }
}

/// Waits until no thread works on a request any more.
fn drain(workers: &Workers, news: &mpsc::Receiver<News>) -> Result<(), Failure> {
    let deadline = Instant::now() + DRAIN;
    loop {
        let running = workers.running();
        if running.is_empty() {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::Stuck(format!(
                "after {} s these threads have not finished their requests: {}. The blob folder \
                 or the cache's disk does not answer",
                DRAIN.as_secs(),
                running.join(", ")
            )));
        }
        // A thread reports just before it ends; the short limit covers the rest.
        let _ = news.recv_timeout(left.min(Duration::from_millis(10)));
    }
}

/// Two descriptors an object, and as many objects as images are mounted.
fn raise_descriptor_limit() {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum;
    let beyond = hard
        .is_some_and(|hard| hard < DESCRIPTORS)
        .then_some(Rlimit {
            current: Some(DESCRIPTORS),
            maximum: Some(DESCRIPTORS),
        });
    // Beyond the hard limit only with the privilege, and if the system allows so many.
    let raised = beyond.is_some_and(|limit| setrlimit(Resource::Nofile, limit).is_ok());
    if raised {
        return;
    }
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, limit = ?now.current, "cannot raise the limit of open files");
    }
}
