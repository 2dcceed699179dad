//! `headgate simulate`: how many requests of some traffic a policy denies, by limit and by client, without a Redis.

use super::charges::show_quota;
use super::engine::Engine;
use super::plot::{self, Plot};
use super::policies::{load, Loaded};
use super::table::Table;
use super::traffic::{self, Event};
use super::{input, replay, Failure, Output};
use headgate_core::decision::Outcome;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["traffic", "replay"])))]
pub struct Args {
    /// A file as `headgate check` takes it
    file: String,
    /// Traffic in a line; may be repeated, all of it then comes together
    #[arg(long, value_name = "LINE", long_help = format!("Traffic in a line; may be repeated, all of it then comes together: {}", traffic::GRAMMAR))]
    traffic: Vec<String>,
    /// An access log: the shipped JSON lines, common log format or Envoy's default
    #[arg(long, value_name = "LOG")]
    replay: Option<String>,
    /// Only this instance of several
    #[arg(long)]
    instance: Option<String>,
    /// Writes a plot of allowed and denied requests over time
    #[arg(long, value_name = "FILE")]
    svg: Option<String>,
    /// So many clients in the table, those with most denials first
    #[arg(long, default_value_t = 10, value_name = "N")]
    clients: usize,
    /// JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<Output, Failure> {
    let mut all = load(&args.file, args.instance.as_deref())?;
    let (Some(loaded), true) = (all.pop(), all.is_empty()) else {
        return Err(Failure::new(format!(
            "{}: several instances; choose one by --instance",
            args.file
        )));
    };
    let hasher = input::hasher();
    let mut events = Vec::new();
    for line in &args.traffic {
        events.extend(traffic::generate(line, &loaded.policy, &hasher)?);
    }
    let mut notes = Vec::new();
    if !loaded.policy.enabled {
        notes.push("enabled: false: the filter lets everything by; this is what it would do".to_owned());
    }
    if let Some(file) = &args.replay {
        let replay = replay::read(&input::read(file)?, &loaded.policy, &hasher)?;
        if replay.skipped > 0 {
            notes.push(format!(
                "{} lines are not understood, the first is {file}:{}",
                replay.skipped, replay.first_skipped
            ));
        }
        if replay.without_address > 0 {
            notes.push(format!(
                "{} requests have no address in the log, and each of their clients one of its own here: limits by address \
                 count less than they would; log %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% as \"address\"",
                replay.without_address
            ));
        }
        events.extend(replay.events);
    }
    events.sort_by_key(|event| event.time_us);
    let tally = Tally::run(&loaded, &events);
    if let Some(file) = &args.svg {
        std::fs::write(file, tally.plot().svg()).map_err(|error| Failure::new(format!("{file}: {error}")))?;
    }
    Ok(Output::text(match args.json {
        true => format!("{:#}\n", tally.json(&loaded, args.clients, &notes)),
        false => tally.text(&loaded, args.clients, &notes),
    }))
}

/// Of one limit.
#[derive(Default, Clone)]
struct OfLimit {
    /// Requests that it held for.
    held: u64,
    denied: u64,
    /// Those that it would have denied.
    in_shadow: u64,
}

/// What became of all requests.
struct Tally {
    requests: u64,
    denied: u64,
    exempt: u64,
    /// The caller is not identified.
    no_client: u64,
    span_us: u64,
    limits: Vec<OfLimit>,
    /// Requests and denials.
    clients: BTreeMap<Rc<str>, (u64, u64)>,
    step_s: f64,
    bars: Vec<(u64, u64)>,
}

impl Tally {
    fn run(loaded: &Loaded, events: &[Event]) -> Tally {
        let start = events.first().map_or(0, |event| event.time_us);
        let span_us = events.last().map_or(0, |event| event.time_us) - start;
        let step_s = plot::step(span_us as f64 / 1e6);
        let step_us = (step_s * 1e6) as u64;
        let mut tally = Tally {
            requests: 0,
            denied: 0,
            exempt: 0,
            no_client: 0,
            span_us,
            limits: vec![OfLimit::default(); loaded.policy.limits.len()],
            clients: BTreeMap::new(),
            step_s,
            bars: vec![(0, 0); (span_us / step_us) as usize + 1],
        };
        let mut engine = Engine::new(&loaded.policy, input::hasher());
        for event in events {
            let counting = engine.count(event.time_us, &*event.request, &event.identity, event.cost);
            let refused = counting.decision.refuses();
            tally.requests += 1;
            tally.denied += u64::from(refused);
            match counting.decision.outcome {
                Outcome::Exempt => tally.exempt += 1,
                Outcome::NoClient { .. } | Outcome::AmbiguousClient => tally.no_client += 1,
                _ => {}
            }
            let limits = &mut tally.limits;
            let mut count = |indices: &[usize], add: fn(&mut OfLimit)| {
                indices.iter().for_each(|index| {
                    if let Some(limit) = limits.get_mut(*index) {
                        add(limit);
                    }
                });
            };
            count(&counting.held, |limit| limit.held += 1);
            count(&counting.denied_by, |limit| limit.denied += 1);
            count(&counting.decision.shadow, |limit| limit.in_shadow += 1);
            let client = tally.clients.entry(Rc::clone(&event.label)).or_default();
            client.0 += 1;
            client.1 += u64::from(refused);
            if let Some(bar) = tally.bars.get_mut(((event.time_us - start) / step_us) as usize) {
                match refused {
                    true => bar.1 += 1,
                    false => bar.0 += 1,
                }
            }
        }
        tally
    }

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

    fn text(&self, loaded: &Loaded, most: usize, notes: &[String]) -> String {
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

    fn json(&self, loaded: &Loaded, most: usize, notes: &[String]) -> Value {
        let limit = |(limit, of): (&headgate_core::limit::Limit, &OfLimit)| json!({"name": limit.name, "requests": of.held, "denied": of.denied, "in_shadow": of.in_shadow});
        let limits: Vec<Value> = loaded.policy.limits.iter().zip(&self.limits).map(limit).collect();
        let client = |(label, requests, denied): (&Rc<str>, u64, u64)| json!({"client": **label, "requests": requests, "denied": denied});
        let clients: Vec<Value> = self.worst().into_iter().take(most).map(client).collect();
        json!({
            "requests": self.requests,
            "allowed": self.requests - self.denied,
            "denied": self.denied,
            "exempt": self.exempt,
            "no_client": self.no_client,
            "limits": limits,
            "clients": clients,
            "notes": notes,
        })
    }

    fn plot(&self) -> Plot {
        Plot {
            title: self.summary(),
            step_s: self.step_s,
            bars: self.bars.clone(),
        }
    }
}
