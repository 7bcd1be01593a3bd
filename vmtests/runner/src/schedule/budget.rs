// SPDX-License-Identifier: GPL-2.0-or-later
//! What this machine has to give: cores and memory, as far as this process may use them.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Memory that is left to the host, in bytes.
const RESERVE: u64 = 512 << 20;

/// What runs may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Cores.
    pub cores: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Machines at once.
    pub jobs: usize,
}

/// What one run takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Cores that it keeps busy.
    pub cores: u64,
    /// Memory in bytes: the guest's, and what QEMU and the shares' helpers take.
    pub memory: u64,
    /// How long it is expected to take, in seconds.
    pub seconds: f64,
}

impl Budget {
    /// Looks at the machine. `jobs` and `cores` are what the command line says.
    pub fn of_machine(jobs: Option<usize>, cores: Option<u64>) -> Self {
        Budget {
            // Honours the affinity mask and the control group's share of processor time.
            cores: cores.unwrap_or_else(|| {
                std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
            }),
            memory: available(Path::new("/")).saturating_sub(RESERVE),
            jobs: jobs.unwrap_or(usize::MAX),
        }
    }

    /// Whether a run fits beside others that take `used`.
    pub fn has_room(&self, used: &Used, demand: &Demand) -> bool {
        used.runs < self.jobs
            && used.cores + demand.cores <= self.cores
            && used.memory + demand.memory <= self.memory
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let jobs = match self.jobs {
            usize::MAX => String::new(),
            jobs => format!(", at most {jobs} at once"),
        };
        format!(
            "machines: {} cores and {:.1} GiB of memory to share out{jobs}",
            self.cores,
            self.memory as f64 / f64::from(1 << 30)
        )
    }
}

/// What runs take that are under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// How many.
    pub runs: usize,
    /// Their cores.
    pub cores: u64,
    /// Their memory in bytes.
    pub memory: u64,
}

impl Used {
    /// One run more.
    pub fn add(&mut self, demand: &Demand) {
        self.runs += 1;
        self.cores += demand.cores;
        self.memory += demand.memory;
    }

    /// One run less.
    pub fn take(&mut self, demand: &Demand) {
        self.runs -= 1;
        self.cores -= demand.cores;
        self.memory -= demand.memory;
    }
}

/// Memory that can be had without taking it from anybody, in bytes: what the kernel calls
/// available, and no more than the limits of the control group and of those above it leave.
/// `root` is `/`, but for tests.
pub fn available(root: &Path) -> u64 {
    let meminfo = read(&root.join("proc/meminfo"));
    let machine = field(&meminfo, "MemAvailable:").map_or(u64::MAX, |kib| kib << 10);
    groups(root)
        .iter()
        .filter_map(|group| left_in(group))
        .fold(machine, u64::min)
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The folders of this process's memory control group and of those above it; of version 2, or of
/// version 1 where that is in use.
fn groups(root: &Path) -> Vec<PathBuf> {
    let membership = read(&root.join("proc/self/cgroup"));
    let mut found = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let top = match controllers {
            "" => root.join("sys/fs/cgroup"),
            some if some.split(',').any(|name| name == "memory") => {
                root.join("sys/fs/cgroup/memory")
            }
            _ => continue,
        };
        // Within a container the path may be one of the host's: what is not there says nothing.
        let mut group = Path::new(path.trim_start_matches('/'));
        loop {
            found.push(top.join(group));
            match group.parent() {
                Some(parent) => group = parent,
                None => break,
            }
        }
    }
    found
}

/// What a control group's limit leaves; `None` where there is none.
fn left_in(group: &Path) -> Option<u64> {
    let number = |name: &str| read(&group.join(name)).trim().parse::<u64>().ok();
    let (limit, used, stat) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?, "inactive_file "),
        None => (
            number("memory.limit_in_bytes")?,
            number("memory.usage_in_bytes")?,
            "total_inactive_file ",
        ),
    };
    // Clean pages of files are given back when memory is needed.
    let reclaimable = field(&read(&group.join("memory.stat")), stat).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(reclaimable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo = (
            "proc/meminfo",
            "MemTotal: 9999 kB\nMemAvailable:   8388608 kB\n",
        );
        for (name, text) in files.iter().chain([&meminfo]) {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    #[test]
    fn without_limits_it_is_what_the_kernel_calls_available() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
        ]);
        assert_eq!(available(root.path()), 8 * GIB);
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts_and_clean_pages_do_not() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "7516192768\n"),
            ("sys/fs/cgroup/a/b/memory.current", "0\n"),
            ("sys/fs/cgroup/a/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/a/memory.current", "2147483648\n"),
            (
                "sys/fs/cgroup/a/memory.stat",
                "anon 5\ninactive_file 1073741824\n",
            ),
        ]);
        assert_eq!(available(root.path()), 3 * GIB);
    }

    #[test]
    fn groups_of_version_1_count_too() {
        let root = machine(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n"),
        ]);
        assert_eq!(available(root.path()), GIB);
    }

    #[test]
    fn this_machine_has_something_to_give() {
        let budget = Budget::of_machine(None, None);
        assert!(budget.cores >= 1);
        assert!(budget.memory > 0 && budget.memory < u64::MAX / 2);
        assert_eq!(Budget::of_machine(Some(3), Some(7)).cores, 7);
    }
}
