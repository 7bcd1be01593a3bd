// SPDX-License-Identifier: GPL-2.0-or-later
//! Logs written here by hand and at random, against a model that is a vector of bytes.

use std::io::Write;

use super::replay::Kept;
use super::replay::choose;
use super::replay::write;
use super::*;
use crate::seed::Chance;

const SECTOR: u64 = 512;
const DISK_SECTORS: u64 = 64;
const DISK: u64 = DISK_SECTORS * SECTOR;

#[derive(Debug, Clone)]
struct Request {
    sector: u64,
    flags: u64,
    data: Vec<u8>,
    /// For discards, which carry no data.
    count: u64,
}

impl Request {
    fn write(sector: u64, count: u64, byte: u8, flags: u64) -> Self {
        Request {
            sector,
            flags,
            data: vec![byte; (count * SECTOR) as usize],
            count,
        }
    }

    fn flush() -> Self {
        Request::write(0, 0, 0, FLUSH)
    }

    fn discard(sector: u64, count: u64) -> Self {
        Request {
            data: Vec::new(),
            count,
            ..Request::write(sector, 0, 0, DISCARD)
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [self.sector, self.count, self.flags, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(SECTOR as usize, 0);
        bytes.extend(&self.data);
        bytes
    }

    /// What it does to a disk.
    fn apply(&self, disk: &mut [u8]) {
        let at = (self.sector * SECTOR) as usize;
        match self.flags & DISCARD != 0 {
            true => disk[at..][..(self.count * SECTOR) as usize].fill(0),
            false => disk[at..][..self.data.len()].copy_from_slice(&self.data),
        }
    }
}

fn superblock_bytes(entries: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [MAGIC, VERSION, entries, SECTOR] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.resize(SECTOR as usize, 0);
    bytes
}

fn log_bytes(requests: &[Request]) -> Vec<u8> {
    let mut bytes = superblock_bytes(0);
    requests
        .iter()
        .for_each(|request| bytes.extend(request.bytes()));
    bytes
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn read(bytes: &[u8]) -> (File, Log) {
    let file = file(bytes);
    let log = Log::read(&file, SECTOR, DISK).unwrap();
    (file, log)
}

/// The disk after what `kept` keeps was written to one full of `x`.
fn replayed(bytes: &[u8], kept: Kept) -> Vec<u8> {
    let (file, log) = read(bytes);
    let disk = self::file(&[b'x'; DISK as usize]);
    write(&log, &file, &choose(&log, kept), &disk).unwrap();
    let mut after = vec![0; DISK as usize];
    disk.read_exact_at(&mut after, 0).unwrap();
    assert_eq!(disk.metadata().unwrap().len(), DISK);
    after
}

fn model(requests: &[Request]) -> Vec<u8> {
    let mut disk = vec![b'x'; DISK as usize];
    requests.iter().for_each(|request| request.apply(&mut disk));
    disk
}

fn random(chance: &mut Chance, most: u64) -> Vec<Request> {
    let count = chance.bits() % most;
    let requests = (0..count).map(|_| {
        let sector = chance.bits() % (DISK_SECTORS - 8);
        let length = 1 + chance.bits() % 8;
        let byte = chance.bits() as u8;
        match chance.bits() % 10 {
            0 | 1 => Request::flush(),
            2 => Request::discard(sector, length),
            3 => Request::write(sector, length, byte, FUA),
            4 => Request::write(sector, length, byte, FLUSH),
            5 => Request::write(sector, length, byte, FLUSH | FUA),
            _ => Request::write(sector, length, byte, 0),
        }
    });
    requests.collect()
}

#[test]
fn whatever_the_log_everything_and_everything_up_to_a_flush_is_what_the_model_says() {
    let mut chance = Chance::new(1);
    for _ in 0..300 {
        let requests = random(&mut chance, 40);
        let bytes = log_bytes(&requests);
        assert!(replayed(&bytes, Kept::Written) == model(&requests));
        // The power is cut after each request in turn.
        for cut in 0..=requests.len() {
            let before = &requests[..cut];
            let last = before
                .iter()
                .rposition(|request| request.flags & FLUSH != 0);
            let sure: Vec<_> = before
                .iter()
                .enumerate()
                .filter(|(number, request)| {
                    last.is_some_and(|last| *number < last) || request.flags & FUA != 0
                })
                .map(|(_, request)| request.clone())
                .collect();
            let seen = replayed(&log_bytes(before), Kept::Flushed);
            assert!(seen == model(&sure), "{before:?}");
        }
    }
}

#[test]
fn some_keeps_what_is_sure_and_of_the_rest_what_the_seed_says() {
    let mut requests = vec![Request::write(0, 1, 1, 0), Request::flush()];
    for sector in 1..64 {
        requests.push(Request::write(sector, 1, 2, 0));
    }
    let bytes = log_bytes(&requests);
    let some = |seed| replayed(&bytes, Kept::Some(Chance::new(seed)));
    let disk = some(7);
    assert_eq!(disk[0], 1);
    let survived = disk[SECTOR as usize..]
        .iter()
        .filter(|byte| **byte == 2)
        .count();
    let survived = survived / SECTOR as usize;
    assert!((15..48).contains(&survived), "{survived} of 63");
    assert!(disk == some(7), "the same seed");
    assert!(disk != some(8), "another seed");
}

#[test]
fn a_log_cut_off_anywhere_is_read_as_far_as_it_is_whole() {
    let requests = [
        Request::write(1, 2, 1, 0),
        Request::flush(),
        Request::discard(1, 1),
        Request::write(9, 1, 3, FUA),
    ];
    let bytes = log_bytes(&requests);
    let mut ends = vec![SECTOR as usize];
    for request in &requests {
        ends.push(ends[ends.len() - 1] + request.bytes().len());
    }
    // The padding of an entry without data means nothing.
    let whole = |length: usize| {
        let complete = |(number, request): &(usize, &Request)| match request.data.is_empty() {
            true => length >= ends[*number] + ENTRY,
            false => length >= ends[number + 1],
        };
        requests.iter().enumerate().take_while(complete).count()
    };
    for length in ENTRY..=bytes.len() {
        let (_, log) = read(&bytes[..length]);
        assert_eq!(log.entries.len(), whole(length), "{length}");
        let clean = length <= SECTOR as usize || ends[1..].contains(&length);
        assert!(!clean || log.cut.is_none(), "{length}: {:?}", log.cut);
    }
}

#[test]
fn a_log_ends_at_a_hole_and_at_what_makes_no_sense() {
    let good = Request::write(1, 1, 1, 0);
    let cases = [
        (vec![0; 512], "not written"),
        (Request::write(1, 0, 0, 1 << 7).bytes(), "unknown flags"),
        (Request::discard(DISK_SECTORS, 1).bytes(), "beyond the disk"),
        (Request::discard(u64::MAX, 2).bytes(), "beyond the disk"),
    ];
    for (bytes, why) in cases {
        let mut all = log_bytes(std::slice::from_ref(&good));
        all.extend(bytes);
        all.extend(good.bytes());
        let (_, log) = read(&all);
        assert_eq!(log.entries.len(), 1, "{why}");
        assert!(log.cut.as_ref().unwrap().contains(why), "{:?}", log.cut);
    }
}

#[test]
fn a_log_without_its_superblock_is_read_too_and_an_empty_one_is_empty() {
    let mut bytes = log_bytes(&[Request::write(1, 1, 1, 0)]);
    bytes[..SECTOR as usize].fill(0);
    assert_eq!(read(&bytes).1.entries.len(), 1);
    assert_eq!(read(&[]).1, Log::default());
    assert_eq!(read(&superblock_bytes(0)).1, Log::default());
}

#[test]
fn marks_are_passed_over() {
    let mut mark = Request::write(0, 0, 0, MARK).bytes();
    mark[24] = 5;
    mark.extend([b'm'; SECTOR as usize]);
    let mut bytes = superblock_bytes(0);
    bytes.extend(mark);
    bytes.extend(Request::write(3, 1, 1, 0).bytes());
    let (_, log) = read(&bytes);
    assert_eq!((log.entries.len(), log.cut), (1, None));
    assert_eq!(log.entries[0].at, 3 * SECTOR);
}

#[test]
fn what_is_no_log_is_an_error_that_says_why() {
    let mut version = superblock_bytes(0);
    version[8] = 2;
    let mut sector = superblock_bytes(0);
    sector[24..28].copy_from_slice(&700u32.to_le_bytes());
    for (bytes, why) in [
        (
            b"something else entirely, long enough".to_vec(),
            "begins with",
        ),
        (b"short".to_vec(), "begins with"),
        (version, "version 2"),
        (sector, "sectors of 700 bytes"),
    ] {
        let error = Log::read(&file(&bytes), SECTOR, DISK).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
