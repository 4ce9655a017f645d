//! Two samples compared: Mann–Whitney U, as Kayenta's judge uses it.
//!
//! Kayenta calls a metric high if the whole confidence interval of the shift between the samples (Hodges–Lehmann) lies above a fraction of the estimated shift
//! itself, and asks for an effect size besides, because with enough samples every difference is significant. The interval is the normal approximation of R's
//! `wilcox.test`, by order statistics of the pairwise differences; effect sizes are the ratio of means and the common language effect size, U / (n m).
//!
//! Source: Netflix and Google, Kayenta (`MannWhitneyClassifier`); R, `wilcox.test`.

/// Which change is a bad one
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// More is worse: errors, latency
    #[default]
    Increase,
    /// Less is worse: throughput
    Decrease,
    /// Any change is
    Either,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margins {
    pub direction: Direction,
    /// 0.95
    pub confidence: f64,
    /// Of the estimate, that the interval has to lie beyond: 0.25.
    pub fraction: f64,
    /// The ratio of means that is let be, 1 or more: 1.1 lets the canary be a tenth worse.
    pub allowed: f64,
    /// The least values on each side.
    pub minimum: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Of the experiment.
    pub u: f64,
    /// Two-sided.
    pub p: f64,
    /// The shift of the experiment (Hodges–Lehmann), and its interval.
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
    /// Mean of the experiment by mean of the control.
    pub ratio: f64,
    /// How probable it is that a value of the experiment is above one of the control.
    pub effect: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    Pass(Option<Comparison>),
    High(Comparison),
    Low(Comparison),
    /// Too little, or not numbers.
    Inconclusive(String),
}

/// Compares what the canary did with what the stable version did.
pub fn compare(experiment: &[f64], control: &[f64], margins: &Margins) -> Judgement {
    let least = margins.minimum.max(1);
    if experiment.len() < least || control.len() < least {
        return Judgement::Inconclusive(format!(
            "{} and {} values, and {least} on each side are the least",
            experiment.len(),
            control.len()
        ));
    }
    if experiment.len().saturating_mul(control.len()) > 4_000_000 {
        return Judgement::Inconclusive("too many values to compare each with each".to_owned());
    }
    if !experiment.iter().chain(control).all(|value| value.is_finite()) {
        return Judgement::Inconclusive("a value is no finite number".to_owned());
    }
    if experiment == control {
        return Judgement::Pass(None);
    }
    let compared = mann_whitney(experiment, control, margins.confidence);
    let bound = margins.fraction * compared.estimate.abs();
    let (up, down) = match margins.direction {
        Direction::Increase => (true, false),
        Direction::Decrease => (false, true),
        Direction::Either => (true, true),
    };
    // the ratio says nothing where the control's mean is 0 or below: then the shift alone decides
    let means = compared.ratio.is_finite() && compared.ratio > 0.0;
    if up && compared.low > bound && (!means || compared.ratio > margins.allowed) {
        Judgement::High(compared)
    } else if down && compared.high < -bound && (!means || compared.ratio < 1.0 / margins.allowed) {
        Judgement::Low(compared)
    } else {
        Judgement::Pass(Some(compared))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of samples, a few thousand"
)]
fn mann_whitney(experiment: &[f64], control: &[f64], confidence: f64) -> Comparison {
    let (n, m) = (experiment.len() as f64, control.len() as f64);
    let mut differences: Vec<f64> = experiment.iter().flat_map(|x| control.iter().map(move |y| x - y)).collect();
    differences.sort_by(f64::total_cmp);
    let u: f64 = differences
        .iter()
        .map(|difference| {
            if *difference > 0.0 {
                1.0
            } else if *difference == 0.0 {
                0.5
            } else {
                0.0
            }
        })
        .sum();
    let all = n + m;
    let sd = (n * m / 12.0 * (all + 1.0 - ties(experiment, control) / (all * (all - 1.0)))).max(0.0).sqrt();
    let distance = ((u - n * m / 2.0).abs() - 0.5).max(0.0);
    let p = if sd > 0.0 { erfc(distance / sd / std::f64::consts::SQRT_2).min(1.0) } else { 1.0 };
    let untied = (n * m * (all + 1.0) / 12.0).sqrt();
    let rank = (n * m / 2.0 - quantile(confidence) * untied).round().max(1.0) as usize;
    let rank = rank.min(differences.len().div_ceil(2));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    Comparison {
        u,
        p,
        estimate: median(&differences),
        low: differences[rank - 1],
        high: differences[differences.len() - rank],
        ratio: mean(experiment) / mean(control),
        effect: u / (n * m),
    }
}

/// Σ (t³ − t) over groups of equal values.
#[expect(clippy::cast_precision_loss, reason = "counts of samples, a few thousand")]
fn ties(experiment: &[f64], control: &[f64]) -> f64 {
    let mut values: Vec<f64> = experiment.iter().chain(control).copied().collect();
    values.sort_by(f64::total_cmp);
    values.chunk_by(|a, b| a == b).map(|group| (group.len() as f64).powi(3) - group.len() as f64).sum()
}

fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// How many standard deviations hold this part of a normal distribution, around its middle.
fn quantile(confidence: f64) -> f64 {
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if 1.0 - erfc(middle / std::f64::consts::SQRT_2) < confidence { low = middle } else { high = middle }
    }
    low
}

/// Abramowitz and Stegun, 7.1.26: wrong by 1.5e-7 at most, for what is not negative.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let sum =
        [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592].iter().fold(0.0, |sum, factor| sum * t + factor);
    sum * t * (-x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGINS: Margins = Margins { direction: Direction::Increase, confidence: 0.95, fraction: 0.25, allowed: 1.1, minimum: 5 };

    fn word(judgement: &Judgement) -> &'static str {
        match judgement {
            Judgement::Pass(_) => "pass",
            Judgement::High(_) => "high",
            Judgement::Low(_) => "low",
            Judgement::Inconclusive(_) => "inconclusive",
        }
    }

    fn range(from: u32, count: u32) -> Vec<f64> {
        (from..from + count).map(f64::from).collect()
    }

    /// By hand: of 11..20 against 1..10, each value is above each.
    #[test]
    fn numbers_that_are_known() {
        let apart = mann_whitney(&range(11, 10), &range(1, 10), 0.95);
        assert_eq!((apart.u, apart.effect, apart.estimate), (100.0, 1.0, 10.0));
        assert!((apart.p - 1.8267e-4).abs() < 1e-6, "{apart:?}");
        // the 24th and the 77th of the hundred differences
        assert_eq!((apart.low, apart.high), (7.0, 13.0));
        let same = mann_whitney(&range(1, 10), &range(1, 10), 0.95);
        assert_eq!((same.u, same.estimate, same.ratio), (50.0, 0.0, 1.0));
        assert!(same.p > 0.99 && same.low < 0.0 && same.high > 0.0, "{same:?}");
        assert!((quantile(0.95) - 1.959_964).abs() < 1e-4 && (erfc(1.0) - 0.157_299_2).abs() < 1e-6);
    }

    #[test]
    fn judgements() {
        let noisy = |scale: f64| -> Vec<f64> {
            [9.0, 10.0, 11.0, 10.5, 9.5, 10.2, 9.8, 10.1, 9.9, 10.4].iter().map(|value| value * scale).collect()
        };
        let either = Margins { direction: Direction::Either, ..MARGINS };
        for (wanted, experiment, control, margins) in [
            ("inconclusive", vec![], noisy(1.0), MARGINS),
            ("inconclusive", noisy(1.0), vec![], MARGINS),
            ("inconclusive", range(1, 4), range(1, 4), MARGINS),
            ("inconclusive", vec![1.0, 2.0, f64::NAN, 4.0, 5.0], noisy(1.0), MARGINS),
            ("inconclusive", noisy(1.0), vec![f64::INFINITY; 5], MARGINS),
            ("pass", noisy(1.0), noisy(1.0), MARGINS),
            ("pass", noisy(1.001), noisy(1.0), MARGINS),
            ("high", noisy(2.0), noisy(1.0), MARGINS),
            ("pass", noisy(1.09), noisy(1.0), MARGINS), // significant, and let be
            ("high", noisy(1.2), noisy(1.0), MARGINS),
            ("pass", noisy(0.5), noisy(1.0), MARGINS),
            ("low", noisy(0.5), noisy(1.0), either),
            ("low", noisy(0.5), noisy(1.0), Margins { direction: Direction::Decrease, ..MARGINS }),
            ("high", vec![0.1; 10], vec![0.0; 10], MARGINS), // errors where there were none
            ("pass", vec![0.0; 10], vec![0.0; 10], MARGINS),
            ("pass", vec![5.0; 10], vec![5.0; 12], MARGINS),
        ] {
            let judged = compare(&experiment, &control, &margins);
            assert_eq!(word(&judged), wanted, "{experiment:?} {control:?}: {judged:?}");
        }
    }
}
