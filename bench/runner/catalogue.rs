//! The setups that are compared.

use crate::host_calls::Asks;
use crate::load::Callers;
use crate::options::{Load, Options};
use crate::ratelimit::{self, Quota};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub struct Setup {
    pub name: String,
    /// A description in one line, for the report.
    pub what: String,
    pub kind: Kind,
    /// The numbers of keys with which the setup is measured; empty: all.
    keys: &'static [usize],
    /// One caller sends everything.
    hot: bool,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// Envoy without a limiter.
    Floor,
    /// Envoy's own local_ratelimit.
    Local,
    /// A module that makes the same host calls as Headgate and computes nothing.
    HostCalls(Asks),
    /// Envoy's own ratelimit with a rate-limit service.
    Service,
    /// The same with envoyproxy/ratelimit and a descriptor for each quota.
    Ratelimit { store: Store, quotas: &'static [Quota] },
    Headgate {
        store: Store,
        policy: String,
        callers: Callers,
        /// A module to use in place of the one that was built.
        module: Option<PathBuf>,
    },
    /// Without Envoy: redis-benchmark calls the counting script for this policy.
    Script { store: Store, policy: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Cluster,
    Single,
}

impl Setup {
    fn new(name: impl Into<String>, what: impl Into<String>, kind: Kind) -> Setup {
        Setup {
            name: name.into(),
            what: what.into(),
            kind,
            keys: &[],
            hot: false,
        }
    }

    /// Limits this setup to few keys. The other setups show the effect of many keys.
    fn with_few_keys(mut self) -> Setup {
        self.keys = &[1_000];
        self
    }

    fn with_hot_key(mut self) -> Setup {
        self.hot = true;
        self
    }

    /// The same setup with another name, and with this module in place of Headgate's.
    pub fn with_module(&self, name: &str, of: &Path) -> Setup {
        let mut setup = self.clone();
        setup.name = name.to_owned();
        if let Kind::Headgate { module, .. } = &mut setup.kind {
            *module = Some(of.to_owned());
        }
        setup
    }

    pub fn takes(&self, load: Load) -> bool {
        self.keys.is_empty() || self.keys.contains(&load.keys)
    }

    /// The actual load of this setup. A setup with one hot key has only one key.
    pub fn load(&self, load: Load) -> Load {
        let keys = if self.hot { 1 } else { load.keys };
        Load { keys, ..load }
    }
}

pub const NONE: &str = "none";
pub const RLS: &str = "rls";
pub const RATELIMIT: &str = "ratelimit";
pub const REDIS_SINGLE: &str = "redis/single";
pub const SINGLE: &str = "headgate/single";
pub const FOUR: &str = "headgate/four";
pub const LEASE: &str = "headgate/lease";
pub const SEEN: &str = "headgate/fixed_window";
pub const UNSEEN: &str = "headgate/unseen";
const PATHS: &str = "headgate/paths";

/// The setups that are measured in pairs if `SETUPS` is empty.
const PAIRED: [&str; 4] = [SINGLE, SEEN, "headgate/fixed_window/denied", LEASE];

/// The algorithms, each with a rate that no load of the benchmark reaches. A log must stay short, so it has a short
/// window.
pub const ALGORITHMS: [(&str, &str); 4] = [
    ("fixed_window", "10000000/hour"),
    ("sliding_window_counter", "10000000/hour"),
    ("gcra", "10000000/hour"),
    ("sliding_window_log", "100/3s"),
];

/// A rate that each client has used up after its first request.
const SPENT: &str = "1/day";

/// A rate that no caller reaches.
const FREE: &str = "100000000/day";

const PARTNER_SOURCE: &str = "identify: [{header: x-api-key}, {name: partner, header: x-partner}]\n";
const CLIENTS: &str = ", match: {source: [api_key]}";
const PARTNERS: &str = ", match: {source: [partner]}";

/// All selected setups. The setup without a limiter comes first.
pub fn setups(options: &Options) -> Vec<Setup> {
    let mut all = vec![
        Setup::new(NONE, "Envoy without a limiter", Kind::Floor),
        Setup::new(
            "local",
            "Envoy's local_ratelimit: one token bucket for all, in memory",
            Kind::Local,
        ),
        Setup::new(
            RLS,
            "Envoy's ratelimit filter and a service on limitador; single Redis",
            Kind::Service,
        ),
    ];
    all.extend(services());
    for (name, what, asks) in [
        (
            "nothing",
            "a module with callbacks that do nothing",
            Asks::Nothing,
        ),
        (
            "pass",
            "a module that asks of Envoy what a pass from a lease does, and computes nothing",
            Asks::Pass,
        ),
        ("denied", "the same of a known denial", Asks::Denial),
    ] {
        all.push(Setup::new(format!("host/{name}"), what, Kind::HostCalls(asks)).with_few_keys());
    }
    let script = |name: &str, store, policy| {
        let place = if store == Store::Single {
            "; single Redis"
        } else {
            ""
        };
        let what = format!("no Envoy: the same script by redis-benchmark -P 1{place}");
        Setup::new(format!("redis/{name}"), what, Kind::Script { store, policy })
    };
    let [(fixed, rate), ..] = ALGORITHMS;
    all.push(script("single", Store::Single, one(fixed, rate)));
    all.extend(ALGORITHMS.map(|(algorithm, rate)| script(algorithm, Store::Cluster, one(algorithm, rate))));
    all.push(script("four", Store::Cluster, four(&[day("", FREE)])));
    all.push(headgate(
        SINGLE,
        "fixed window; the same single Redis as rls",
        Store::Single,
        one(fixed, rate),
        Callers::All,
    ));
    for (algorithm, rate) in ALGORITHMS {
        let name = format!("headgate/{algorithm}");
        let counts = format!("one limit, {}", algorithm.replace('_', " "));
        all.extend(three_ways(
            &name,
            &counts,
            one(algorithm, rate),
            one(algorithm, SPENT),
            half(algorithm, rate),
        ));
    }
    let ways = [
        four(&[day("", FREE)]),
        four(&[day("", SPENT)]),
        four(&[day(CLIENTS, SPENT), day(PARTNERS, FREE)]),
    ];
    let [allowed, denied, halved] = ways;
    let counts = "four limits: two fixed windows, counter, gcra";
    all.extend(three_ways(
        FOUR,
        counts,
        allowed,
        denied,
        PARTNER_SOURCE.to_owned() + &halved,
    ));
    // To measure the cost of metrics and logs: the same policy without them.
    let quiet = "metrics: {enabled: false}\nlog: {denials_per_second: 0}\n";
    for (end, what, rate) in [("", "all allowed", rate), ("/denied", "all denied", SPENT)] {
        all.push(
            headgate(
                &format!("{UNSEEN}{end}"),
                &format!("one limit, fixed window, no metrics and no log lines; {what}"),
                Store::Cluster,
                one(fixed, rate) + quiet,
                Callers::All,
            )
            .with_few_keys(),
        );
    }
    let lease =
        "limits: [{name: hot, rate: 10000000/hour, algorithm: fixed_window, lease: 10%}]\n".to_owned();
    all.push(
        headgate(
            LEASE,
            "fixed window, one hot key with leases",
            Store::Cluster,
            lease,
            Callers::All,
        )
        .with_few_keys()
        .with_hot_key(),
    );
    all.retain(|setup| options.wants(&setup.name));
    all
}

/// The setups with Headgate for measurements in pairs. The setup with path patterns exists only here.
pub fn paired(options: &Options) -> Vec<Setup> {
    let paths = headgate(
        PATHS,
        "four limits that match on paths, fixed window; single Redis",
        Store::Single,
        paths(),
        Callers::All,
    );
    let mut all = setups(options);
    all.retain(|setup| matches!(setup.kind, Kind::Headgate { .. }));
    all.push(paths);
    all.retain(|setup| match options.wants_all() {
        true => PAIRED.contains(&setup.name.as_str()),
        false => options.wants(&setup.name),
    });
    all
}

/// The setups of envoyproxy/ratelimit. Each corresponds to a setup of Headgate.
fn services() -> [Setup; 4] {
    let setup = |end: &str, what: &str, store, quotas| {
        let what = format!("Envoy's ratelimit filter and envoyproxy/ratelimit: {what}");
        Setup::new(
            format!("{RATELIMIT}{end}"),
            what,
            Kind::Ratelimit { store, quotas },
        )
    };
    [
        setup(
            "",
            "one descriptor; the same single Redis as rls",
            Store::Single,
            ratelimit::ONE,
        ),
        setup("/cluster", "one descriptor", Store::Cluster, ratelimit::ONE),
        setup("/four", "four descriptors", Store::Cluster, ratelimit::FOUR).with_few_keys(),
        setup(
            "/denied",
            "one descriptor; all denied, from its local cache",
            Store::Cluster,
            ratelimit::SPENT,
        )
        .with_few_keys(),
    ]
}

fn headgate(name: &str, what: &str, store: Store, policy: String, callers: Callers) -> Setup {
    Setup::new(
        name,
        what,
        Kind::Headgate {
            store,
            policy,
            callers,
            module: None,
        },
    )
}

fn three_ways(name: &str, counts: &str, allowed: String, denied: String, half: String) -> [Setup; 3] {
    let setup = |end: &str, what: &str, policy, callers| {
        headgate(
            &format!("{name}{end}"),
            &format!("{counts}; {what}"),
            Store::Cluster,
            policy,
            callers,
        )
    };
    [
        setup("", "all allowed", allowed, Callers::All),
        setup("/half", "half denied", half, Callers::HalfPartners).with_few_keys(),
        setup("/denied", "all denied", denied, Callers::All).with_few_keys(),
    ]
}

fn one(algorithm: &str, rate: &str) -> String {
    format!("limits: [{{name: one, rate: {rate}, algorithm: {algorithm}}}]\n")
}

/// A policy under which all clients are over their limit, and partners never are.
fn half(algorithm: &str, rate: &str) -> String {
    format!(
        "{PARTNER_SOURCE}limits:\n\
         - {{name: one, rate: {SPENT}, algorithm: {algorithm}{CLIENTS}}}\n\
         - {{name: two, rate: {rate}, algorithm: {algorithm}{PARTNERS}}}\n"
    )
}

/// Four limits of constant size for each client; `last` is the fourth.
fn four(last: &[String]) -> String {
    format!(
        "limits:\n\
         - {{name: second, rate: 1000000/second, algorithm: fixed_window}}\n\
         - {{name: minute, rate: 1000000/minute, algorithm: sliding_window_counter}}\n\
         - {{name: hour, rate: 10000000/hour, algorithm: gcra}}\n{}",
        last.concat()
    )
}

fn day(matches: &str, rate: &str) -> String {
    let name = if matches == PARTNERS {
        "partners-day"
    } else {
        "day"
    };
    format!("- {{name: {name}, rate: {rate}, algorithm: fixed_window{matches}}}\n")
}

/// Four limits with conditions on paths. `/` fits only the third, and `/orders/42` the second and the third.
fn paths() -> String {
    let [(algorithm, rate), ..] = ALGORITHMS;
    let limit = |name: &str, matches: &str| {
        format!("- {{name: {name}, rate: {rate}, algorithm: {algorithm}, match: {matches}}}\n")
    };
    [
        "limits:\n",
        &limit("exact", "{path: /orders}"),
        &limit("template", "{path: '/orders/{id}'}"),
        &limit("all", "{path: '/**'}"),
        &limit("two", "[{path: /carts}, {path: '/carts/{id}'}]"),
    ]
    .concat()
}
