// SPDX-License-Identifier: GPL-2.0-or-later
//! A picture of what operations cost at growing scale, both modules side by side: a panel for each
//! operation that was measured at more than one scale.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use anyhow::anyhow;
use anyhow::ensure;
use plotters::prelude::*;

use super::module::Comparison;
use super::module::Row;
use crate::results;

/// Width and height of a panel.
const PANEL: (u32, u32) = (420, 280);
/// Panels in a line.
const COLUMNS: usize = 3;
/// Height of the heading.
const HEADING: u32 = 48;

const C: RGBColor = RGBColor(0x8a, 0x5a, 0x00);
const RUST: RGBColor = RGBColor(0x00, 0x5f, 0xb8);

/// Draws the picture as SVG.
///
/// # Errors
/// When nothing was measured at more than one scale, or the file cannot be written.
pub fn draw(comparison: &Comparison, file: &Path) -> anyhow::Result<()> {
    let text = svg(comparison)?;
    if let Some(dir) = file.parent().filter(|dir| *dir != Path::new("")) {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    results::replace(file, text.as_bytes())
}

fn svg(comparison: &Comparison) -> anyhow::Result<String> {
    let mut panels: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in &comparison.rows {
        panels.entry((&row.op, row.unit)).or_default().push(row);
    }
    panels.retain(|_, rows| rows.len() > 1);
    ensure!(!panels.is_empty(), "nothing was measured at two scales");
    let lines = panels.len().div_ceil(COLUMNS);
    let size = (
        PANEL.0 * COLUMNS.min(panels.len()) as u32,
        PANEL.1 * lines as u32 + HEADING,
    );
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = (|| {
            root.fill(&WHITE)?;
            let root = root.titled(
                "cachefiles: cost of an operation against scale (lower is better)",
                ("sans-serif", 20),
            )?;
            let areas = root.split_evenly((lines, COLUMNS.min(panels.len())));
            for (((op, unit), rows), area) in panels.iter().zip(&areas) {
                panel(op, unit, rows, area)?;
            }
            root.present()
        })();
        drawn.map_err(|error| anyhow!("drawing the picture: {error}"))?;
    }
    Ok(text)
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn panel<'a>(
    op: &str,
    unit: &str,
    rows: &[&Row],
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
) -> Drawn<'a> {
    let scale = |row: &Row| row.scale.max(1) as f64;
    let greatest = |value: fn(&Row) -> f64| rows.iter().map(|row| value(row)).fold(1.0, f64::max);
    let widest = rows.iter().map(|row| scale(row)).fold(1.0, f64::max);
    // Beginning at zero: a picture must not make a small difference look like a large one.
    let top = greatest(|row| row.rust.max(row.c.unwrap_or(0.0))) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{op} ({unit})"), ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d((0.8..widest * 1.5).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("pending requests and objects")
        .x_label_formatter(&|scale| format!("{scale:.0}"))
        .y_label_formatter(&|cost| super::module::grouped(*cost))
        .draw()?;
    for (name, colour, value) in [
        ("C", C, (|row: &Row| row.c) as fn(&Row) -> Option<f64>),
        ("Rust", RUST, |row: &Row| Some(row.rust)),
    ] {
        let points: Vec<(f64, f64)> = rows
            .iter()
            .filter_map(|row| value(row).map(|cost| (scale(row), cost)))
            .collect();
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        chart.draw_series(
            points
                .into_iter()
                .map(|point| Circle::new(point, 3, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
}

#[cfg(test)]
mod tests {
    use super::super::module::Samples;
    use super::*;
    use crate::matrix::Module;

    #[test]
    fn each_operation_has_a_panel_with_both_modules() {
        let mut samples = Samples::default();
        for scale in [1, 1000, 10_000] {
            for (module, cost) in [(Module::C, 100.0 + scale as f64), (Module::Rust, 90.0)] {
                samples.one("close", scale, "instructions", module, cost);
                samples.one("open", scale, "instructions", module, cost);
            }
        }
        samples.one("module size", 1, "bytes", Module::C, 1.0);
        samples.one("module size", 1, "bytes", Module::Rust, 1.0);
        let comparison = samples.compare().unwrap();
        let text = svg(&comparison).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        for word in [
            "close (instructions)",
            "open (instructions)",
            "Rust",
            "10,000",
        ] {
            assert!(text.contains(word), "{word} is not in it");
        }
        assert!(!text.contains("module size"));
        if let Some(file) = std::env::var_os("PICTURE") {
            std::fs::write(file, text).unwrap();
        }
    }

    #[test]
    fn without_a_second_scale_there_is_nothing_to_draw() {
        let mut samples = Samples::default();
        samples.one("open", 1, "instructions", Module::C, 1.0);
        samples.one("open", 1, "instructions", Module::Rust, 1.0);
        assert!(svg(&samples.compare().unwrap()).is_err());
    }
}
