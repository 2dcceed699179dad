//! Outcomes of simulated requests, by limit, by client and by what decided.

use super::charges::show_quota;
use super::input;
use super::plot::{self, Plot};
use super::policies::Loaded;
use super::table::Table;
use super::traffic::Event;
use headgate_core::decision::{CountedBy, Outcome};
use headgate_core::engine;
use headgate_core::limit::{Plan, Planner};
use headgate_sim::request::Request;
use headgate_sim::time::Micros;
use headgate_sim::world::{Decision, Observer};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

/// The outcomes of one limit.
#[derive(Default, Clone)]
struct LimitTally {
    /// Requests that it applied to.
    held: u64,
    denied: u64,
    /// Those that it would have denied.
    in_shadow: u64,
}

/// The outcomes of all requests.
pub struct Tally<'e> {
    events: &'e [Event],
    planner: Planner,
    start_us: u64,
    requests: u64,
    denied: u64,
    exempt: u64,
    /// The caller is not identified.
    no_client: u64,
    span_us: u64,
    limits: Vec<LimitTally>,
    /// Requests and denials.
    clients: BTreeMap<Rc<str>, (u64, u64)>,
    /// Requests and denials by what decided: `redis`, `cache`, `failed_open` …
    by: BTreeMap<&'static str, (u64, u64)>,
    /// How long requests waited for Redis, in µs.
    waits: Vec<u64>,
    /// Whether Redis is simulated with latency and faults, so that the table of what decided is useful.
    is_real: bool,
    step_s: f64,
    bars: Vec<(u64, u64)>,
}

impl<'e> Tally<'e> {
    pub fn new(loaded: &Loaded, events: &'e [Event], is_real: bool) -> Tally<'e> {
        let start_us = events.first().map_or(0, |event| event.time_us);
        let span_us = events.last().map_or(0, |event| event.time_us) - start_us;
        let step_s = plot::step(span_us as f64 / 1e6);
        Tally {
            events,
            planner: Planner::new(&loaded.policy, input::hasher()),
            start_us,
            requests: 0,
            denied: 0,
            exempt: 0,
            no_client: 0,
            span_us,
            limits: vec![LimitTally::default(); loaded.policy.limits.len()],
            clients: BTreeMap::new(),
            by: BTreeMap::new(),
            waits: Vec::new(),
            is_real,
            step_s,
            bars: vec![(0, 0); (span_us as f64 / 1e6 / step_s) as usize + 1],
        }
    }
}

impl Observer for Tally<'_> {
    fn arrived(&mut self, _: Micros, caller: usize, _: usize, request: &Request) {
        let Some(event) = self.events.get(caller) else {
            return;
        };
        if let Plan::Count { groups, .. } = self.planner.plan(request, &event.identity) {
            for charge in groups.iter().flat_map(|group| &group.charges) {
                if let Some(limit) = self.limits.get_mut(charge.limit) {
                    limit.held += 1;
                }
            }
        }
    }

    fn decided(&mut self, _: Micros, caller: usize, decision: &Decision<'_>) {
        let Some(event) = self.events.get(caller) else {
            return;
        };
        let refused = decision.reply.is_some();
        self.requests += 1;
        self.denied += u64::from(refused);
        let client = self.clients.entry(Rc::clone(&event.label)).or_default();
        client.0 += 1;
        client.1 += u64::from(refused);
        let step_us = (self.step_s * 1e6) as u64;
        let bar = (event.time_us - self.start_us).checked_div(step_us);
        if let Some(bar) = bar.and_then(|bar| self.bars.get_mut(bar as usize)) {
            match refused {
                true => bar.1 += 1,
                false => bar.0 += 1,
            }
        }
    }

    fn event(&mut self, _: Micros, _: usize, event: &engine::Event) {
        match event {
            engine::Event::Decided { outcome, by } => {
                match outcome {
                    Outcome::Exempt => self.exempt += 1,
                    Outcome::NoClient { .. } | Outcome::AmbiguousClient => self.no_client += 1,
                    _ => {}
                }
                let by = self
                    .by
                    .entry(by.map_or(outcome.as_str(), CountedBy::as_str))
                    .or_default();
                by.0 += 1;
                by.1 += u64::from(refuses(*outcome));
            }
            engine::Event::Waited { micros } => self.waits.push(*micros),
            engine::Event::Counted {
                limit,
                enforced,
                verdict: Some(verdict),
                ..
            } if !verdict.allowed => {
                if let Some(limit) = self.limits.get_mut(*limit) {
                    match enforced {
                        true => limit.denied += 1,
                        false => limit.in_shadow += 1,
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether the filter answers instead of the upstream.
fn refuses(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Denied
            | Outcome::FailedClosed
            | Outcome::NoClient { refused: true }
            | Outcome::AmbiguousClient
    )
}

impl Tally<'_> {
    /// Those with most denials first.
    fn worst(&self) -> Vec<(&Rc<str>, u64, u64)> {
        let mut all: Vec<_> = self
            .clients
            .iter()
            .map(|(label, (requests, denied))| (label, *requests, *denied))
            .collect();
        all.sort_by_key(|(_, requests, denied)| (std::cmp::Reverse(*denied), std::cmp::Reverse(*requests)));
        all
    }

    fn summary(&self) -> String {
        let share = 100.0 * self.denied as f64 / self.requests.max(1) as f64;
        format!(
            "{} requests of {} clients in {:.0} s: {} allowed, {} denied ({share:.1}%)",
            self.requests,
            self.clients.len(),
            self.span_us as f64 / 1e6,
            self.requests - self.denied,
            self.denied
        )
    }

    pub fn text(&self, loaded: &Loaded, most: usize, notes: &[String]) -> String {
        let mut text = format!("{}\n\n", self.summary());
        let mut table = Table::new(&["limit", "rate", "requests", "denied", "in shadow"]);
        for (limit, of) in loaded.policy.limits.iter().zip(&self.limits) {
            let [held, denied, in_shadow] =
                [of.held, of.denied, of.in_shadow].map(|number| number.to_string());
            table.row(&[&limit.name, &show_quota(limit.quota), &held, &denied, &in_shadow]);
        }
        text += &table.text();
        text.push('\n');
        let mut table = Table::new(&["client", "requests", "allowed", "denied"]);
        for (label, requests, denied) in self.worst().into_iter().take(most) {
            table.row(&[
                label,
                &requests.to_string(),
                &(requests - denied).to_string(),
                &denied.to_string(),
            ]);
        }
        text += &table.text();
        if self.clients.len() > most {
            let _ = writeln!(
                text,
                "  and {} more; --clients N shows more",
                self.clients.len() - most
            );
        }
        if self.is_real {
            text += &self.decided_by();
        }
        for (count, what) in [(self.exempt, "exempt"), (self.no_client, "without a client")] {
            if count > 0 {
                let _ = writeln!(text, "{count} requests were {what}");
            }
        }
        for note in notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }

    /// What decided, and how long requests waited for Redis.
    fn decided_by(&self) -> String {
        let mut table = Table::new(&["decided by", "requests", "allowed", "denied"]);
        for (word, (requests, denied)) in &self.by {
            let numbers = [*requests, requests - denied, *denied].map(|number| number.to_string());
            let [requests, allowed, denied] = &numbers;
            table.row(&[word, requests, allowed, denied]);
        }
        let mut text = format!("\n{}", table.text());
        if let [Some(median), Some(slow), Some(longest)] = [50, 99, 100].map(|percent| self.waited(percent)) {
            let ms = |micros: u64| micros as f64 / 1e3;
            let _ = writeln!(
                text,
                "\nwaited for Redis: {:.1} ms at the median, {:.1} ms at the 99th percentile, {:.1} ms at most",
                ms(median),
                ms(slow),
                ms(longest)
            );
        }
        text
    }

    /// A percentile of the waiting times, in µs.
    fn waited(&self, percent: usize) -> Option<u64> {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let at = (waits.len() * percent).div_ceil(100).checked_sub(1)?;
        waits.get(at).copied()
    }

    pub fn json(&self, loaded: &Loaded, most: usize, notes: &[String]) -> Value {
        let limit = |(limit, of): (&headgate_core::limit::Limit, &LimitTally)| json!({"name": limit.name, "requests": of.held, "denied": of.denied, "in_shadow": of.in_shadow});
        let limits: Vec<Value> = loaded.policy.limits.iter().zip(&self.limits).map(limit).collect();
        let client = |(label, requests, denied): (&Rc<str>, u64, u64)| json!({"client": **label, "requests": requests, "denied": denied});
        let clients: Vec<Value> = self.worst().into_iter().take(most).map(client).collect();
        let by = self.by.iter().map(|(word, (requests, denied))| {
            (
                (*word).to_owned(),
                json!({"requests": requests, "denied": denied}),
            )
        });
        let by: Value = by.collect::<serde_json::Map<_, _>>().into();
        json!({
            "requests": self.requests,
            "allowed": self.requests - self.denied,
            "denied": self.denied,
            "exempt": self.exempt,
            "no_client": self.no_client,
            "decided_by": by,
            "limits": limits,
            "clients": clients,
            "notes": notes,
        })
    }

    pub fn plot(&self) -> Plot {
        Plot {
            title: self.summary(),
            step_s: self.step_s,
            bars: self.bars.clone(),
        }
    }
}
