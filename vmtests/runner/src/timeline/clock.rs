// SPDX-License-Identifier: GPL-2.0-or-later
//! From the guest's clock to the host's.
//!
//! Some of the agent's messages say how long the guest has been up. With the time of their arrival
//! each is a sample of the distance between the two clocks. That distance changes: a later boot
//! begins at zero again, a restored guest begins where its snapshot stood, and a paused guest's
//! clock stands still. So a time is converted with the last sample before it, of the same boot.

/// Samples of both clocks.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    boots: Vec<Vec<Sample>>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    guest_s: f64,
    host_s: f64,
}

/// A clock that goes back by more than this belongs to another boot, in seconds: messages of
/// several threads may overtake each other by less.
const BACKWARDS: f64 = 0.5;

impl Clock {
    /// A message of the guest that says it was up for `guest_s` arrived at `host_s`.
    pub fn sample(&mut self, guest_s: f64, host_s: f64) {
        let last = self.boots.last().and_then(|boot| boot.last());
        if last.is_none_or(|last| guest_s < last.guest_s - BACKWARDS) {
            self.boots.push(Vec::new());
        }
        if let Some(boot) = self.boots.last_mut() {
            boot.push(Sample { guest_s, host_s });
        }
    }

    /// When it was on the host that the guest's clock of its boot number `boot` (0 first) showed
    /// `guest_s`. `None` when nothing is known of that boot.
    pub fn host(&self, boot: usize, guest_s: f64) -> Option<f64> {
        let samples = self.boots.get(boot)?;
        let before = samples.iter().rev().find(|s| s.guest_s <= guest_s);
        let sample = before.or(samples.first())?;
        Some(sample.host_s + (guest_s - sample.guest_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_converted_with_the_samples_of_their_boot() {
        let mut clock = Clock::default();
        assert_eq!(clock.host(0, 1.0), None);
        clock.sample(2.0, 5.0);
        clock.sample(3.0, 6.0);
        // Paused for ten seconds.
        clock.sample(4.0, 17.0);
        // Booted again.
        clock.sample(2.0, 30.0);
        assert_eq!(clock.host(0, 1.5), Some(4.5));
        assert_eq!(clock.host(0, 3.5), Some(6.5));
        assert_eq!(clock.host(0, 5.0), Some(18.0));
        assert_eq!(clock.host(1, 2.5), Some(30.5));
        assert_eq!(clock.host(2, 1.0), None);
    }

    #[test]
    fn messages_that_overtake_each_other_begin_no_boot() {
        let mut clock = Clock::default();
        clock.sample(2.0, 5.0);
        clock.sample(1.9, 5.0);
        assert_eq!(clock.host(1, 2.0), None);
    }
}
