// SPDX-License-Identifier: GPL-2.0-or-later
//! Which run begins next. Pure decisions: no clock, no thread.
//!
//! Runs wait with the longest first, so that no long one is left for the end. When the first one
//! has no room, a shorter one may slip in before it, if that does not keep the first one waiting:
//! because it will have ended by the time there is room, or because there is room for both.

use super::budget::Budget;
use super::budget::Demand;
use super::budget::Used;

/// A run under way.
#[derive(Debug, Clone, Copy)]
pub struct Under {
    /// What it takes.
    pub demand: Demand,
    /// How much longer it is expected to take, in seconds; 0 for one that is late.
    pub left: f64,
}

/// The index in `waiting` (longest first) of the run that is to begin now, if any. A run that wants
/// more than the whole budget runs alone.
pub fn choose(waiting: &[Demand], under: &[Under], budget: &Budget) -> Option<usize> {
    let first = waiting.first()?;
    if under.is_empty() {
        return Some(0);
    }
    let mut used = Used::default();
    for run in under {
        used.add(&run.demand);
    }
    if budget.has_room(&used, first) {
        return Some(0);
    }
    if used.runs >= budget.jobs {
        return None;
    }
    let (wait, spare) = room_for(first, under, used, budget);
    waiting.iter().enumerate().skip(1).find_map(|(at, other)| {
        let in_time = other.seconds <= wait;
        let beside = spare.is_some_and(|spare| budget.has_room(&spare, other));
        (budget.has_room(&used, other) && (in_time || beside)).then_some(at)
    })
}

/// When there will be room for `first`, in seconds from now, and what is used then, with it; `None`
/// when it will run alone.
fn room_for(first: &Demand, under: &[Under], used: Used, budget: &Budget) -> (f64, Option<Used>) {
    let mut ends: Vec<&Under> = under.iter().collect();
    ends.sort_by(|a, b| a.left.total_cmp(&b.left));
    let mut then = used;
    let mut wait = 0.0;
    for run in ends {
        then.take(&run.demand);
        wait = run.left;
        if budget.has_room(&then, first) {
            then.add(first);
            return (wait, Some(then));
        }
    }
    (wait, None)
}

/// How long all of it will take, in seconds: the work shared out over the cores, and never less
/// than the longest run.
pub fn estimate(waiting: &[Demand], under: &[Under], budget: &Budget) -> f64 {
    let slots = budget.jobs.min(waiting.len() + under.len()).max(1) as f64;
    let share = |demand: &Demand| {
        let cores = demand.cores as f64 / budget.cores.max(1) as f64;
        cores.min(1.0).max(1.0 / slots)
    };
    let work: f64 = waiting
        .iter()
        .map(|demand| share(demand) * demand.seconds)
        .chain(under.iter().map(|run| share(&run.demand) * run.left))
        .sum();
    let longest = waiting
        .iter()
        .map(|demand| demand.seconds)
        .chain(under.iter().map(|run| run.left))
        .fold(0.0, f64::max);
    work.max(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: Budget = Budget {
        cores: 4,
        memory: 4096,
        jobs: 16,
    };

    fn demand(cores: u64, seconds: f64) -> Demand {
        Demand {
            cores,
            memory: 512,
            seconds,
        }
    }

    fn under(cores: u64, left: f64) -> Under {
        Under {
            demand: demand(cores, left),
            left,
        }
    }

    #[test]
    fn the_longest_begins_as_long_as_there_is_room() {
        let waiting = [demand(2, 9.0), demand(2, 5.0)];
        assert_eq!(choose(&waiting, &[], &BUDGET), Some(0));
        assert_eq!(choose(&waiting, &[under(2, 9.0)], &BUDGET), Some(0));
        assert_eq!(choose(&waiting, &[under(2, 9.0); 2], &BUDGET), None);
        assert_eq!(choose(&[], &[], &BUDGET), None);
    }

    #[test]
    fn a_short_run_slips_in_beside_a_heavy_one_and_a_long_one_does_not() {
        let running = [under(3, 10.0)];
        let heavy = demand(4, 30.0);
        assert_eq!(choose(&[heavy, demand(1, 8.0)], &running, &BUDGET), Some(1));
        assert_eq!(choose(&[heavy, demand(1, 20.0)], &running, &BUDGET), None);
        // Where there is room for both, it may be as long as it likes.
        let heavy = demand(3, 30.0);
        assert_eq!(
            choose(&[heavy, demand(1, 20.0)], &running, &BUDGET),
            Some(1)
        );
    }

    #[test]
    fn what_wants_more_than_there_is_runs_alone() {
        let giant = demand(64, 10.0);
        assert_eq!(choose(&[giant], &[], &BUDGET), Some(0));
        assert_eq!(choose(&[giant], &[under(1, 1.0)], &BUDGET), None);
        assert_eq!(choose(&[demand(1, 1.0)], &[under(64, 5.0)], &BUDGET), None);
    }

    #[test]
    fn jobs_cap_the_number() {
        let budget = Budget { jobs: 1, ..BUDGET };
        assert_eq!(choose(&[demand(1, 1.0)], &[under(1, 5.0)], &budget), None);
    }

    #[test]
    fn the_estimate_is_the_work_over_the_cores_or_the_longest_run() {
        let budget = Budget { cores: 2, ..BUDGET };
        assert_eq!(estimate(&[demand(2, 10.0); 3], &[], &budget), 30.0);
        assert_eq!(
            estimate(&[demand(1, 10.0); 3], &[under(1, 4.0)], &budget),
            17.0
        );
        assert_eq!(estimate(&[demand(1, 10.0)], &[], &budget), 10.0);
    }

    /// Plays a whole schedule; when each began and ended.
    fn play(mut waiting: Vec<Demand>, late: &[f64], budget: &Budget) -> Vec<(f64, f64, Demand)> {
        waiting.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let mut running: Vec<(f64, f64, Demand)> = Vec::new();
        let mut done = Vec::new();
        let mut now = 0.0;
        while !waiting.is_empty() || !running.is_empty() {
            let under: Vec<Under> = running
                .iter()
                .map(|(began, _, demand)| Under {
                    demand: *demand,
                    left: (began + demand.seconds - now).max(0.0),
                })
                .collect();
            match choose(&waiting, &under, budget) {
                Some(at) => {
                    let demand = waiting.remove(at);
                    // How long it really takes is not what was expected.
                    let factor = late[(done.len() + running.len()) % late.len()];
                    running.push((now, now + demand.seconds * factor, demand));
                    let mut used = Used::default();
                    running.iter().for_each(|(_, _, demand)| used.add(demand));
                    let fits = used.cores <= budget.cores
                        && used.memory <= budget.memory
                        && used.runs <= budget.jobs;
                    assert!(fits || running.len() == 1, "{used:?}");
                }
                None => {
                    assert!(!running.is_empty(), "nothing runs, and nothing begins");
                    running.sort_by(|a, b| b.1.total_cmp(&a.1));
                    let ended = running.pop().unwrap();
                    now = ended.1;
                    done.push(ended);
                }
            }
        }
        done
    }

    proptest! {
        #[test]
        fn every_run_is_done_once_within_the_budget(
            runs in prop::collection::vec((1..6u64, 1..3000u64, 1..100u32), 1..60),
            late in prop::collection::vec(0.2..4.0f64, 1..8),
            cores in 1..5u64, jobs in 1..6usize,
        ) {
            let budget = Budget { cores, memory: 2048, jobs };
            let waiting: Vec<Demand> = runs
                .iter()
                .map(|(cores, memory, seconds)| Demand {
                    cores: *cores, memory: *memory, seconds: f64::from(*seconds),
                })
                .collect();
            let done = play(waiting.clone(), &late, &budget);
            prop_assert_eq!(done.len(), waiting.len());
            let total: f64 = done.iter().map(|(began, ended, _)| ended - began).sum();
            let end = done.iter().map(|run| run.1).fold(0.0, f64::max);
            prop_assert!(end <= total + 1e-6, "slower than one after the other");
        }

        #[test]
        fn nobody_who_slips_in_keeps_the_first_waiting(
            waiting in prop::collection::vec((1..7u64, 1..100u32), 2..20),
            running in prop::collection::vec((1..3u64, 0..100u32), 1..4),
        ) {
            let waiting: Vec<Demand> =
                waiting.iter().map(|(c, s)| demand(*c, f64::from(*s))).collect();
            let mut running: Vec<Under> =
                running.iter().map(|(c, s)| under(*c, f64::from(*s))).collect();
            let wait = |running: &[Under]| {
                let mut used = Used::default();
                running.iter().for_each(|run| used.add(&run.demand));
                room_for(&waiting[0], running, used, &BUDGET).0
            };
            let before = wait(&running);
            if let Some(at) = choose(&waiting, &running, &BUDGET) {
                if at > 0 {
                    let demand = waiting[at];
                    running.push(Under { demand, left: demand.seconds });
                    prop_assert!(wait(&running) <= before);
                }
            }
        }
    }
}
