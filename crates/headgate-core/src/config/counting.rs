//! How a limit counts: `algorithm` with its fields, `cost` and `lease`, and which of them go together.

use crate::config::node::{Fields, Node};
use crate::config::shape::{Object, Rule, Shape, TOKEN};
use crate::limit::{Algorithm, Align, Cost, CostRange, Override, Percent, Quota, MAX_LIMIT};
use crate::model::Store;

/// Up to this N, `auto` uses a log: exact, at some 50 bytes for each call.
const AUTO_LOG: u64 = 100;
/// The largest N of a log that is configured explicitly.
const LONGEST_LOG: u64 = 10_000;
/// Burst × period in ms stays exact in Lua's doubles up to here.
const MAX_PRODUCT: u128 = 1 << 53;

/// A number of requests, or of units of cost.
pub(super) const UNITS: Shape = Shape::Integer {
    least: 1,
    most: MAX_LIMIT,
};
/// At most N or the burst, which its reader knows.
pub(super) const FIXED_COST: Shape = Shape::Integer {
    least: 0,
    most: MAX_LIMIT,
};

/// A cost that is in a header.
pub(super) static COST: Object = Object {
    fields: &[
        ("header", TOKEN),
        ("response_header", TOKEN),
        ("min", FIXED_COST),
        ("max", UNITS),
    ],
    rules: &[
        Rule::ExactlyOne(&["header", "response_header"]),
        Rule::Required("max"),
    ],
};

/// `None`: by the largest N.
pub(super) const ALGORITHMS: [(&str, Option<Algorithm>); 5] = {
    let [fixed_window, log, counter, gcra] = Algorithm::NAMED;
    [
        ("auto", None),
        (fixed_window.0, Some(fixed_window.1)),
        (log.0, Some(log.1)),
        (counter.0, Some(counter.1)),
        (gcra.0, Some(gcra.1)),
    ]
};

pub(super) const ALIGN: [(&str, Align); 3] = [
    ("epoch", Align::Epoch),
    ("first_call", Align::FirstCall),
    ("client", Align::Client),
];

/// The values of `algorithm`, `burst`, `align`, `cost` and `lease`.
pub(super) struct CountingRules {
    pub algorithm: Algorithm,
    pub cost: Cost,
    pub lease: Option<Percent>,
}

pub(super) fn read(fields: &Fields, quota: Quota, overrides: &[Override], store: Store) -> CountingRules {
    let is_live = overrides.contains(&Override::Redis);
    let largest = largest_limit(quota, overrides);
    let algorithm = read_algorithm(fields, quota, largest, is_live);
    let most = match algorithm {
        Algorithm::Gcra { burst } if burst > 0 => burst,
        _ => largest.unwrap_or(MAX_LIMIT),
    };
    let cost = fields
        .get("cost")
        .and_then(|node| read_cost(&node, most))
        .unwrap_or(Cost::Fixed(1));
    let lease = fields
        .get("lease")
        .and_then(|node| node.percent())
        .filter(|share| *share != Percent::NONE);
    if let (Some(_), Some(node)) = (lease, fields.get("lease")) {
        if cost_is_read(&cost) {
            node.fail("a lease needs a cost that is known in advance; remove it, or write a fixed cost");
        }
        if store == Store::Local {
            node.fail("needs store: redis; with store: local every counter is in memory already");
        }
        if is_live {
            node.fail("a lease would outlive a live override; remove one of the two");
        }
    }
    if let (Cost::ResponseHeader { .. }, Algorithm::SlidingWindowLog, Some(node)) =
        (&cost, algorithm, fields.get("cost"))
    {
        node.fail("a cost from the response cannot be used with sliding_window_log; write algorithm: sliding_window_counter");
    }
    CountingRules {
        algorithm,
        cost,
        lease,
    }
}

fn cost_is_read(cost: &Cost) -> bool {
    !matches!(cost, Cost::Fixed(_))
}

/// The largest N of the limit and its overrides; `None` if all are unlimited.
fn largest_limit(quota: Quota, overrides: &[Override]) -> Option<u64> {
    let overridden = overrides.iter().filter_map(Override::quota);
    overridden.chain([quota]).filter_map(Quota::limit).max()
}

fn read_algorithm(fields: &Fields, quota: Quota, largest: Option<u64>, is_live: bool) -> Algorithm {
    let node = fields.get("algorithm");
    let written = node.as_ref().map(|node| node.choice(&ALGORITHMS));
    let choice = written.flatten().flatten();
    // If `algorithm` itself is invalid, it is unknown which of these it uses.
    if written != Some(None) {
        if !matches!(choice, Some(Algorithm::Gcra { .. })) {
            fields.refuse(
                &["burst"],
                "only gcra has a burst; remove it, or write algorithm: gcra",
            );
        }
        if !matches!(choice, Some(Algorithm::FixedWindow { .. })) {
            fields.refuse(
                &["align"],
                "only fixed_window has an alignment; remove it, or write algorithm: fixed_window",
            );
        }
    }
    match choice {
        // A log cannot charge on the response, and its N is bounded.
        None if !is_live
            && !is_charged_on_response(fields)
            && largest.is_some_and(|limit| limit <= AUTO_LOG) =>
        {
            Algorithm::SlidingWindowLog
        }
        None => Algorithm::SlidingWindowCounter,
        Some(Algorithm::FixedWindow { align }) => Algorithm::FixedWindow {
            align: fields
                .get("align")
                .and_then(|node| node.choice(&ALIGN))
                .unwrap_or(align),
        },
        Some(Algorithm::Gcra { .. }) => Algorithm::Gcra {
            burst: read_burst(fields, quota),
        },
        Some(algorithm) => {
            if let (Algorithm::SlidingWindowLog, Some(node)) = (algorithm, node) {
                check_log(&node, largest, is_live);
            }
            algorithm
        }
    }
}

fn check_log(node: &Node, largest: Option<u64>, is_live: bool) {
    if let Some(largest) = largest.filter(|largest| *largest > LONGEST_LOG) {
        node.fail(&format!(
            "stores the time of every call, and the largest N here is {largest}; above {LONGEST_LOG} use sliding_window_counter"
        ));
    }
    if is_live {
        node.fail(
            "stores the time of every call, and {from: redis} may raise N to any number; use sliding_window_counter",
        );
    }
}

/// 0 by default: equal to the current N.
fn read_burst(fields: &Fields, quota: Quota) -> u64 {
    let node = fields.get("burst");
    let burst = fields.integer("burst").unwrap_or(0);
    if let (Quota::Limited(rate), Some(node)) = (quota, &node) {
        if u128::from(burst) * u128::from(rate.period.as_millis()) > MAX_PRODUCT {
            node.fail("burst times the period in ms is above 2^53; lower it or shorten the period");
        }
    }
    burst
}

/// `most` is the most that can pass at once: N, or the burst.
fn read_cost(node: &Node, most: u64) -> Option<Cost> {
    // A limit of 0 always denies, whatever a call costs.
    let range = |least| least..=if most == 0 { MAX_LIMIT } else { most };
    if !node.value().is_object() {
        return node.integer(range(0)).map(Cost::Fixed);
    }
    let fields = node.fields(&COST)?;
    let (place, header) = fields.exactly_one(&["header", "response_header"])?;
    let max = fields.required("max", "write the most that one call may cost");
    let max = max.and_then(|node| node.integer(range(1)));
    // The cost in a caller's own header is at least 1, unless `min` is 0.
    let least = u64::from(place == "header");
    let min = match fields.get("min") {
        Some(node) => node.integer(0..=max.unwrap_or(MAX_LIMIT)),
        None => Some(least.min(max.unwrap_or(least))),
    };
    let name = header.header_name()?;
    let range = CostRange { min: min?, max: max? };
    Some(match place {
        "header" => Cost::Header { name, range },
        _ => Cost::ResponseHeader { name, range },
    })
}

/// Whether the cost is charged on the response, even if it has other errors.
fn is_charged_on_response(fields: &Fields) -> bool {
    let cost = fields.get("cost");
    cost.is_some_and(|node| node.get("response_header").is_some())
}
