// SPDX-License-Identifier: GPL-2.0-or-later
//! Choices by chance that can be made again.

use sha2::Digest;
use sha2::Sha256;

/// A seed that nobody chose.
pub fn fresh() -> u64 {
    let mut bytes = [0; 8];
    // Where the kernel has no random numbers, the time has to do.
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(bytes),
        _ => std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .map_or(1, |since| since.as_nanos() as u64),
    }
}

/// The seed of one run: another for each, the same whatever else runs.
pub fn of_run(all: u64, name: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(all.to_le_bytes())
        .chain_update(name)
        .finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(bytes)
}

/// Numbers from a seed (splitmix64): the same ones in every version of this program.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The sequence that belongs to this seed.
    pub fn new(seed: u64) -> Self {
        Chance(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Heads or tails.
    pub fn heads(&mut self) -> bool {
        self.bits() >> 63 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_a_seed_never_changes() {
        let mut chance = Chance::new(0);
        assert_eq!(chance.bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(chance.bits(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn runs_of_one_invocation_have_seeds_of_their_own() {
        assert_eq!(of_run(1, "a"), of_run(1, "a"));
        assert_ne!(of_run(1, "a"), of_run(1, "b"));
        assert_ne!(of_run(1, "a"), of_run(2, "a"));
        assert_ne!(fresh(), fresh());
    }
}
