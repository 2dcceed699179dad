//! Random limits, calls and clocks.

use headgate_core::limit::algorithm::EXACT;
use headgate_core::limit::{Algorithm, Align, Charge, Group, LiveOverride, Period, Rate};
use proptest::prelude::*;

/// Where the clock starts.
pub const START_MS: u64 = 1_700_000_000_000;

#[derive(Debug, Clone)]
pub struct Limit {
    pub algorithm: Algorithm,
    pub n: u64,
    pub period_ms: u64,
    pub phase_ms: u64,
    /// In a hash of its own.
    pub own_key: bool,
    /// `Some(true)`: unlimited without a live override.
    pub live: Option<bool>,
}

/// What one call asks of one limit.
#[derive(Debug, Clone)]
pub struct Ask {
    pub matches: bool,
    /// In 256ths of N + 1, so that it fits any N.
    pub cost: u8,
    pub cheap: bool,
    pub charged_on_response: bool,
    pub enforced: bool,
}

#[derive(Debug, Clone)]
pub enum Step {
    Call(Vec<Ask>),
    Charge(Vec<Ask>),
    /// Permits that are spent later.
    Lease(Vec<Ask>),
    /// Of which admitted call; each is given back once.
    GiveBack(usize),
    /// Which limit, and what its N becomes.
    Change(usize, u64),
    /// Of which limit, to what; and whether the hash is made to stay, as the command does it, or that is left to the
    /// script.
    Override(usize, Option<String>, bool),
}

/// How the clock moves before a step, in thousandths of the first limit's period, and additionally in µs.
pub type Tick = (i64, i64);

pub fn limit(algorithm: impl Strategy<Value = Algorithm>) -> impl Strategy<Value = Limit> {
    // Small numbers, where every edge is met, and the largest that arithmetic has to bear.
    let rate = prop_oneof![
        4 => (0_u64..7, prop_oneof![Just(1_000_u64), Just(1_001), Just(1_500), Just(3_000), Just(60_000)]),
        1 => (1_000_u64..=366 * 86_400_000, 0_u64..3)
            .prop_map(|(period, below)| ((EXACT / period).min(1_000_000_000) - below, period)),
    ];
    (
        algorithm,
        rate,
        0_u64..1_000,
        prop::bool::weighted(0.2),
        prop_oneof![3 => Just(None), 1 => Just(Some(false)), 1 => Just(Some(true))],
    )
        .prop_map(|(algorithm, (n, period_ms), phase_ms, own_key, live)| Limit {
            algorithm: match algorithm {
                Algorithm::Gcra { burst } if period_ms > 60_000 => Algorithm::Gcra {
                    burst: burst.min(EXACT / period_ms),
                },
                other => other,
            },
            n: if algorithm == Algorithm::SlidingWindowLog {
                n.min(40)
            } else {
                n
            },
            period_ms,
            phase_ms,
            own_key,
            live,
        })
}

pub fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        fixed(),
        Just(Algorithm::SlidingWindowCounter),
        Just(Algorithm::SlidingWindowLog),
        gcra()
    ]
}

pub fn fixed() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Align::Epoch), Just(Align::FirstCall), Just(Align::Client)]
        .prop_map(|align| Algorithm::FixedWindow { align })
}

pub fn gcra() -> impl Strategy<Value = Algorithm> {
    (0_u64..6).prop_map(|burst| Algorithm::Gcra { burst })
}

pub fn ask() -> impl Strategy<Value = Ask> {
    (
        prop::bool::weighted(0.9),
        any::<u8>(),
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(matches, cost, cheap, charged_on_response, enforced)| Ask {
            matches,
            cost,
            cheap,
            charged_on_response,
            enforced,
        })
}

pub fn asks() -> impl Strategy<Value = Vec<Ask>> {
    prop::collection::vec(ask(), 4)
}

pub fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        2 => Just(None),
        4 => (0_u64..8).prop_map(|n| Some(n.to_string())),
        2 => Just(Some("unlimited".to_owned())),
        1 => Just(Some("99999999999999999999".to_owned())),
        2 => (0_u64..8, 0_u64..4).prop_map(|(n, s)| Some(format!("{n} {}", START_MS + s * 1_000))),
        1 => prop::sample::select(vec!["", "-1", "x", "5 ", "5 6 7", "0x9", "1e2", "unlimited now"])
            .prop_map(|text| Some(text.to_owned())),
    ];
    prop_oneof![
        16 => asks().prop_map(Step::Call),
        1 => asks().prop_map(Step::Charge),
        2 => asks().prop_map(Step::Lease),
        2 => any::<usize>().prop_map(Step::GiveBack),
        1 => (any::<usize>(), 0_u64..9).prop_map(|(limit, n)| Step::Change(limit, n)),
        1 => (any::<usize>(), value, any::<bool>())
            .prop_map(|(limit, value, persist)| Step::Override(limit, value, persist)),
    ]
}

pub fn tick() -> impl Strategy<Value = Tick> {
    let thousandths = prop_oneof![
        6 => Just(0_i64),
        6 => 0_i64..400,
        3 => prop::sample::select(vec![1_000_i64, 2_000, 3_000, -1_000, 500]),
        2 => 0_i64..2_500,
        2 => -1_200_i64..0,
        1 => -90_000_i64..90_000,
    ];
    let us =
        prop_oneof![6 => Just(0_i64), 2 => Just(1), 1 => Just(-1), 2 => 0_i64..3_000, 1 => -1_500_i64..0];
    (thousandths, us)
}

pub const HASH: &str = "ratelimit:main:{api_key:k}";

fn field(at: usize, limit: &Limit) -> String {
    format!("l{at}:{}:{}", limit.algorithm.form().as_str(), limit.period_ms)
}

/// The charges of one call, for each limit; `None`: the limit is not charged.
pub fn asked(limits: &[Limit], asks: &[Ask], response_costs: bool) -> Option<Group> {
    let mut keys = vec![HASH.as_bytes().to_vec()];
    let mut charges = Vec::new();
    for (at, (limit, ask)) in limits.iter().zip(asks).enumerate() {
        if !ask.matches {
            continue;
        }
        let mut key = 0;
        if limit.own_key || limit.algorithm == Algorithm::SlidingWindowLog {
            key = keys.len();
            keys.push(format!("{HASH}:{}", field(at, limit)).into_bytes());
        }
        let costly = u64::try_from(u128::from(ask.cost) * u128::from(limit.n + 2) / 256).unwrap();
        charges.push(Charge {
            limit: at,
            matched: None,
            key,
            field: field(at, limit).into(),
            algorithm: limit.algorithm,
            rate: Rate {
                limit: limit.n,
                period: Period::from_millis(limit.period_ms).unwrap(),
            },
            cost: if ask.cheap {
                u64::from(ask.cost.min(3))
            } else {
                costly
            },
            charged_on_response: ask.charged_on_response && response_costs,
            enforced: ask.enforced,
            phase_ms: match limit.algorithm {
                Algorithm::FixedWindow { align: Align::Client } => limit.phase_ms,
                _ => 0,
            },
            live: limit.live.map(|unlimited| LiveOverride {
                key: 0,
                field: format!("l{at}:override").into(),
                unlimited,
            }),
        });
    }
    (!charges.is_empty()).then_some(Group { keys, charges })
}
