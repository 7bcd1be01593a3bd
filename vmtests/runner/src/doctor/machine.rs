// SPDX-License-Identifier: GPL-2.0-or-later
//! Memory, cores, descriptors, and room on the disks.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::MemfdFlags;
use rustix::process::Resource;

use super::Patient;
use super::Point;
use super::amount;

/// Memory of a guest that does not ask for another size, in bytes.
const GUEST_MEMORY: u64 = 512 << 20;
/// What QEMU and the helpers take beside it, in bytes: translated code alone may be 128 MiB.
const BESIDE: u64 = 256 << 20;
/// Open files that the runner, QEMU and each share's helper need at the least.
const LEAST_FILES: u64 = 1024;
/// Open files with which a helper can serve what scenarios do.
const GOOD_FILES: u64 = 4096;
/// Room for results and disks, in bytes: below the first no run, below the second a warning.
const ROOM_FOR_RUNS: (u64, u64) = (256 << 20, 4 << 30);
/// Room in the cache, in bytes: a kernel's build takes a few GiB while it lasts.
const ROOM_TO_BUILD: u64 = 8 << 30;

/// All of it.
pub(super) fn examine(patient: &Patient<'_>) -> Vec<Point> {
    vec![
        memory(),
        cores(),
        memfd(),
        files(),
        results_room(patient.out),
        cache_room(),
    ]
}

fn memory() -> Point {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let allowed = fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    let used = fs::read_to_string("/sys/fs/cgroup/memory.current").unwrap_or_default();
    let Some(free) = available(&text) else {
        return Point::warn(
            "memory",
            "/proc/meminfo does not say how much is available",
            "have /proc mounted",
        );
    };
    let free = match left_in_group(&allowed, &used) {
        Some(left) => free.min(left),
        None => free,
    };
    judge_memory(free)
}

fn judge_memory(free: u64) -> Point {
    let each = GUEST_MEMORY + BESIDE;
    let machines = free / each;
    let seen = format!(
        "{} available, a machine of {} needs {}",
        amount(free),
        amount(GUEST_MEMORY),
        amount(each)
    );
    match machines {
        0 => Point::bad(
            "memory",
            seen,
            "end other programs, or take a larger machine",
        ),
        1 => Point::warn(
            "memory",
            format!("{seen}: one at a time"),
            "for several at once, end other programs",
        ),
        many => Point::ok("memory", format!("{seen}: room for {many} at once")),
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// What a container's limit leaves; `None` without a limit.
fn left_in_group(allowed: &str, used: &str) -> Option<u64> {
    let allowed: u64 = allowed.trim().parse().ok()?;
    let used: u64 = used.trim().parse().unwrap_or(0);
    Some(allowed.saturating_sub(used))
}

fn cores() -> Point {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match cores {
        1 => Point::warn(
            "cores",
            "1 core for guests that have 2 CPUs: races show less, and limits may be too short",
            "give more cores, or stretch every limit with --limits 3",
        ),
        _ => Point::ok("cores", format!("{cores} cores")),
    }
}

fn memfd() -> Point {
    let made = rustix::fs::memfd_create("vmtest-doctor", MemfdFlags::CLOEXEC)
        .and_then(|memory| rustix::fs::ftruncate(&memory, 1 << 20));
    match made {
        Ok(()) => Point::ok("memfd", "memory can be shared with the shares' helpers"),
        Err(error) => Point::bad(
            "memfd",
            format!("memfd_create: {error}"),
            "allow the system call memfd_create (a container's seccomp profile?)",
        ),
    }
}

fn files() -> Point {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    judge_files(limit.current, limit.maximum)
}

/// `None` is no limit. Helpers raise their own soft limit up to the hard one.
fn judge_files(soft: Option<u64>, hard: Option<u64>) -> Point {
    let word = |limit: Option<u64>| limit.map_or("no limit".to_owned(), |limit| limit.to_string());
    let seen = format!("open files: {} now, {} at most", word(soft), word(hard));
    let raise = "raise it: `ulimit -Hn 65536` as root, or LimitNOFILE= in the service, or nofile \
                 in /etc/security/limits.conf";
    let hard = hard.unwrap_or(u64::MAX);
    let soft = soft.unwrap_or(u64::MAX);
    match (soft, hard) {
        (0..256, _) | (_, 0..LEAST_FILES) => Point::bad("descriptors", seen, raise),
        (_, 0..GOOD_FILES) => Point::warn("descriptors", seen, raise),
        _ => Point::ok("descriptors", seen),
    }
}

fn results_room(out: &Path) -> Point {
    let name = "results disk";
    let folder = nearest_folder(out);
    let writable = tempfile::Builder::new().tempfile_in(&folder);
    if let Err(error) = writable {
        return Point::bad(
            name,
            format!("nothing can be written to {}: {error}", folder.display()),
            "give runs another place with --out DIR",
        );
    }
    let (least, good) = ROOM_FOR_RUNS;
    let remedy = "free some, or give runs another place with --out DIR";
    match room(&folder) {
        Err(error) => Point::warn(name, error, remedy),
        Ok(free) => {
            let seen = format!("{} free for {}", amount(free), out.display());
            match free {
                free if free < least => Point::bad(name, seen, remedy),
                free if free < good => Point::warn(name, seen, remedy),
                _ => Point::ok(name, seen),
            }
        }
    }
}

fn cache_room() -> Point {
    let name = "cache disk";
    let remedy = format!(
        "free some (what is in the cache may be removed, and is built again), or move it with {}",
        images::cache::CACHE_VARIABLE
    );
    let root = match images::cache::Cache::default_root() {
        Ok(root) => root,
        Err(error) => return Point::warn(name, format!("{error:#}"), remedy),
    };
    match room(&nearest_folder(&root)) {
        Err(error) => Point::warn(name, error, remedy),
        Ok(free) => {
            let seen = format!("{} free for {}", amount(free), root.display());
            match free < ROOM_TO_BUILD {
                true => Point::warn(
                    name,
                    format!("{seen}; a kernel's build takes {}", amount(ROOM_TO_BUILD)),
                    remedy,
                ),
                false => Point::ok(name, seen),
            }
        }
    }
}

/// The folder itself, or the nearest one above it that exists.
fn nearest_folder(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = absolute.ancestors().find(|folder| folder.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

fn room(folder: &Path) -> Result<u64, String> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| format!("cannot ask how full {} is: {error}", folder.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn memory_is_what_is_available_within_the_containers_limit() {
        let meminfo = "MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:  2048 kB\n";
        assert_eq!(available(meminfo), Some(2 << 20));
        assert_eq!(available("MemTotal: 100 kB\n"), None);
        assert_eq!(left_in_group("max\n", "5\n"), None);
        assert_eq!(left_in_group("100\n", "30\n"), Some(70));
        assert_eq!(left_in_group("100\n", "130\n"), Some(0));
    }

    #[test]
    fn memory_for_no_machine_is_bad_and_for_one_a_warning() {
        let state = |mib: u64| judge_memory(mib << 20).state;
        assert_eq!(state(700), State::Bad);
        assert_eq!(state(800), State::Warn);
        assert_eq!(state(4000), State::Ok);
    }

    #[test]
    fn descriptors_are_judged_by_the_hard_limit_that_helpers_can_reach() {
        let state = |soft, hard| judge_files(soft, hard).state;
        assert_eq!(state(Some(1024), Some(1 << 20)), State::Ok);
        assert_eq!(state(None, None), State::Ok);
        assert_eq!(state(Some(1024), Some(2048)), State::Warn);
        assert_eq!(state(Some(1024), Some(512)), State::Bad);
        assert_eq!(state(Some(64), Some(1 << 20)), State::Bad);
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_on_the_disk_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(nearest_folder(&dir.path().join("a/b")), dir.path());
        assert!(room(dir.path()).unwrap() > 0);
    }
}
