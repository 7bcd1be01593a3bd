// SPDX-License-Identifier: GPL-2.0-or-later
//! The counters of the step language that the kernel keeps: their files, parsed.
//!
//! Read in worker processes: a file of /proc may wait for the very lock that is stuck.

use std::collections::BTreeMap;
use std::fs;

/// Counters by name.
pub type Counters = BTreeMap<String, i64>;

/// Every counter of the kernel, and the room at each of `paths`.
pub fn read_all(paths: &[String]) -> Counters {
    let mut counters = Counters::new();
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    parse_stats(&text("/proc/fs/fscache/stats"), &mut counters);
    parse_caches(&text("/proc/fs/fscache/caches"), &mut counters);
    parse_nfsd(&text("/proc/net/rpc/nfsd"), &mut counters);
    parse_meminfo(&text("/proc/meminfo"), &mut counters);
    for path in paths {
        if let Ok(stat) = rustix::fs::statvfs(path.as_str()) {
            let total = stat.f_blocks.max(1);
            let percent = (u128::from(stat.f_bavail) * 100 / u128::from(total)) as i64;
            counters.insert(format!("free_percent:{path}"), percent);
            let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
            counters.insert(format!("free_bytes:{path}"), bytes as i64);
        }
    }
    counters
}

/// `Section : key=value key=value`, as in /proc/fs/fscache/stats.
fn parse_stats(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        let Some((section, fields)) = line.split_once(':') else {
            continue;
        };
        let section = section.trim().to_lowercase();
        for field in fields.split_whitespace() {
            if let Some((key, value)) = field.split_once('=') {
                if let Ok(value) = value.parse() {
                    let key = key.to_lowercase();
                    counters.insert(format!("fscache.{section}.{key}"), value);
                }
            }
        }
    }
}

/// The table of /proc/fs/fscache/caches, summed over all caches that have a name.
fn parse_caches(text: &str, counters: &mut Counters) {
    let mut sums = [("vols", 0i64), ("objs", 0), ("access", 0)];
    let mut count = 0;
    for line in text.lines().skip(2) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_id, _refs, vols, objs, access, _state, _name, ..] = fields.as_slice() else {
            continue;
        };
        count += 1;
        for ((_, sum), value) in sums.iter_mut().zip([vols, objs, access]) {
            *sum += value.parse::<i64>().unwrap_or(0);
        }
    }
    counters.insert("caches.count".to_owned(), count);
    for (name, sum) in sums {
        counters.insert(format!("caches.{name}"), sum);
    }
}

/// The operations of NFS 4 that are counted, by their numbers in RFC 7530 and RFC 7862.
const NFS_OPERATIONS: [(&str, usize); 6] = [
    ("commit", 5),
    ("getattr", 9),
    ("open", 18),
    ("read", 25),
    ("setattr", 34),
    ("write", 38),
];

/// What an NFS server in this guest was asked for: the line `proc4ops COUNT N0 N1 ...`.
fn parse_nfsd(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        let Some(fields) = line.strip_prefix("proc4ops ") else {
            continue;
        };
        let numbers: Vec<i64> = fields
            .split_whitespace()
            .skip(1)
            .map_while(|field| field.parse().ok())
            .collect();
        for (name, number) in NFS_OPERATIONS {
            if let Some(count) = numbers.get(number) {
                counters.insert(format!("nfsd.{name}"), *count);
            }
        }
    }
}

/// /proc/meminfo in bytes.
fn parse_meminfo(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else {
            continue;
        };
        let mut words = rest.split_whitespace();
        let value: Option<i64> = words.next().and_then(|word| word.parse().ok());
        let scale = match words.next() {
            Some("kB") => 1024,
            _ => 1,
        };
        if let Some(value) = value {
            counters.insert(format!("memory.{}", key.to_lowercase()), value * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_become_named_counters() {
        let mut counters = Counters::new();
        parse_stats(
            "-- FS-Cache statistics --\nCookies: n=3 v=1 vcol=0 voom=0\nNoSpace: nwr=7 ncr=2 cull=1\n\
             LRU    : n=0 exp=0 rmv=0 drp=0 at=-12\nDownOps: DL=4 ds=4 df=0 di=0\n",
            &mut counters,
        );
        let operations: Vec<String> = (100..176).map(|n| n.to_string()).collect();
        parse_nfsd(
            &format!(
                "rc 0 0 9\nproc4 2 1 8\nproc4ops 76 {}\n",
                operations.join(" ")
            ),
            &mut counters,
        );
        parse_caches(
            "CACHE    REF   VOLS  OBJS  ACCES S NAME\n======== ===== ===== ===== ===== = ====\n\
             00000001     4     2     5     1 A mycache\n",
            &mut counters,
        );
        parse_meminfo(
            "MemAvailable:  1000 kB\nHugePages_Total: 0\n",
            &mut counters,
        );
        assert_eq!(counters["fscache.nospace.nwr"], 7);
        assert_eq!(counters["fscache.lru.at"], -12);
        assert_eq!(counters["fscache.downops.dl"], 4);
        assert_eq!(counters["nfsd.read"], 125);
        assert_eq!(counters["nfsd.write"], 138);
        assert_eq!(counters["caches.objs"], 5);
        assert_eq!(counters["caches.count"], 1);
        assert_eq!(counters["memory.memavailable"], 1_024_000);
    }
}
