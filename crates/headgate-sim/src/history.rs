//! Draws a scenario, runs it and checks the rules.

use crate::choices::Choices;
use crate::draw::draw;
use crate::ledger::{ends, BrokenRule, Ledger};
use crate::time::Micros;
use crate::world::{Scenario, World};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The result of a history.
pub struct HistoryOutcome {
    /// The scenario that ran.
    pub scenario: Rc<Scenario>,
    /// The broken rules; empty if all rules hold.
    pub broken: Vec<BrokenRule>,
    /// The number of requests by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// A line for each event with its time, if requested.
    pub lines: Vec<(Micros, String)>,
}

/// Runs the history of a seed; `with_lines`: also collects [`HistoryOutcome::lines`].
pub fn of_seed(seed: u64, with_lines: bool) -> HistoryOutcome {
    run(draw(&mut Choices::seeded(seed)), with_lines)
}

/// Runs the history that the bytes of a fuzzer select.
pub fn of_bytes(bytes: &[u8]) -> HistoryOutcome {
    run(draw(&mut Choices::from_bytes(bytes)), false)
}

/// Runs a scenario to its end and checks the rules.
pub fn run(scenario: Scenario, with_lines: bool) -> HistoryOutcome {
    let scenario = Rc::new(scenario);
    let ledger = Rc::clone(&scenario);
    let mut world = World::new(Rc::clone(&scenario), |network, clock| {
        let mut ledger = Ledger::new(ledger, network, clock);
        ledger.lines = with_lines.then(Vec::new);
        ledger
    });
    let came_to_an_end = world.run(ends::MOST_EVENTS);
    ends::check(&mut world, came_to_an_end);
    let ledger = world.observer;
    HistoryOutcome {
        scenario,
        broken: ledger.broken,
        outcomes: ledger.outcomes,
        lines: ledger.lines.unwrap_or_default(),
    }
}

/// The largest number of broken rules in a report. One cause often breaks many rules.
const MOST_RULES: usize = 6;

/// The largest number of lines of the history in a report.
const MOST_LINES: usize = 120;

/// The broken rules, the policies and the faults of a history, as text.
pub fn outline(outcome: &HistoryOutcome) -> String {
    let scenario = &outcome.scenario;
    let mut text = String::new();
    for broken in outcome.broken.iter().take(MOST_RULES) {
        text += &format!("  {broken}\n");
    }
    text += &format!(
        "of {:?}, {} requests\n",
        scenario.network,
        scenario.arrivals.len()
    );
    for policy in &scenario.policies {
        let limits = policy.limits.iter().map(|limit| limit.name.as_str());
        text += &format!("  limits {}\n", limits.collect::<Vec<_>>().join(", "));
    }
    for fault in &scenario.faults {
        text += &format!("  {fault}\n");
    }
    text
}

/// The outline of a seed's history, and the events that led to the first broken rule.
pub fn report(seed: u64) -> String {
    let outcome = of_seed(seed, true);
    let mut text = format!("HEADGATE_SIM_SEED={seed} cargo test -p headgate-sim replay -- --nocapture\n");
    text += &outline(&outcome);
    if let Some(first) = outcome.broken.first() {
        let until = outcome.lines.iter().take_while(|(at, _)| *at <= first.at).count();
        let shown = &outcome.lines[until.saturating_sub(MOST_LINES)..until];
        text += &shown_lines(shown);
    }
    text
}

/// The lines of a history with their times, as text.
pub fn shown_lines(lines: &[(Micros, String)]) -> String {
    let line = |(at, line): &(Micros, String)| format!("{:>12.6} s  {line}\n", *at as f64 / 1e6);
    lines.iter().map(line).collect()
}
