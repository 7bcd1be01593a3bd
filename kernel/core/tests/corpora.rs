// SPDX-License-Identifier: GPL-2.0-or-later
//! Every input that fuzzing has kept, once more: fuzz/corpus/TARGET holds what reaches some path
//! that nothing smaller does.

#[path = "../fuzz/src/oracles.rs"]
mod oracles;

use std::fs;
use std::path::Path;

#[test]
fn what_fuzzing_kept_holds_still() {
    for (name, check) in oracles::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        let mut inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("listing {}: {e}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(
            inputs.len() >= 5,
            "{} has hardly anything",
            folder.display()
        );
        for input in inputs {
            println!("{}", input.display());
            check(&fs::read(&input).unwrap());
        }
    }
}
