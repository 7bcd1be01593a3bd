// SPDX-License-Identifier: GPL-2.0-or-later
//! A puppet process's side: carries out actions on /dev/cachefiles, one by one.

use std::io;
use std::sync::Arc;

use vmtest_protocol::frame;
use vmtest_protocol::frame::FrameError;

use super::Request;
use super::hand::Hand;
use super::hand::Shared;
use super::serve::Log;
use crate::worker::Answer;
use crate::worker::child::Verdict;

/// Serves requests until standard input ends.
pub fn main() {
    let log = match std::env::args().nth(2).map(Log::create) {
        Some(Ok(log)) => Arc::new(log),
        Some(Err(error)) => {
            eprintln!("puppet: cannot write the event log: {error}");
            std::process::exit(3);
        }
        None => {
            eprintln!("puppet: the path of the event log is missing");
            std::process::exit(2);
        }
    };
    let mut hand = Hand::new(Arc::new(Shared::new(log)));
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    loop {
        let request: Request = match frame::read(&mut input) {
            Ok(request) => request,
            Err(FrameError::Closed) => return,
            Err(error) => {
                eprintln!("puppet: cannot read a request: {error}");
                std::process::exit(3);
            }
        };
        if let Err(error) = frame::write(&mut output, &answer(&mut hand, &request)) {
            eprintln!("puppet: cannot answer: {error}");
            std::process::exit(3);
        }
    }
}

fn answer(hand: &mut Hand, request: &Request) -> Answer {
    let result = match request {
        Request::Act(action) => hand.act(action),
        Request::Take { take, pid, number } => hand.take(take, *pid, *number),
        Request::Number { of } => {
            return match hand.number(of) {
                Ok(number) => Answer::Descriptor(number),
                Err(error) => Answer::Error(format!("{error:#}")),
            };
        }
    };
    match result {
        Ok(Verdict::Passed(measurements)) => Answer::Done(measurements),
        Ok(Verdict::Failed(reason)) => Answer::Failed(reason),
        Err(error) => Answer::Error(format!("{error:#}")),
    }
}
