// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest shell`: a person, or a script, in the guest of a scenario at a step of their choice.

use std::io::IsTerminal;

use vmtest_protocol::Step;

use crate::results::Outcome;
use crate::run::Guide;
use crate::run::Verdict;
use crate::vm::Trouble;
use crate::vm::Vm;

pub mod gdb;
mod script;
mod talk;
mod terminal;

/// How a shell ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// There was none: the guest was not reached, or had gone.
    Never,
    /// As it should: by `exit`, by the end of the input, or because the person left.
    Well,
    /// Its program ended otherwise, or the guest went away beneath it; how.
    Badly(String),
}

/// Where to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Before this step, counted from 1.
    Before(usize),
    /// Behind the last step, or where one does not pass.
    AtTheEnd,
}

/// Goes along with a run, and opens the shell.
#[derive(Debug)]
pub struct Session {
    stop: Stop,
    steps: usize,
    done: usize,
    next: Option<String>,
    gdb: Option<gdb::Debugging>,
    /// How the shell ended.
    pub ended: Ended,
}

impl Session {
    /// For a run of `steps` steps.
    pub fn new(stop: Stop, steps: usize, gdb: Option<gdb::Debugging>) -> Self {
        Session {
            stop,
            steps,
            done: 0,
            next: None,
            gdb,
            ended: Ended::Never,
        }
    }

    /// Where the scenario stands, for people.
    fn place(&self, verdict: Option<&Verdict>) -> String {
        let done = match self.done {
            0 => "no step is done".to_owned(),
            done if done == self.steps => format!("all {done} steps passed"),
            done => format!("{done} of {} steps passed", self.steps),
        };
        match (verdict, &self.next) {
            (Some(verdict), _) if verdict.outcome != Outcome::Skipped => {
                let reason = verdict.reason.trim_end();
                format!("{done}, then: {}\n{reason}", verdict.outcome.word())
            }
            (_, Some(next)) => format!("{done}; the next would be {next}"),
            (_, None) => done,
        }
    }
}

impl Guide for Session {
    fn ready(&mut self, vm: &mut Vm) -> Result<(), Trouble> {
        match &self.gdb {
            Some(debugging) => debugging.wait(vm),
            None => Ok(()),
        }
    }

    fn goes_on(&mut self, number: usize, step: &Step) -> bool {
        self.done = number - 1;
        self.next = Some(format!("step {number} ({})", step.title()));
        self.stop != Stop::Before(number)
    }

    fn stopped(&mut self, vm: &mut Vm, verdict: Option<&Verdict>) {
        if verdict.is_none() {
            self.done = self.steps;
            self.next = None;
        }
        eprintln!("vmtest: {}", self.place(verdict));
        self.ended = match std::io::stdin().is_terminal() {
            true => talk::person(vm),
            false => script::script(vm),
        };
    }
}

/// The step that `text` names: its number, counted from 1, or its name.
///
/// # Errors
/// What to write instead.
pub fn find_step(steps: &[Step], text: &str) -> Result<usize, String> {
    if let Ok(number) = text.parse::<usize>() {
        return match (1..=steps.len()).contains(&number) {
            true => Ok(number),
            false => Err(format!(
                "--at {number}: the scenario has steps 1 to {}",
                steps.len()
            )),
        };
    }
    if let Some(index) = steps.iter().position(|step| step.title() == text) {
        return Ok(index + 1);
    }
    let list: Vec<String> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| format!("{:>4}  {}", index + 1, step.title()))
        .collect();
    let titles = steps.iter().map(Step::title);
    let near = titles
        .min_by_key(|title| strsim::damerau_levenshtein(title, text))
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    Err(format!(
        "--at {text}: no step has this name{near}\n{}",
        list.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        let text = "- drop_caches: {}\n- sleep: {for: 1s}\n  name: a nap\n- drop_caches: {}\n";
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn a_step_is_found_by_its_number_or_its_name() {
        assert_eq!(find_step(&steps(), "3"), Ok(3));
        assert_eq!(find_step(&steps(), "a nap"), Ok(2));
        assert_eq!(find_step(&steps(), "drop_caches"), Ok(1));
        assert!(find_step(&steps(), "0").unwrap_err().contains("1 to 3"));
        let wrong = find_step(&steps(), "a map").unwrap_err();
        assert!(wrong.contains("did you mean `a nap`?"), "{wrong}");
        assert!(wrong.contains("   2  a nap"), "{wrong}");
    }

    #[test]
    fn the_place_says_what_is_done_and_what_would_be_next() {
        let mut session = Session::new(Stop::Before(2), 3, None);
        let steps = steps();
        assert!(session.goes_on(1, &steps[0]));
        assert!(!session.goes_on(2, &steps[1]));
        let place = session.place(None);
        assert_eq!(
            place,
            "1 of 3 steps passed; the next would be step 2 (a nap)"
        );
        let mut session = Session::new(Stop::AtTheEnd, 3, None);
        for (index, step) in steps.iter().enumerate() {
            assert!(session.goes_on(index + 1, step));
        }
    }
}
