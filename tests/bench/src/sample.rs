//! What was measured: several subjects in turn, in rounds, so that a noisy machine is as noisy for each.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Milliseconds: less is better.
    Milliseconds,
    /// Mebibytes: less is better.
    Mebibytes,
    /// A number of things: less is better.
    Count,
    /// Mebibytes in a second: more is better.
    MebibytesPerSecond,
    /// Microseconds: less is better.
    Microseconds,
}

impl Unit {
    /// As the table has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Count => "",
            Self::MebibytesPerSecond => "MiB/s",
            Self::Microseconds => "µs",
        }
    }
}

/// The numbers of one subject, one for each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Who was measured.
    pub subject: String,
    /// One number for each round.
    pub samples: Vec<f64>,
}

impl Series {
    /// Of this subject, with no number yet.
    pub fn of(subject: &str) -> Self {
        Self { subject: subject.to_owned(), samples: Vec::new() }
    }

    /// The middle of the numbers.
    pub fn median(&self) -> f64 {
        quantile(&self.samples, 0.5)
    }

    /// Between which the middle half of the numbers lies.
    pub fn quartiles(&self) -> (f64, f64) {
        (quantile(&self.samples, 0.25), quantile(&self.samples, 0.75))
    }
}

/// One question, put to every subject in every round. The first subject is what the others are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Which benchmark it belongs to.
    pub bench: Cow<'static, str>,
    /// What was asked.
    pub name: String,
    /// What the numbers count.
    pub unit: Unit,
    /// The subjects.
    pub series: Vec<Series>,
    /// The most, or for rates the least, that the second subject's ratio should be.
    pub goal: Option<f64>,
}

impl Case {
    /// The middle of the ratios that subject `index` had to the first in the same round.
    pub fn ratio(&self, index: usize) -> Option<f64> {
        let (base, other) = (self.series.first()?, self.series.get(index)?);
        let ratios: Vec<f64> =
            base.samples.iter().zip(&other.samples).map(|(base, other)| other / base).collect();
        (index > 0 && !ratios.is_empty()).then(|| quantile(&ratios, 0.5))
    }
}

/// Measures every subject once in each round: `measure(subject)` gives one number.
pub fn in_turn<E>(
    subjects: &[&str],
    rounds: usize,
    mut measure: impl FnMut(usize) -> Result<f64, E>,
) -> Result<Vec<Series>, E> {
    let mut all: Vec<Series> = subjects.iter().map(|subject| Series::of(subject)).collect();
    // The first round fills caches and does not count.
    for round in 0..=rounds {
        for (index, series) in all.iter_mut().enumerate() {
            let sample = measure(index)?;
            if round > 0 {
                series.samples.push(sample);
            }
        }
    }
    Ok(all)
}

/// The value below which the given part of the numbers lies, between neighbours in proportion.
fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    #[expect(clippy::cast_precision_loss, reason = "a number of rounds")]
    let at = part * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a number of rounds"
    )]
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: &[f64]) -> Series {
        Series { subject: String::new(), samples: samples.to_vec() }
    }

    #[test]
    fn medians_and_quartiles() {
        let rows: [(&[f64], f64, (f64, f64)); 4] = [
            (&[3.0], 3.0, (3.0, 3.0)),
            (&[4.0, 2.0], 3.0, (2.5, 3.5)),
            (&[1.0, 100.0, 2.0], 2.0, (1.5, 51.0)),
            (&[5.0, 1.0, 4.0, 2.0, 3.0], 3.0, (2.0, 4.0)),
        ];
        for (samples, median, quartiles) in rows {
            let series = series(samples);
            assert_eq!((series.median(), series.quartiles()), (median, quartiles), "{samples:?}");
        }
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let case = Case {
            bench: "b".into(),
            name: "c".to_owned(),
            unit: Unit::Count,
            series: vec![series(&[1.0, 10.0, 100.0]), series(&[2.0, 20.0, 200.0])],
            goal: None,
        };
        assert_eq!(case.ratio(1), Some(2.0));
        assert_eq!((case.ratio(0), case.ratio(2)), (None, None));
    }

    #[test]
    fn everybody_is_measured_in_every_round_and_the_first_does_not_count() {
        let mut asked = Vec::new();
        let all = in_turn(&["a", "b"], 2, |index| {
            asked.push(index);
            Ok::<_, ()>(f64::from(u8::try_from(asked.len()).unwrap()))
        });
        let all = all.unwrap();
        assert_eq!(asked, [0, 1, 0, 1, 0, 1]);
        assert_eq!((&all[0].samples[..], &all[1].samples[..]), (&[3.0, 5.0][..], &[4.0, 6.0][..]));
    }
}
