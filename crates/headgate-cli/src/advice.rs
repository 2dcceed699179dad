//! Advice about policies that are valid but unwise. Each piece of advice is one function; its text gives the reason and
//! the remedy.

use super::find::Found;
use super::report::{Report, Severity};
use headgate_core::config::Policy;
use headgate_core::identify::{Source, SourceKind};
use headgate_core::lease;
use headgate_core::limit::{Algorithm, Cost, Enforce, KeyPart, Limit, Match, Override, Quota};

/// Logs of at least this many entries per client get a warning: about 40 KB each.
const LARGE_LOG: u64 = 5_000;
/// Bytes of one entry, measured in Redis 7.0: the time takes 7, and the allocator rounds up.
const BYTES_A_CALL: u64 = 8;

/// Adds all advice about a policy to the report.
pub fn give(found: &Found, policy: &Policy, report: &mut Report) {
    let mut advice = Advice {
        found,
        policy,
        report,
    };
    advice.ceiling();
    advice.order_of_sources();
    advice.bearer_tokens();
    advice.wide_prefix();
    advice.hash_key();
    for (index, limit) in policy.limits.iter().enumerate() {
        advice.unnamed(index, limit);
        advice.memory(index, limit);
        advice.made_up_keys(index, limit);
        advice.never_tightest(index, limit);
        advice.idle_lease(index, limit);
        advice.counts_nothing(index, limit);
    }
    advice.paths_that_end_in_a_slash();
    advice.turned_off();
}

pub(super) struct Advice<'a> {
    pub(super) found: &'a Found,
    pub(super) policy: &'a Policy,
    report: &'a mut Report,
}

impl Advice<'_> {
    pub(super) fn warn(&mut self, path: &str, message: impl Into<String>) {
        self.report.about(Severity::Warning, self.found, path, message);
    }

    /// A caller that invents a new API key for each request gets a fresh counter each time.
    fn ceiling(&mut self) {
        let claimed = self.policy.identify.iter().find(|source| is_claim(source));
        let counts_clients = |limit: &&Limit| limit.key.contains(&KeyPart::Client);
        let (Some(source), Some(_)) = (claimed, self.policy.limits.iter().find(counts_clients)) else {
            return;
        };
        if !self.policy.limits.iter().any(is_ceiling) {
            let message = format!(
                "no ceiling by address: {} is a claim, and a caller that changes it with each request gets a new counter \
                 each time; add {{name: ceiling, rate: 3000/minute, key: [address]}}",
                source.name
            );
            self.warn("limits", message);
        }
    }

    /// The first source that yields a value wins: a made-up header hides the verified token behind it.
    fn order_of_sources(&mut self) {
        let sources = &self.policy.identify;
        for (index, source) in sources.iter().enumerate().filter(|(_, source)| is_claim(source)) {
            let verified = sources.iter().skip(index + 1).find(|source| is_verified(source));
            if let Some(verified) = verified {
                let message = format!(
                    "{} is a claim and comes before {}, which is verified: a caller who invents a claim is never identified \
                     by the other; put verified sources first",
                    source.name, verified.name
                );
                self.warn(&format!("identify[{index}]"), message);
            }
        }
    }

    /// A caller that sends its key as `Authorization: Bearer …` is not identified by an API key's header. The default
    /// `identify` is left alone: its header was not chosen by the policy's author.
    fn bearer_tokens(&mut self) {
        let is_written = self.found.content.tree().and_then(|tree| tree.get("identify"));
        let sources = &self.policy.identify;
        let has_key = sources
            .iter()
            .any(|source| reads_header(source, |name| name.ends_with("key")));
        let by_address = |source: &Source| matches!(source.kind, SourceKind::Address { .. });
        let reads_token = |source: &Source| {
            reads_header(source, |name| name == "authorization")
                || matches!(source.kind, SourceKind::Metadata(_))
        };
        if is_written.is_some()
            && has_key
            && sources.iter().any(by_address)
            && !sources.iter().any(reads_token)
        {
            self.warn(
                "identify",
                "callers that send Authorization: Bearer … (the SDKs of OpenAI and Anthropic do) share one address; \
                 add {name: token, header: authorization, extract: \"(?i:bearer) +(.+)\"}",
            );
        }
    }

    fn wide_prefix(&mut self) {
        for (index, source) in self.policy.identify.iter().enumerate() {
            let SourceKind::Address { ipv6_prefix, .. } = source.kind else {
                continue;
            };
            if ipv6_prefix > 64 {
                let message = format!(
                    "most callers have a /64: that is 2^{} addresses of /{ipv6_prefix}, with a counter for each; \
                     write 64 or less",
                    ipv6_prefix - 64
                );
                self.warn(&format!("identify[{index}].address.ipv6_prefix"), message);
            }
        }
    }

    fn hash_key(&mut self) {
        if self.policy.holds_secrets() && self.found.vm.has_hash_key == Some(false) {
            self.warn(
                "",
                "HEADGATE_HASH_KEY is not passed on to the plugin: without it, values that are easy to guess can be \
                 found from the hashes in Redis and logs; in an envoy.yaml: vm_config.environment_variables.host_env_keys",
            );
        }
    }

    fn unnamed(&mut self, index: usize, limit: &Limit) {
        let path = format!("limits[{index}]");
        let written = self.found.content.tree().and_then(|tree| tree.get("limits"));
        let item = written.and_then(|limits| limits.items().get(index));
        if item.is_some_and(|item| item.get("name").is_none()) {
            let message = format!(
                "has no name and is called {:?}: if its rate changes, its name in logs and in Redis changes too; give it a name",
                limit.name
            );
            self.warn(&path, message);
        }
    }

    fn memory(&mut self, index: usize, limit: &Limit) {
        let largest = largest(limit);
        if limit.algorithm != Algorithm::SlidingWindowLog || largest < LARGE_LOG {
            return;
        }
        let a_client = largest * BYTES_A_CALL;
        let message = format!(
            "stores every call: {largest} × {BYTES_A_CALL} B = {} for each client at its limit, {} for 10,000 of them; \
             sliding_window_counter takes 168 B",
            bytes(a_client),
            bytes(a_client * 10_000)
        );
        self.warn(&format!("limits[{index}]"), message);
    }

    /// Each value that a caller writes into the key creates a new counter, in Redis too.
    fn made_up_keys(&mut self, index: usize, limit: &Limit) {
        let path = format!("limits[{index}].key");
        let bounded = |condition: &Match| condition.path.is_some();
        let every_path_is_bounded = !limit.matches.is_empty() && limit.matches.iter().all(bounded);
        if limit.key.contains(&KeyPart::Path) && !every_path_is_bounded {
            self.warn(
                &path,
                "has a counter for each path, also for paths that callers make up; match path patterns, each of \
                 which has one counter",
            );
        }
        let claim = limit.key.iter().find_map(|part| match part {
            KeyPart::Header(name) => Some(format!("header:{name}")),
            KeyPart::Query(name) => Some(format!("query:{name}")),
            KeyPart::Cookie(name) => Some(format!("cookie:{name}")),
            _ => None,
        });
        if let Some(claim) = claim.filter(|_| !self.policy.limits.iter().any(is_ceiling)) {
            let message = format!(
                "{claim} is chosen by the caller: each value gets a new counter; a limit with key: [address] prevents that"
            );
            self.warn(&path, message);
        }
    }

    /// Another limit on the same counter is always used up first.
    fn never_tightest(&mut self, index: usize, limit: &Limit) {
        // A limit that may be replaced does not apply everywhere.
        let is_replaced = |index: usize| {
            self.policy
                .limits
                .iter()
                .any(|limit| limit.replaces.contains(&index))
        };
        let limits = self.policy.limits.iter().enumerate();
        let limits = limits.filter(|(other, _)| !is_replaced(*other));
        let tighter = limits
            .filter(|(other, _)| *other != index)
            .find(|(other, tighter)| {
                // Of two equal limits, the second one is redundant.
                always_used_up_first(tighter, limit)
                    && !(always_used_up_first(limit, tighter) && index < *other)
            });
        if let Some((_, tighter)) = tighter {
            let message = format!(
                "can never be the tightest: wherever it applies, {:?} applies with the same key and admits no more; \
                 remove it, or lower its rate",
                tighter.name
            );
            self.warn(&format!("limits[{index}]"), message);
        }
    }

    /// A request is answered from leases only if each of its limits has one. The smallest lease is for 4 requests.
    fn idle_lease(&mut self, index: usize, limit: &Limit) {
        let (Some(share), Cost::Fixed(cost)) = (limit.lease, &limit.cost) else {
            return;
        };
        let path = format!("limits[{index}].lease");
        let capacity = match limit.algorithm {
            Algorithm::Gcra { burst } if burst > 0 => burst,
            _ => largest(limit),
        };
        let requests = capacity * u64::from(share.basis_points()) / 10_000 / (*cost).max(1);
        if requests < lease::LEAST || *cost == 0 {
            let message = format!(
                "never used: it would be for {requests} requests, and the minimum is {}",
                lease::LEAST
            );
            self.warn(&path, message);
        }
        let everywhere = |other: &&Limit| {
            let replaced = limit
                .replaces
                .iter()
                .any(|at| self.policy.limits.get(*at) == Some(*other));
            other.lease.is_none() && other.matches.is_empty() && other.quota != Quota::Unlimited && !replaced
        };
        if let Some(other) = self.policy.limits.iter().find(everywhere) {
            let message = format!(
                "never used: {:?} applies to every request and has none, so that each one calls Redis; give it one, or \
                 remove this",
                other.name
            );
            self.warn(&path, message);
        }
    }
}

/// Whether a caller can invent the source's value.
fn is_claim(source: &Source) -> bool {
    match &source.kind {
        SourceKind::Header(_) | SourceKind::Cookie(_) | SourceKind::Query(_) => true,
        SourceKind::All(parts) => !parts.iter().any(|part| !is_claim(part)),
        SourceKind::Metadata(_) | SourceKind::Tls(_) | SourceKind::Address { .. } => false,
    }
}

/// Whether a header with such a name, in lower case, is this source or a part of it.
fn reads_header(source: &Source, is_meant: fn(&str) -> bool) -> bool {
    match &source.kind {
        SourceKind::Header(name) => is_meant(name),
        SourceKind::All(parts) => parts.iter().any(|part| reads_header(part, is_meant)),
        _ => false,
    }
}

fn is_verified(source: &Source) -> bool {
    matches!(source.kind, SourceKind::Metadata(_) | SourceKind::Tls(_))
}

/// Whether the limit counts by address, whatever else a caller sends.
fn is_ceiling(limit: &Limit) -> bool {
    let asks_source = |condition: &Match| {
        !condition.sources.is_empty() || condition.not.as_ref().is_some_and(|not| !not.sources.is_empty())
    };
    let is_address = |part: &KeyPart| matches!(part, KeyPart::Address);
    limit.enforce == Enforce::Always
        && limit.key.iter().all(is_address)
        && !limit.matches.iter().any(asks_source)
}

fn largest(limit: &Limit) -> u64 {
    let overridden = limit.overrides.iter().filter_map(Override::quota);
    overridden
        .chain([limit.quota])
        .filter_map(Quota::limit)
        .max()
        .unwrap_or(0)
}

/// Whether `limit` allows every call that `tighter` allows: both count the same calls, and `tighter` allows
/// no more of them in `limit`'s period than `limit` does.
fn always_used_up_first(tighter: &Limit, limit: &Limit) -> bool {
    let alike = tighter.key == limit.key
        && (tighter.matches.is_empty() || tighter.matches == limit.matches)
        && tighter.enforce == Enforce::Always
        && tighter.cost == limit.cost
        && matches!(tighter.cost, Cost::Fixed(_))
        && tighter.replaces.is_empty()
        && tighter.overrides.is_empty()
        && limit.overrides.is_empty();
    let (Quota::Limited(small), Quota::Limited(large)) = (tighter.quota, limit.quota) else {
        return false;
    };
    let (n, period) = (small.limit, small.period.as_millis());
    let span = large.period.as_millis();
    let windows = span.div_ceil(period);
    // The most that `tighter` admits in any span of that length; see each algorithm's law.
    let most = match tighter.algorithm {
        Algorithm::SlidingWindowLog => n.saturating_mul(windows),
        Algorithm::SlidingWindowCounter | Algorithm::FixedWindow { .. } => n.saturating_mul(windows + 1),
        Algorithm::Gcra { burst } => {
            let burst = if burst == 0 { n } else { burst };
            burst.saturating_add(n.saturating_mul(span).div_ceil(period))
        }
    };
    let capacity = match limit.algorithm {
        Algorithm::SlidingWindowLog | Algorithm::FixedWindow { .. } => large.limit,
        // Its estimate may be too high by the calls at a window's start.
        Algorithm::SlidingWindowCounter => large.limit.saturating_sub(n),
        // No bound is known here.
        Algorithm::Gcra { .. } => return false,
    };
    alike && most <= capacity
}

/// In kB, MB and GB of powers of 1,000.
fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{} KB", number / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", number / 1_000_000),
        _ => format!("{:.1} GB", number as f64 / 1e9),
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
