//! The ratios as a picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::sample::Case;

const WIDTH: u32 = 900;
const ROW: u32 = 26;

/// One bar: what, how many times the first subject, and what it should be.
struct Bar {
    label: String,
    ratio: f64,
    goal: Option<f64>,
}

/// Draws how every subject compares with the first of its case, on a line where 1 is as good.
pub fn draw(cases: &[Case], path: &Path) -> Result<()> {
    let bars = bars(cases);
    let height = ROW * u32::try_from(bars.len())? + 70;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| anyhow!("cannot draw: {error}"))?;
    chart(&area, &bars).map_err(|error| anyhow!("cannot draw: {error}"))?;
    area.present().map_err(|error| anyhow!("cannot write {path:?}: {error}"))
}

fn bars(cases: &[Case]) -> Vec<Bar> {
    let all = cases.iter().flat_map(|case| {
        case.series.iter().enumerate().filter_map(|(index, series)| {
            Some(Bar {
                label: format!("{}: {}", case.name, series.subject),
                ratio: case.ratio(index)?,
                goal: case.goal.filter(|_| index == 1),
            })
        })
    });
    all.collect()
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn chart(area: &Area<'_>, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let most = bars.iter().flat_map(|bar| [bar.ratio, bar.goal.unwrap_or(0.0)]).fold(1.0, f64::max);
    let count = bars.len();
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption("Times the first subject (grey: 1; red: goal)", ("sans-serif", 16))
        .x_label_area_size(30)
        .build_cartesian_2d(0.0..most * 2.2, 0..count)?;
    chart.configure_mesh().disable_mesh().disable_y_axis().draw()?;
    for (row, bar) in bars.iter().rev().enumerate() {
        chart.draw_series([Rectangle::new(
            [(0.0, row), (bar.ratio, row + 1)],
            BLUE.mix(0.3).filled(),
        )])?;
        let text = format!("{} ({:.2})", bar.label, bar.ratio);
        let at = (bar.ratio.max(1.0) + most * 0.02, row + 1);
        chart.draw_series([Text::new(text, at, ("sans-serif", 13))])?;
        if let Some(goal) = bar.goal {
            chart.draw_series([PathElement::new([(goal, row), (goal, row + 1)], RED)])?;
        }
    }
    chart.draw_series([PathElement::new([(1.0, 0), (1.0, count)], BLACK.mix(0.4))])?;
    Ok(())
}
