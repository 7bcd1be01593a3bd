// SPDX-License-Identifier: GPL-2.0-or-later
//! `vmtest bench-module`: what an operation costs on the Rust module and on the C one, in guest
//! instructions, side by side.
//!
//! Scenarios measure: a `measure` step called `op.NAME` is a row of NAME, the instructions that QEMU
//! executed meanwhile the cost; one called `memory.NAME` is a row of what its objects keep of the
//! kernel's unreclaimable slab. The case's variable `scale` is the row's scale.
//!
//! `module.json`: `{"schema": 1, "rows": [{"op", "scale", "unit", "c", "rust", "ratio", "spread"}]}`;
//! `c` and `rust` are medians, `spread` is the larger module's (greatest - least) / median.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use serde::Serialize;
use vmtest_protocol::template::Var;

use super::median;
use crate::matrix::Module;
use crate::results::Outcome;
use crate::results::RunResult;

/// Layout of the file.
const SCHEMA: u32 = 1;
/// The unit of memory.
const BYTES: &str = "bytes";
/// Objects that memory must be shared out among to be a figure: slabs grow by whole pages, so that
/// what one object adds is nothing or a page of somebody else's.
const LEAST_OBJECTS: u64 = 1000;
/// The ratio that no row may exceed.
pub const AIM: f64 = 1.05;

/// What was measured, before it is compared.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<(String, u64, &'static str), BTreeMap<Module, Vec<f64>>>);

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The operation.
    pub op: String,
    /// Objects or requests beside it.
    pub scale: u64,
    /// `instructions` or `bytes`.
    pub unit: &'static str,
    /// Median of the C module; none where it cannot do this.
    pub c: Option<f64>,
    /// Median of the Rust module.
    pub rust: f64,
    /// `rust / c`.
    pub ratio: Option<f64>,
    /// (greatest - least) / median, of the module that varied more.
    pub spread: f64,
}

/// All comparisons.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    schema: u32,
    /// Sorted by operation and scale.
    pub rows: Vec<Row>,
}

impl Samples {
    /// Adds what a run measured, at the scale of its case.
    ///
    /// # Errors
    /// When the run did not pass, measured nothing, or has no scale.
    pub fn add(
        &mut self,
        run: &RunResult,
        module: Module,
        scale: Option<&Var>,
    ) -> anyhow::Result<()> {
        ensure!(
            run.outcome == Outcome::Passed,
            "{}: {}: {}; look into {}",
            run.name(),
            run.outcome.word(),
            run.reason,
            run.artifacts.display()
        );
        let scale = match scale {
            Some(Var::Number(scale)) => u64::try_from(*scale)
                .with_context(|| format!("{}: `scale` is {scale}", run.name()))?,
            _ => bail!("{}: its matrix has no number `scale`", run.name()),
        };
        let mut found = false;
        for measured in &run.measurements {
            let Some((op, unit, value)) = row_of(&measured.name, measured.value) else {
                continue;
            };
            found = true;
            if unit == BYTES && scale < LEAST_OBJECTS {
                continue;
            }
            self.one(op, scale, unit, module, value);
        }
        ensure!(
            found,
            "{}: it measured nothing called op.NAME or memory.NAME",
            run.name()
        );
        Ok(())
    }

    /// Adds a number.
    pub fn one(&mut self, op: &str, scale: u64, unit: &'static str, module: Module, value: f64) {
        let modules = self.0.entry((op.to_owned(), scale, unit)).or_default();
        modules.entry(module).or_default().push(value);
    }

    /// Compares.
    ///
    /// # Errors
    /// When nothing was measured on the Rust module.
    pub fn compare(self) -> anyhow::Result<Comparison> {
        let mut rows = Vec::new();
        for ((op, scale, unit), mut modules) in self.0 {
            let spread = modules
                .values()
                .map(|values| spread(values))
                .fold(0.0, f64::max);
            let Some(rust) = modules.remove(&Module::Rust) else {
                bail!("{op} at {scale}: measured on the C module alone");
            };
            let rust = median(rust)?;
            let c = modules.remove(&Module::C).map(median).transpose()?;
            rows.push(Row {
                op,
                scale,
                unit,
                c: c.map(whole),
                rust: whole(rust),
                ratio: c.filter(|c| *c > 0.0).map(|c| thousandth(rust / c)),
                spread: (spread * 1e6).round() / 1e6,
            });
        }
        ensure!(!rows.is_empty(), "nothing was measured");
        Ok(Comparison {
            schema: SCHEMA,
            rows,
        })
    }
}

/// The row that a measurement belongs to.
fn row_of(name: &str, value: f64) -> Option<(&str, &'static str, f64)> {
    if let Some(op) = name.strip_prefix("op.") {
        let op = op.strip_suffix(".instructions_per_object")?;
        return Some((op, "instructions", value));
    }
    let op = name.strip_prefix("memory.")?;
    let op = op.strip_suffix(".unreclaimable_bytes_per_object")?;
    Some((op, BYTES, value))
}

fn spread(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match median(values.to_vec()) {
        Ok(middle) if middle > 0.0 => (greatest - least) / middle,
        _ => 0.0,
    }
}

fn whole(value: f64) -> f64 {
    value.round()
}

fn thousandth(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Comparison {
    /// The rows as a table for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<26} {:>6} {:>13} {:>13} {:>7} {:>9}\n",
            "operation", "scale", "C", "Rust", "ratio", "spread"
        );
        for row in &self.rows {
            let c = row.c.map_or("-".to_owned(), grouped);
            let ratio = row
                .ratio
                .map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
            // A String takes everything.
            let _ = writeln!(
                text,
                "{:<26} {:>6} {c:>13} {:>13} {ratio:>7} {:>8.3}% {}",
                row.op,
                row.scale,
                grouped(row.rust),
                row.spread * 100.0,
                row.unit
            );
        }
        text
    }

    /// What is dearer on the Rust module than it may be.
    pub fn above_aim(&self) -> Vec<&Row> {
        let above = |row: &&Row| row.ratio.is_some_and(|ratio| ratio > AIM);
        self.rows.iter().filter(above).collect()
    }

    /// Writes the file, making its folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        super::write_json(self, file)
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes that a module takes when it is loaded: the sections of its file that are.
///
/// # Errors
/// When the file cannot be read, or is no ELF file.
pub fn loaded_size(file: &Path) -> anyhow::Result<u64> {
    use object::Object;
    use object::ObjectSection;
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let elf = object::File::parse(&*bytes)
        .with_context(|| format!("{} is no object file", file.display()))?;
    let loaded = |section: &object::Section<'_, '_>| match section.flags() {
        object::SectionFlags::Elf { sh_flags } => sh_flags & u64::from(object::elf::SHF_ALLOC) != 0,
        _ => false,
    };
    Ok(elf
        .sections()
        .filter(loaded)
        .map(|section| section.size())
        .sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results;
    use vmtest_protocol::message::Measurement;

    fn measured(name: &str, value: f64) -> RunResult {
        let mut run = results::example("ondemand", Outcome::Passed, "");
        run.measurements = vec![
            Measurement {
                name: name.to_owned(),
                value,
                unit: "s".to_owned(),
            },
            Measurement {
                name: "read.seconds".to_owned(),
                value: 4.0,
                unit: "s".to_owned(),
            },
        ];
        run
    }

    #[test]
    fn medians_are_compared_and_the_worse_spread_is_shown() {
        let mut samples = Samples::default();
        let scale = Var::Number(1000);
        for (module, values) in [
            (Module::C, [1000.0, 1010.0, 1000.0]),
            (Module::Rust, [900.0, 900.0, 900.0]),
        ] {
            for value in values {
                let run = measured("op.close.instructions_per_object", value);
                samples.add(&run, module, Some(&scale)).unwrap();
            }
        }
        let compared = samples.compare().unwrap();
        let row = Row {
            op: "close".to_owned(),
            scale: 1000,
            unit: "instructions",
            c: Some(1000.0),
            rust: 900.0,
            ratio: Some(0.9),
            spread: 0.01,
        };
        assert_eq!(compared.rows, [row]);
        assert!(compared.above_aim().is_empty());
        assert!(compared.table().contains("1,000"), "{}", compared.table());
    }

    #[test]
    fn a_dearer_row_is_named() {
        let mut samples = Samples::default();
        samples.one("open", 1, "instructions", Module::C, 100.0);
        samples.one("open", 1, "instructions", Module::Rust, 106.0);
        assert_eq!(samples.compare().unwrap().above_aim().len(), 1);
    }

    #[test]
    fn a_run_that_failed_or_measured_nothing_is_an_error() {
        let mut samples = Samples::default();
        let scale = Var::Number(1);
        let failed = results::example("ondemand", Outcome::Failed, "why");
        assert!(samples.add(&failed, Module::C, Some(&scale)).is_err());
        let nothing = measured("other.seconds_per_object", 1.0);
        assert!(samples.add(&nothing, Module::C, Some(&scale)).is_err());
        let good = measured("op.open.instructions_per_object", 1.0);
        assert!(samples.add(&good, Module::C, None).is_err());
        assert!(samples.compare().is_err());
    }

    #[test]
    fn memory_counts_where_it_is_shared_out_among_many() {
        let mut samples = Samples::default();
        let run = measured("memory.object.unreclaimable_bytes_per_object", 4096.0);
        samples
            .add(&run, Module::Rust, Some(&Var::Number(1)))
            .unwrap();
        assert!(samples.0.is_empty());
        samples
            .add(&run, Module::Rust, Some(&Var::Number(1000)))
            .unwrap();
        assert_eq!(samples.compare().unwrap().rows.len(), 1);
    }

    #[test]
    fn memory_is_a_row_of_bytes() {
        assert_eq!(
            row_of("memory.object.unreclaimable_bytes_per_object", 9830.0),
            Some(("object", "bytes", 9830.0))
        );
        assert_eq!(row_of("memory.object.slab_bytes_per_object", 1.0), None);
        assert_eq!(row_of("op.open.instructions", 1.0), None);
    }
}
