//! The results as a table and as JSON.

use std::fmt::Write;

use anyhow::Result;
use serde_json::{Value, json};

use crate::sample::Case;

/// A Markdown table, a row for each subject of each case.
pub fn markdown(cases: &[Case]) -> String {
    let mut text = String::from(
        "| measured | subject | median | middle half | ratio | goal |\n|---|---|--:|--:|--:|--:|\n",
    );
    for case in cases {
        for (index, series) in case.series.iter().enumerate() {
            let (low, high) = series.quartiles();
            let ratio = case.ratio(index).map(|ratio| format!("{ratio:.2}"));
            let goal = case.goal.filter(|_| index == 1).map(|goal| format!("{goal:.2}"));
            let _ = writeln!(
                text,
                "| {} | {} | {} {} | {}–{} | {} | {} |",
                if index == 0 { &case.name } else { "" },
                series.subject,
                number(series.median()),
                case.unit.name(),
                number(low),
                number(high),
                ratio.unwrap_or_default(),
                goal.unwrap_or_default(),
            );
        }
    }
    text
}

/// Everything, every sample included.
pub fn json(cases: &[Case]) -> Value {
    let case = |case: &Case| {
        let ratios: Vec<_> = (0..case.series.len()).map(|index| case.ratio(index)).collect();
        let medians: Vec<_> = case.series.iter().map(|series| series.median()).collect();
        json!({ "case": case, "medians": medians, "ratios": ratios })
    };
    Value::Array(cases.iter().map(case).collect())
}

/// The cases of what [`json`] made.
pub fn from_json(text: &[u8]) -> Result<Vec<Case>> {
    let all: Vec<Value> = serde_json::from_slice(text)?;
    all.into_iter().map(|mut each| Ok(serde_json::from_value(each["case"].take())?)).collect()
}

/// Three digits are as many as such numbers mean.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Series, Unit};

    #[test]
    fn a_row_for_each_subject_with_its_ratio_and_the_goal_of_the_second() {
        let series = |subject: &str, samples: &[f64]| Series {
            subject: subject.to_owned(),
            samples: samples.to_vec(),
        };
        let case = Case {
            bench: "startup".into(),
            name: "exec to exit".to_owned(),
            unit: Unit::Milliseconds,
            series: vec![series("floor", &[2.0, 2.0]), series("casemate", &[3.0, 3.0])],
            goal: Some(1.5),
        };
        let again = from_json(json(std::slice::from_ref(&case)).to_string().as_bytes());
        assert_eq!(again.unwrap(), std::slice::from_ref(&case));
        let text = markdown(&[case]);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| exec to exit | floor | 2.00 ms | 2.00–2.00 |  |  |",
                "|  | casemate | 3.00 ms | 3.00–3.00 | 1.50 | 1.50 |",
            ]
        );
    }
}
