//! What is legal and unwise in a policy. Each piece of advice is one function and says why and what to do.

use super::find::Found;
use super::report::{Report, Severity};
use crate::config::Policy;
use crate::identify::{Source, SourceKind};
use crate::limit::{Algorithm, Cost, Enforce, KeyPart, Limit, Match, Override, Quota};

/// A log of so many entries a client is worth a word: about 40 KB.
const LARGE_LOG: u64 = 5_000;
/// Measured in Redis 7.0: a time takes 7, and the allocator rounds up.
const BYTES_A_CALL: u64 = 8;

/// Says all there is to say about a policy.
pub fn give(found: &Found, policy: &Policy, report: &mut Report) {
    let mut advice = Advice {
        found,
        policy,
        report,
    };
    advice.ceiling();
    advice.order_of_sources();
    advice.wide_prefix();
    advice.hash_key();
    for (index, limit) in policy.limits.iter().enumerate() {
        advice.unnamed(index, limit);
        advice.memory(index, limit);
        advice.made_up_keys(index, limit);
        advice.never_tightest(index, limit);
    }
}

struct Advice<'a> {
    found: &'a Found,
    policy: &'a Policy,
    report: &'a mut Report,
}

impl Advice<'_> {
    fn warn(&mut self, path: &str, message: impl Into<String>) {
        self.report.about(Severity::Warning, self.found, path, message);
    }

    /// Whoever makes up a new API key with each request meets a fresh counter each time.
    fn ceiling(&mut self) {
        let claimed = self.policy.identify.iter().find(|source| is_claim(source));
        let counts_clients = |limit: &&Limit| limit.key.contains(&KeyPart::Client);
        let (Some(source), Some(_)) = (claimed, self.policy.limits.iter().find(counts_clients)) else {
            return;
        };
        if !self.policy.limits.iter().any(is_ceiling) {
            let message = format!(
                "no ceiling by address: {} is a claim, and whoever changes it with each request gets a fresh counter \
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
                    "{} is a claim and stands before {}, which is verified: a caller who makes one up is never known \
                     by the other; put verified sources first",
                    source.name, verified.name
                );
                self.warn(&format!("identify[{index}]"), message);
            }
        }
    }

    fn wide_prefix(&mut self) {
        for (index, source) in self.policy.identify.iter().enumerate() {
            let SourceKind::Address { ipv6_prefix, .. } = source.kind else {
                continue;
            };
            if ipv6_prefix > 64 {
                let message = format!(
                    "a caller with a /64, which is what most have, has 2^{} addresses of /{ipv6_prefix}, and a counter \
                     for each; write 64 or less",
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
                "HEADGATE_HASH_KEY is not passed on to the plugin: without it, values that can be guessed can be found \
                 out from Redis and logs; in an envoy.yaml: vm_config.environment_variables.host_env_keys",
            );
        }
    }

    fn unnamed(&mut self, index: usize, limit: &Limit) {
        let path = format!("limits[{index}]");
        let written = self.found.content.tree().and_then(|tree| tree.get("limits"));
        let item = written.and_then(|limits| limits.items().get(index));
        if item.is_some_and(|item| item.get("name").is_none()) {
            let message = format!(
                "has no name and is called {:?}: with another rate it gets another name, in logs and in Redis; give it one",
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
            "keeps every call: {largest} × {BYTES_A_CALL} B = {} for each client at its limit, {} for 10,000 of them; \
             sliding_window_counter takes 168 B",
            bytes(a_client),
            bytes(a_client * 10_000)
        );
        self.warn(&format!("limits[{index}]"), message);
    }

    /// What a caller writes into the key opens fresh counters, in Redis too.
    fn made_up_keys(&mut self, index: usize, limit: &Limit) {
        let path = format!("limits[{index}].key");
        let bounded = |condition: &Match| condition.path.is_some();
        let every_path_is_bounded = !limit.matches.is_empty() && limit.matches.iter().all(bounded);
        if limit.key.contains(&KeyPart::Path) && !every_path_is_bounded {
            self.warn(
                &path,
                "counts each path by itself, also those that callers make up: each is a fresh counter; match path \
                 patterns, which count as one each",
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
                "{claim} is what the caller says: each value is a fresh counter; a limit with key: [address] stops that"
            );
            self.warn(&path, message);
        }
    }

    /// Another limit on the same counter is always spent first.
    fn never_tightest(&mut self, index: usize, limit: &Limit) {
        // One that may be replaced does not hold everywhere.
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
                // Of two that are alike, the later one is too many.
                always_spent_first(tighter, limit) && !(always_spent_first(limit, tighter) && index < *other)
            });
        if let Some((_, tighter)) = tighter {
            let message = format!(
                "can never be the tightest: wherever it holds, {:?} holds with the same key and lets no more through; \
                 remove it, or lower its rate",
                tighter.name
            );
            self.warn(&format!("limits[{index}]"), message);
        }
    }
}

/// What a caller can make up.
fn is_claim(source: &Source) -> bool {
    match &source.kind {
        SourceKind::Header(_) | SourceKind::Cookie(_) | SourceKind::Query(_) => true,
        SourceKind::All(parts) => !parts.iter().any(|part| !is_claim(part)),
        SourceKind::Metadata(_) | SourceKind::Tls(_) | SourceKind::Address { .. } => false,
    }
}

fn is_verified(source: &Source) -> bool {
    matches!(source.kind, SourceKind::Metadata(_) | SourceKind::Tls(_))
}

/// Counts by address whatever else a caller says.
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

/// Whether `limit` has room whenever `tighter` has let a call through: both count the same calls, and `tighter` lets
/// no more pass in `limit`'s period than that takes.
fn always_spent_first(tighter: &Limit, limit: &Limit) -> bool {
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
    let room = match limit.algorithm {
        Algorithm::SlidingWindowLog | Algorithm::FixedWindow { .. } => large.limit,
        // Its estimate may be above the truth by what came at a window's start.
        Algorithm::SlidingWindowCounter => large.limit.saturating_sub(n),
        // Not worked out.
        Algorithm::Gcra { .. } => return false,
    };
    alike && most <= room
}

/// In thousands, as memory is sold.
fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{} KB", number / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", number / 1_000_000),
        _ => format!("{:.1} GB", number as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::find::find;
    use crate::config::Plugin;

    fn advice(text: &str) -> Vec<String> {
        let file = find(text, false).unwrap_or_else(|error| panic!("{error:?}"));
        let found = &file.found[0];
        let policy = match found.parse() {
            Ok(Plugin::Filter(policy)) => policy,
            other => panic!("{text}\n{other:?}"),
        };
        let mut report = Report::default();
        give(found, &policy, &mut report);
        let one = |finding: &super::super::report::Finding| format!("{}: {}", finding.path, finding.message);
        report.findings.iter().map(one).collect()
    }

    /// A policy on which nothing is to be said.
    const WISE: &str = "{limits: [{name: c, rate: 100/m}, {name: ceiling, rate: 3000/m, key: [address]}]}";

    #[test]
    fn a_wise_policy_draws_no_advice() {
        assert!(advice(WISE).is_empty(), "{:?}", advice(WISE));
        let shipped = include_str!("../../envoy/envoy.yaml");
        assert!(advice(shipped).is_empty(), "{:?}", advice(shipped));
    }

    #[test]
    fn each_unwise_policy_draws_its_own_advice_and_no_other() {
        let ceiling = "{name: top, rate: 3000/m, key: [address]}";
        for (text, path, piece) in [
            ("{limits: [{name: c, rate: 100/m}]}".to_owned(), "limits", "no ceiling by address: api_key"),
            (
                "{limits: [{name: c, rate: 100/m}, {name: t, rate: 3000/m, key: [address], match: {source: api_key}}]}".replace("key: [address], match: {source: api_key}", "key: [address], enforce: false"),
                "limits",
                "no ceiling",
            ),
            (format!("{{limits: [{{rate: 100/m}}, {ceiling}]}}"), "limits[0]", "has no name and is called \"100/m\""),
            (
                format!("{{identify: [{{header: x-api-key}}, {{name: u, metadata: [a, b]}}], limits: [{ceiling}]}}"),
                "identify[0]",
                "stands before u, which is verified",
            ),
            (
                format!("{{identify: [{{address: {{ipv6_prefix: 128}}}}], limits: [{ceiling}]}}"),
                "identify[0].address.ipv6_prefix",
                "2^64 addresses",
            ),
            (
                format!("{{limits: [{{name: l, rate: 5000/m, algorithm: sliding_window_log}}, {ceiling}]}}"),
                "limits[0]",
                "5000 × 8 B = 40 KB for each client at its limit, 400 MB for 10,000",
            ),
            (
                format!("{{limits: [{{name: p, rate: 50/m, key: [client, path]}}, {ceiling}]}}"),
                "limits[0].key",
                "counts each path by itself",
            ),
            (
                "{identify: [{address: {}}], limits: [{name: h, rate: 50/m, key: [\"header:x-a\"]}]}".to_owned(),
                "limits[0].key",
                "header:x-a is what the caller says",
            ),
            (
                format!("{{limits: [{{name: a, rate: 10/s}}, {{name: b, rate: 5000/m}}, {ceiling}]}}"),
                "limits[1]",
                "can never be the tightest: wherever it holds, \"a\"",
            ),
        ] {
            let advice = advice(&text);
            let [only] = advice.as_slice() else { panic!("{text}\n{advice:?}") };
            assert!(only.starts_with(&format!("{path}: ")) && only.contains(piece), "{text}\n{only}");
        }
    }

    #[test]
    fn a_limit_that_can_be_the_tightest_draws_no_such_advice() {
        for limits in [
            "{name: a, rate: 10/s}, {name: b, rate: 500/m}",
            "{name: a, rate: 10/s, match: {path: /a}}, {name: b, rate: 5000/m}",
            "{name: a, rate: 10/s, enforce: false}, {name: b, rate: 5000/m}",
            "{name: a, rate: 10/s, key: [client, method]}, {name: b, rate: 5000/m}",
            "{name: a, rate: 10/s, overrides: [{cidr: 10.0.0.0/8, rate: unlimited}]}, {name: b, rate: 5000/m}",
            "{name: a, rate: 10/s, algorithm: gcra, burst: 6000}, {name: b, rate: 5000/m}",
            "{name: a, rate: 10/s}, {name: b, rate: 5000/m, match: {path: /b}, replaces: a}",
        ] {
            let text = format!("{{limits: [{limits}, {{name: top, rate: 9000/m, key: [address]}}]}}");
            assert!(advice(&text).is_empty(), "{text}\n{:?}", advice(&text));
        }
    }

    #[test]
    fn of_two_limits_alike_only_the_second_is_too_many() {
        let two = advice("{limits: [{name: a, rate: 50/m}, {name: b, rate: 50/m}, {name: top, rate: 900/m, key: [address]}]}");
        assert_eq!(two.len(), 1, "{two:?}");
        assert!(two[0].starts_with("limits[1]: can never be"), "{two:?}");
    }
}
