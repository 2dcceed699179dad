//! A plot as SVG: how many requests were allowed and denied over time.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 52.0;

/// Blue and vermilion of the Okabe–Ito palette, which people with colour blindness can distinguish.
const ALLOWED: &str = "#0072b2";
const DENIED: &str = "#d55e00";

/// What is drawn: a bar for each step of time.
pub struct Plot {
    pub title: String,
    /// How long a bar is, in seconds.
    pub step_s: f64,
    /// Allowed and denied requests of each step.
    pub bars: Vec<(u64, u64)>,
}

/// The length of a step for a span, in seconds: a round one, so that there are 60 to 150 bars, and never below 1 s.
pub fn step(span_s: f64) -> f64 {
    const ROUND: [f64; 14] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0,
    ];
    let fits = |step: &&f64| span_s / **step <= 150.0;
    ROUND.iter().find(fits).copied().unwrap_or(86_400.0)
}

impl Plot {
    pub fn svg(&self) -> String {
        let rate = |count: u64| count as f64 / self.step_s;
        let most = self
            .bars
            .iter()
            .map(|(allowed, denied)| rate(allowed + denied))
            .fold(0.0, f64::max);
        let (tick, top) = scale(most);
        let (wide, high) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let y = |rate: f64| TOP + high * (1.0 - rate / top);
        let bar = wide / self.bars.len().max(1) as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
            escaped(&self.title)
        );
        for (x, colour, word) in [(LEFT, ALLOWED, "allowed"), (LEFT + 100.0, DENIED, "denied")] {
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"49\">{word}</text>",
                x + 18.0
            );
        }
        let mut level = 0.0;
        while level <= top * 1.001 {
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                y(level),
                y(level),
                LEFT - 8.0,
                y(level) + 4.5,
                number(level)
            );
            level += tick;
        }
        for (index, (allowed, denied)) in self.bars.iter().enumerate() {
            let x = LEFT + bar * index as f64;
            // A thin gap between bars that are wide enough for it.
            let width = if bar > 4.0 { bar - 1.0 } else { bar };
            let middle = y(rate(*allowed));
            let upper = y(rate(allowed + denied));
            let mut rect = |colour: &str, from: f64, to: f64| {
                if from - to > 0.01 {
                    let _ = writeln!(
                        svg,
                        "<rect x=\"{x:.2}\" y=\"{to:.2}\" width=\"{width:.2}\" height=\"{:.2}\" fill=\"{colour}\"/>",
                        from - to
                    );
                }
            };
            rect(ALLOWED, TOP + high, middle);
            rect(DENIED, middle, upper);
        }
        let span = self.step_s * self.bars.len() as f64;
        let (time_tick, _) = scale(span / 60.0);
        let (unit, word, time_tick) = match span {
            span if span > 4.0 * 3_600.0 => (3_600.0, "hours", scale(span / 3_600.0).0.max(1.0)),
            span if span > 300.0 => (60.0, "minutes", time_tick.max(1.0)),
            span => (1.0, "seconds", scale(span).0.max(1.0)),
        };
        let mut at = 0.0;
        while at * unit <= span * 1.001 {
            let x = LEFT + wide * at * unit / span.max(1.0);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#888\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                TOP + high,
                TOP + high + 5.0,
                TOP + high + 20.0,
                number(at)
            );
            at += time_tick;
        }
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#888\"/>\n<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{word}</text>\n\
             <text transform=\"translate(20 {:.1}) rotate(-90)\" text-anchor=\"middle\">requests a second</text>\n</svg>",
            WIDTH - RIGHT,
            TOP + high,
            TOP + high,
            LEFT + wide / 2.0,
            HEIGHT - 12.0,
            TOP + high / 2.0
        );
        svg
    }
}

/// A round distance of ticks, four to eight of them, and the first tick at or above `most`.
fn scale(most: f64) -> (f64, f64) {
    if most <= 0.0 {
        return (1.0, 1.0);
    }
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let tick = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|tick| most / tick <= 7.0)
        .unwrap_or(10.0 * power);
    (tick, tick * (most / tick).ceil())
}

/// Without a trail of zeros.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few_and_reach_the_top() {
        for most in [0.3, 1.0, 7.0, 42.0, 199.0, 12_345.0] {
            let (tick, top) = scale(most);
            assert!(
                top >= most && (2.0..=8.0).contains(&(top / tick).round()),
                "{most}: {tick} {top}"
            );
        }
        assert_eq!(scale(199.0), (50.0, 200.0));
        assert_eq!(number(0.25), "0.25");
        assert_eq!(number(200.0), "200");
    }

    #[test]
    fn bars_are_stacked_and_as_high_as_their_counts() {
        let plot = Plot {
            title: "a < b".to_owned(),
            step_s: 1.0,
            bars: vec![(10, 0), (5, 5), (0, 0)],
        };
        let svg = plot.svg();
        assert_eq!(
            svg.matches(&format!("fill=\"{ALLOWED}\"")).count(),
            3,
            "the legend and two bars"
        );
        assert_eq!(svg.matches(&format!("fill=\"{DENIED}\"")).count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains("requests a second"));
        let high = HEIGHT - TOP - BOTTOM;
        assert!(
            svg.contains(&format!("height=\"{:.2}\"", high))
                && svg.contains(&format!("height=\"{:.2}\"", high / 2.0)),
            "{svg}"
        );
    }

    #[test]
    fn a_step_is_round_and_makes_neither_few_nor_many_bars() {
        for (span, expected) in [(60.0, 1.0), (600.0, 5.0), (3_600.0, 30.0), (86_400.0, 600.0)] {
            assert_eq!(step(span), expected, "{span}");
        }
    }
}
