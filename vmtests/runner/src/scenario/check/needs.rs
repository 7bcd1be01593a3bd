// SPDX-License-Identifier: GPL-2.0-or-later
//! What a scenario needs must be possible.

use std::collections::BTreeMap;

use super::Findings;
use crate::qemu::devices::MAX_PORTS;
use crate::scenario::DiskFs;
use crate::scenario::Scenario;
use crate::scenario::tree::Node;

/// Guest memory that makes sense, in bytes.
const MEMORY: std::ops::RangeInclusive<u64> = (128 << 20)..=(64 << 30);
/// Disk sizes that make sense, in bytes.
const DISK: std::ops::RangeInclusive<u64> = (8 << 20)..=(1 << 40);
/// Tags of shares that every run has.
const OWN_SHARES: &[&str] = &["artifacts", "blobs", "fixtures"];

pub(super) fn check(found: &mut Findings<'_>, scenario: &Scenario, head: &Node) {
    let needs = &scenario.needs;
    let none = Node::text(head.place, "");
    let node = head.get("needs").unwrap_or(&none);
    let at = |key: &str| node.get(key).map_or(node.place, |value| value.place);
    match needs.memory.get() {
        Ok(memory) if MEMORY.contains(&memory.0) => {}
        Ok(memory) => {
            let message = format!(
                "{} bytes of memory: from 128MiB to 64GiB is possible",
                memory.0
            );
            found.add(at("memory"), message);
        }
        Err(error) => drop(found.add(at("memory"), error)),
    }
    match needs.cpus.get() {
        Ok(1..=64) => {}
        Ok(cpus) => {
            let message = format!("{cpus} CPUs: from 1 to 64 is possible");
            found.add(at("cpus"), message);
        }
        Err(error) => drop(found.add(at("cpus"), error)),
    }
    let top = |key: &str| head.get(key).map_or(head.place, |value| value.place);
    match scenario.limit.get() {
        Ok(limit) if limit.0.is_zero() => {
            found.add(top("limit"), "no time at all: nothing could pass");
        }
        Ok(_) => {}
        Err(error) => drop(found.add(top("limit"), error)),
    }
    match scenario.weight.as_ref().map(|weight| weight.get()) {
        None | Some(Ok(1..=64)) => {}
        Some(Ok(weight)) => {
            let message = format!("a weight of {weight}: from 1 to 64 cores is possible");
            found.add(top("weight"), message);
        }
        Some(Err(error)) => drop(found.add(top("weight"), error)),
    }
    let twice = needs.shares.iter().filter(|share| share.nine_p).count();
    let shares_of_all = twice + needs.programs.len() + OWN_SHARES.len();
    let devices = needs.disks.len() + needs.shares.len() + shares_of_all;
    if devices > MAX_PORTS {
        let more = MAX_PORTS - OWN_SHARES.len();
        let message = format!("too many disks and shares: a machine has room for {more}");
        let key = if needs.disks.is_empty() {
            "shares"
        } else {
            "disks"
        };
        found.add(node.key_place(key), message);
    }
    let mut mounts = BTreeMap::new();
    disks(found, scenario, node, &mut mounts);
    shares(found, scenario, node, &mut mounts);
    kernel(found, scenario, node);
    images(found, scenario, node);
}

/// Where each thing is mounted, by whom.
type Mounts = BTreeMap<String, String>;

fn mounted(found: &mut Findings<'_>, mounts: &mut Mounts, at: String, who: String, node: &Node) {
    let place = node
        .get("at")
        .or(node.get("name"))
        .map_or(node.place, |n| n.place);
    if !at.starts_with('/') || at.split('/').any(|part| part == "..") || at == "/" {
        found.add(
            place,
            format!("`{at}` is no mount point: write it from `/` on"),
        );
    } else if OWN_SHARES
        .iter()
        .any(|share| at.trim_end_matches('/') == format!("/{share}"))
    {
        found.add(
            place,
            format!("`{at}` is taken: every run has its own share there"),
        );
    } else if let Some(other) = mounts.get(&at) {
        let message = format!("{other} is mounted at `{at}` already");
        found.add(place, message);
    }
    mounts.insert(at, who);
}

fn word(text: &str, longest: usize) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.len() <= longest && text.chars().all(letters)
}

fn disks(found: &mut Findings<'_>, scenario: &Scenario, needs: &Node, mounts: &mut Mounts) {
    let nodes = needs.get("disks").map_or(&[][..], Node::items);
    let disks = &scenario.needs.disks;
    for (number, (disk, node)) in disks.iter().zip(nodes).enumerate() {
        let at = |key: &str| node.get(key).map_or(node.place, |value| value.place);
        let name = &disk.name;
        if !word(name, 20) {
            let message = format!("`{name}` is no disk name: 1 to 20 letters, digits, `-` and `_`");
            found.add(at("name"), message);
        }
        if disks[..number].iter().any(|other| other.name == *name) {
            found.add(at("name"), format!("two disks are called `{name}`"));
        }
        match disk.size.get() {
            Ok(size) if DISK.contains(&size.0) => {}
            Ok(size) => {
                let message = format!(
                    "disk `{name}` has {} bytes: from 8MiB to 1024GiB is possible",
                    size.0
                );
                found.add(at("size"), message);
            }
            Err(error) => drop(found.add(at("size"), error)),
        }
        if disk.fs == DiskFs::None {
            for key in ["at", "mkfs", "options", "mount"] {
                if node.key(key).is_some() {
                    let message = format!("disk `{name}` has no filesystem: `{key}` says nothing");
                    found.add(node.key_place(key), message);
                }
            }
        } else if !disk.mount {
            for key in ["at", "options"] {
                if node.key(key).is_some() {
                    let message = format!("disk `{name}` is not mounted: `{key}` says nothing");
                    let wrong = found.add(node.key_place(key), message);
                    wrong
                        .help
                        .push("give it to the step that mounts it".to_owned());
                }
            }
        }
        if let Some(at) = disk.mounted_at() {
            mounted(found, mounts, at, format!("disk `{name}`"), node);
        }
    }
}

fn shares(found: &mut Findings<'_>, scenario: &Scenario, needs: &Node, mounts: &mut Mounts) {
    let nodes = needs.get("shares").map_or(&[][..], Node::items);
    let shares = &scenario.needs.shares;
    for (number, (share, node)) in shares.iter().zip(nodes).enumerate() {
        let place = node.get("tag").map_or(node.place, |value| value.place);
        let tag = &share.tag;
        if !word(tag, 36) {
            let message = format!("`{tag}` is no tag: 1 to 36 letters, digits, `-` and `_`");
            found.add(place, message);
        }
        // The length of a 9p tag as QEMU allows it.
        if share.nine_p && tag.len() > 31 {
            found.add(
                place,
                format!("`{tag}` is too long a tag for 9p: at most 31 letters"),
            );
        }
        if OWN_SHARES.contains(&tag.as_str()) {
            found.add(
                place,
                format!("`{tag}` is taken: every run has a share of this tag"),
            );
        } else if shares[..number].iter().any(|other| other.tag == *tag) {
            found.add(place, format!("two shares are called `{tag}`"));
        } else {
            let who = format!("share `{tag}`");
            mounted(found, mounts, share.mounted_at(), who, node);
        }
    }
}

/// Kernel parameters without which the runner would not find its guest.
const OURS: &[&str] = &["console", "loglevel", "panic", "rdinit", "--"];

fn kernel(found: &mut Findings<'_>, scenario: &Scenario, needs: &Node) {
    let none = Node::text(needs.place, "");
    let node = needs.get("kernel").unwrap_or(&none);
    let at = |key: &str| node.get(key).map_or(node.place, |value| value.place);
    let need = &scenario.needs.kernel;
    for (key, version) in [("at_least", &need.at_least), ("before", &need.before)] {
        if let Some(version) = version {
            if crate::matrix::version(version).is_none() {
                let message = format!("`{version}` is no kernel version");
                let wrong = found.add(at(key), message);
                wrong
                    .help
                    .push("write it as \"6.12\" or \"6.12.5\"".to_owned());
            }
        }
    }
    let version = |text: &Option<String>| text.as_deref().and_then(crate::matrix::version);
    if let (Some(first), Some(before)) = (version(&need.at_least), version(&need.before)) {
        if first >= before {
            found.add(
                at("before"),
                "no kernel is both: the scenario would never run",
            );
        }
    }
    for word in need.args.split_whitespace() {
        let name = word.split('=').next().unwrap_or_default();
        if OURS.contains(&name) {
            let message = format!("`{word}`: the runner itself gives the kernel `{name}`");
            found.add(at("args"), message);
        }
    }
    if need.args.chars().any(char::is_control) {
        found.add(
            at("args"),
            "kernel parameters are one line, without control characters",
        );
    }
    let options = node.get("config").map_or(&[][..], Node::items);
    for (option, node) in need.config.iter().zip(options) {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if option.starts_with("CONFIG_") {
            let message = format!("`{option}`: options are written without `CONFIG_`");
            let short = option.trim_start_matches("CONFIG_");
            let wrong = found.add(node.place, message);
            wrong.help.push(format!("write `{short}`"));
        } else if option.is_empty() || !option.chars().all(letter) {
            found.add(node.place, format!("`{option}` is no kernel option"));
        }
    }
}

fn images(found: &mut Findings<'_>, scenario: &Scenario, needs: &Node) {
    let nodes = needs.get("images").map_or(&[][..], Node::items);
    let images = &scenario.needs.images;
    for (number, (image, node)) in images.iter().zip(nodes).enumerate() {
        let stars = image.matches('*').count();
        if image.is_empty() || stars > 1 || (stars == 1 && !image.ends_with('*')) {
            let message = format!("`{image}` is no image: a name, or a beginning and one `*`");
            found.add(node.place, message);
        } else if images[..number].contains(image) {
            found.add(node.place, format!("`{image}` is listed twice"));
        }
    }
}
