//! The confidence interval of a median, by ranks. It makes no assumption about the distribution of the values.
//!
//! Each value is below the true median with probability ½, independently of the others. So the number of values below
//! it, out of n, has a binomial distribution. The interval from the k-th smallest to the k-th largest value misses the
//! true median only if fewer than k values are on one side of it, which has the probability 2·P(B(n, ½) < k). (David
//! and Nagaraja, Order Statistics, section 7.1.)

/// The ranks of an interval that contains the true median with a probability of at least 95%.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranks {
    /// Rank of the lower bound among the sorted values, beginning with 1.
    pub lower: usize,
    pub upper: usize,
    /// 0.95 to 1.
    pub coverage: f64,
}

impl Ranks {
    /// The narrowest such interval. `None` for fewer than six values, for which even the whole range has a lower
    /// probability, and for more than about a thousand values, for which ½ⁿ is 0 in floating point.
    pub fn of(values: usize) -> Option<Ranks> {
        let n = values as f64;
        let mut probability = 0.5_f64.powf(n); // of exactly `below` on one side
        if !probability.is_normal() {
            return None;
        }
        let (mut missed, mut best) = (0.0, None);
        for below in 0..values / 2 {
            missed += 2.0 * probability;
            if missed > 0.05 {
                break;
            }
            best = Some(Ranks {
                lower: below + 1,
                upper: values - below,
                coverage: 1.0 - missed,
            });
            probability *= (n - below as f64) / (below as f64 + 1.0);
        }
        best
    }

    /// The interval. `None` if there are fewer values than the ranks need.
    pub fn interval(self, values: &[f64]) -> Option<(f64, f64)> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Some((*sorted.get(self.lower - 1)?, *sorted.get(self.upper - 1)?))
    }
}

#[cfg(test)]
mod tests {
    /// Compares with published tables: for 15 pairs the ranks are 4 and 12.
    #[test]
    fn ranks_and_coverage_are_those_of_the_binomial() {
        let expected = [
            (6, 1, 6, 0.96875),
            (10, 2, 9, 0.978515625),
            (15, 4, 12, 0.96484375),
            (16, 4, 13, 0.978729248046875),
            (30, 10, 21, 0.957226),
        ];
        for (values, lower, upper, coverage) in expected {
            let ranks = super::Ranks::of(values).expect("an interval");
            assert_eq!((ranks.lower, ranks.upper), (lower, upper), "{values} values");
            assert!(
                (ranks.coverage - coverage).abs() < 1e-6,
                "{values} values: {ranks:?}"
            );
        }
    }

    #[test]
    fn too_few_or_too_many_values_have_no_interval() {
        for values in [0, 1, 2, 3, 4, 5, 2_000] {
            assert_eq!(super::Ranks::of(values), None, "{values} values");
        }
    }

    /// The next narrower interval has a probability below 95%.
    #[test]
    fn the_interval_is_the_narrowest_that_covers() {
        for values in 6..=200 {
            let ranks = super::Ranks::of(values).expect("an interval");
            let choose =
                |k: usize| -> f64 { (0..k).map(|i| ((values - i) as f64 / (i + 1) as f64).ln()).sum() };
            let of = |k: usize| (choose(k) - values as f64 * 2_f64.ln()).exp();
            let missed = |lower: usize| 2.0 * (0..lower).map(of).sum::<f64>();
            assert!(missed(ranks.lower) <= 0.05, "{values}: {ranks:?}");
            assert!(missed(ranks.lower + 1) > 0.05, "{values}: {ranks:?}");
            assert!(
                (1.0 - missed(ranks.lower) - ranks.coverage).abs() < 1e-9,
                "{values}: {ranks:?}"
            );
        }
    }

    #[test]
    fn the_interval_is_taken_from_the_values_in_order() {
        let ranks = super::Ranks::of(15).expect("an interval");
        let mut values: Vec<f64> = (1..=15).map(f64::from).collect();
        values.rotate_left(7);
        values.swap(0, 14);
        assert_eq!(ranks.interval(&values), Some((4.0, 12.0)), "{values:?}");
        assert_eq!(ranks.interval(&values[..11]), None, "too few values");
    }
}
