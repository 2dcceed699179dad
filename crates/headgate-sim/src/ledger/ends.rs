//! The rules for the end of a history, when no event is planned.

use super::{Ledger, RequestEnd, RequestRecord};
use crate::draw::WELL_AGAIN;
use crate::network::journal::Execution;
use crate::script::{Call, Mode};
use crate::time::{Micros, MS};
use crate::world::{EngineInstance, World};
use headgate_core::engine::Sizes;
use headgate_core::identify::Headers;
use headgate_core::limit::{Charge, Group};
use headgate_core::model::{Cost, Store};
use std::collections::BTreeSet;

/// Checks the end of a history. `came_to_an_end`: no event was left.
pub fn check(world: &mut World<Ledger>, came_to_an_end: bool) {
    let mut broken = Vec::new();
    if !came_to_an_end {
        broken.push((
            "quiet",
            "the world does not become quiet: something ticks forever".to_owned(),
        ));
    }
    for (index, instance) in world.engines() {
        let engine = &instance.engine;
        let gauges = engine.gauges();
        let counts = [
            ("requests wait", engine.pending_requests()),
            ("calls are in flight", engine.calls_in_flight()),
            ("calls have not ended", engine.transport().waiting()),
            ("requests are not over", instance.users),
        ];
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            broken.push(("quiet", format!("{count} {what} in engine {index}")));
        }
        broken.extend(sizes(index, instance));
        let ledger = &world.observer;
        let network = ledger.network.borrow();
        let open = network.open_streams(index);
        let most = engine.transport().streams.shards() + 1;
        if open > most {
            broken.push((
                "memory",
                format!("{open} streams are open in engine {index}, of {most}"),
            ));
        }
        let called = ledger
            .calls
            .values()
            .any(|call| call.engine == index && call.made >= WELL_AGAIN);
        if called
            && network.settings.discovery
            && network.settings.shards > 0
            && !network.has_learned_slot_owners(index)
        {
            broken.push((
                "learns-slot-owners",
                format!("engine {index} has not record who owns which slots"),
            ));
        }
        let most = MOST_TICKS + 30 * ledger.arrivals_at(index);
        if instance.ticks > most {
            broken.push((
                "ticks",
                format!("engine {index} ticked {} times, of {most}", instance.ticks),
            ));
        }
        if gauges.breakers_open > 0 {
            broken.push((
                "breaker-closes",
                format!("{} are open in engine {index}", gauges.breakers_open),
            ));
        }
    }
    let ledger = &mut world.observer;
    for (rule, what) in broken {
        ledger.broke(rule, what);
    }
    ledger.read();
    for engine in 0..ledger.engines.len() {
        let lives = ledger.engines[engine].dropped.is_none();
        ledger.check_events(engine, lives);
    }
    ledger.check_all_decided();
    ledger.check_costs();
    ledger.check_given_back();
    ledger.check_laws();
}

impl Ledger {
    fn check_all_decided(&mut self) {
        let open = |caller: &usize| {
            let record = self.request(*caller);
            record.is_none_or(|record| record.decided.is_none() && record.left.is_none())
        };
        let open: Vec<usize> = (0..self.requests.len()).filter(open).collect();
        if !open.is_empty() {
            self.broke("decided-once", format!("requests {open:?} were never decided"));
        }
    }

    /// Checks that the costs of responses are charged once, with the right values.
    fn check_costs(&mut self) {
        let mut broken = Vec::new();
        let mut charged = BTreeSet::<u64>::new();
        let network = self.network.clone();
        let network = network.borrow();
        for (caller, record) in self.requests.iter().enumerate() {
            let Some(record) = record else { continue };
            charged.extend(&record.charges);
            let (due, at) = match record.ended {
                Some((at, end)) => (self.due(caller, end), at),
                None => (Vec::new(), 0),
            };
            let made = record.charges.len() + record.charges_refused;
            if made != due.len() {
                broken.push(format!(
                    "request {caller} owes {} groups, and {made} calls charge it",
                    due.len()
                ));
                continue;
            }
            for (tag, due) in record.charges.iter().zip(&due) {
                match self.calls[tag]
                    .execution
                    .map(|index| &network.journal.executions[index].call)
                {
                    Some(call) if !charges(call, due) => {
                        broken.push(format!(
                            "request {caller} is not charged what it owes, but {call}"
                        ));
                    }
                    // A dropped engine loses its last calls.
                    None if self.lives(record.engine, at + TRAVEL)
                        && self.is_healthy(record, at + TRAVEL) =>
                    {
                        broken.push(format!(
                            "request {caller} is not charged what it owes, call {tag}"
                        ));
                    }
                    _ => {}
                }
            }
        }
        for execution in &network.journal.executions {
            let known = execution.call.tag.is_some_and(|tag| charged.contains(&tag));
            if execution.call.mode == Mode::Charge && !known {
                broken.push(format!(
                    "charged without a request that owes it: {}",
                    execution.call
                ));
            }
        }
        for what in broken {
            self.broke("costs-once", what);
        }
    }

    /// The number of requests that arrived at the engine.
    fn arrivals_at(&self, engine: usize) -> u64 {
        let of = |record: &&RequestRecord| record.engine == engine;
        self.requests.iter().flatten().filter(of).count() as u64
    }

    /// Whether a call that the request makes at this time is certain to be executed.
    fn arrives(&self, record: &RequestRecord, at: Micros) -> bool {
        let until = at + TRAVEL;
        self.lives(record.engine, until)
            && self.is_healthy(record, until)
            && self.stalled(record.engine, record.at, until) == 0
    }

    fn lives(&self, engine: usize, until: Micros) -> bool {
        self.engines[engine].dropped.is_none_or(|at| at > until)
    }

    /// The costs that must be charged in Redis when a request ends: one group for each call.
    fn due(&self, caller: usize, end: RequestEnd) -> Vec<Group> {
        let engine = self.request(caller).map(|record| record.engine);
        match engine.map(|engine| self.engines[engine].policy.store) {
            Some(Store::Redis) => self.due_of(caller, end),
            _ => Vec::new(),
        }
    }

    /// The costs that must be charged when a request ends: one group for each call.
    pub(super) fn due_of(&self, caller: usize, end: RequestEnd) -> Vec<Group> {
        let Some(record) = self.request(caller) else {
            return Vec::new();
        };
        let policy = &self.engines[record.engine].policy;
        let response = crate::request::UpstreamResponse {
            headers: &self.scenario.arrivals[caller].response,
            request: &self.scenario.arrivals[caller].request,
        };
        let mut cost = |limit: usize| match (&policy.limits[limit].cost, end) {
            (Cost::ResponseHeader { name, range }, RequestEnd::Response) => {
                range.charged(range.read(&response.header(name)))
            }
            (Cost::ResponseHeader { range, .. }, RequestEnd::CallerLeft) => range.unread(),
            _ => 0,
        };
        let groups = record.groups.iter();
        groups
            .filter_map(|group| group.response_charges(&mut cost))
            .collect()
    }

    /// Checks that the charges of refused requests are refunded once, and no others.
    fn check_given_back(&mut self) {
        let network = self.network.clone();
        let network = network.borrow();
        let executions = &network.journal.executions;
        let mut back: Vec<&Call> = executions
            .iter()
            .map(|execution| &execution.call)
            .filter(|call| call.mode == Mode::GiveBack)
            .collect();
        let mut broken = Vec::new();
        // Calls of several requests may look the same. Match those that must be refunded first.
        for must in [true, false] {
            for (caller, record) in self.requests.iter().enumerate() {
                for (tag, execution, is_due) in self.to_give_back(record.as_ref(), executions) {
                    if is_due != must {
                        continue;
                    }
                    let is_back = |call: &&Call| gives_back(call, &execution.call, &execution.result.marks);
                    match back.iter().position(is_back) {
                        Some(at) => {
                            back.swap_remove(at);
                        }
                        None if must => broken.push(format!(
                            "request {caller} was refused, but the charge of call {tag} is not refunded"
                        )),
                        None => {}
                    }
                }
            }
        }
        for call in back {
            broken.push(format!("refunded, but not charged by a refused request: {call}"));
        }
        for what in broken {
            self.broke("denied-costs-nothing", what);
        }
    }
}

impl Ledger {
    /// The calls of a refused request that charged something before the refusal, and whether the refund is certain to be
    /// executed.
    fn to_give_back<'j>(
        &self,
        record: Option<&RequestRecord>,
        executions: &'j [Execution],
    ) -> Vec<(u64, &'j Execution, bool)> {
        let Some((record, decided)) = record.and_then(|record| Some((record, record.decided.as_ref()?)))
        else {
            return Vec::new();
        };
        if decided.passes || decided.by_fallback {
            return Vec::new();
        }
        let is_due = self.arrives(record, decided.at);
        let taken = record.tags.iter().filter_map(|tag| {
            let called = &self.calls[tag];
            let execution = &executions[called.execution?];
            let took = execution.result.admitted && execution.result.marks.iter().any(Option::is_some);
            let (at, counted) = called.ended?;
            (took && counted && at <= decided.at).then_some((*tag, execution, is_due))
        });
        taken.collect()
    }
}

/// Whether the call charges the costs in `due`.
fn charges(call: &Call, due: &Group) -> bool {
    let same = |(charged, due_charge): (&Charge, &Charge)| {
        super::decided::is_same(&call.group, charged, due, due_charge) && charged.cost == due_charge.cost
    };
    call.mode == Mode::Charge
        && call.group.charges.len() == due.charges.len()
        && call.group.charges.iter().zip(&due.charges).all(same)
}

/// Whether the call refunds the charges of another.
fn gives_back(call: &Call, taken: &Call, marks: &crate::model::Marks) -> bool {
    let taken_marks = marks.iter().zip(&taken.group.charges);
    let same = call.group.keys == taken.group.keys && call.group.charges.len() == taken.group.charges.len();
    same && call
        .marks
        .iter()
        .zip(taken_marks)
        .zip(&call.group.charges)
        .all(|((mark, (taken, charge)), back)| mark == taken && (mark.is_none() || back.cost == charge.cost))
}

/// Whether an engine still holds something that should be gone.
fn sizes(index: usize, instance: &EngineInstance) -> Option<(&'static str, String)> {
    let sizes = instance.engine.sizes();
    let empty = Sizes {
        denials: sizes.denials,
        ..Sizes::default()
    };
    let most = instance.policy.verdict_cache.entries;
    let bounded = sizes == empty && sizes.denials <= most;
    (!bounded).then(|| ("memory", format!("engine {index} holds {sizes:?}")))
}

/// The maximum number of ticks of an engine, in addition to 30 for each request.
const MOST_TICKS: u64 = 3_000;

/// Without faults, a command is executed within this time after sending, in µs.
const TRAVEL: Micros = 100 * MS;

/// A history ends after this many events at the latest.
pub const MOST_EVENTS: u64 = 400_000;
