//! The quota that a decision reports in headers and filter state.

use super::decided::{ensure, Mismatch};
use crate::world::Decision;
use headgate_core::decision::{Decision as Expected, Outcome};
use headgate_core::headers;
use headgate_core::model::Policy;

/// Checks that headers and filter state report the quota from Redis.
pub(super) fn compare(policy: &Policy, expected: &Expected, decision: &Decision<'_>) -> Result<(), Mismatch> {
    let request = decision.request;
    let reported = expected.reported.as_ref();
    let name = reported.map_or("", |reported| policy.limits[reported.limit].name.as_str());
    let figures = reported.map_or((String::new(), String::new()), |reported| {
        (reported.quota.to_string(), reported.remaining.to_string())
    });
    let found = (
        request.state("ratelimit_limit"),
        request.state("ratelimit_remaining"),
    );
    let same = request.state("ratelimit_name") == name && found == (&figures.0, &figures.1);
    ensure(same, "figures", || {
        format!(
            "{name} {figures:?} is reported as {} {found:?}",
            request.state("ratelimit_name")
        )
    })?;
    let shadow: Vec<&str> = expected
        .shadow
        .iter()
        .map(|limit| policy.limits[*limit].name.as_str())
        .collect();
    ensure(
        request.state("ratelimit_shadow") == shadow.join(","),
        "figures",
        || {
            format!(
                "in shadow {shadow:?} is reported as {}",
                request.state("ratelimit_shadow")
            )
        },
    )?;
    let shown = expected.shown.map(|shown| shown.remaining.to_string());
    let Some(reply) = decision.reply.filter(|_| expected.outcome == Outcome::Denied) else {
        let found = request
            .headers
            .iter()
            .find(|(name, _)| name == headers::REMAINING);
        let found = found.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let passes = decision.reply.is_none();
        return ensure(!passes || found == shown, "figures", || {
            format!("{shown:?} is shown as {found:?}")
        });
    };
    let found = reply.headers.iter().find(|(name, _)| *name == headers::REMAINING);
    let found = found.map(|(_, value)| value.to_string());
    ensure(found == shown, "figures", || {
        format!("{shown:?} is shown as {found:?}")
    })?;
    let seconds = expected.retry_after_ms.div_ceil(1_000).max(1);
    ensure(
        reply.retry_after == Some(seconds) && reply.status == policy.response.status,
        "figures",
        || format!("{reply:?} must have Retry-After {seconds} s"),
    )
}

/// Checks that the quota headers to the upstream are the filter's own.
pub(super) fn check_headers(decision: &Decision<'_>) -> Result<(), Mismatch> {
    let request = decision.request;
    let values = request
        .headers
        .iter()
        .filter(|(name, _)| name == headers::REMAINING);
    let mut values = values.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    let forged = values.any(|value| value == "1000000");
    ensure(!forged, "figures", || {
        "forged quota headers of the caller reach the upstream".to_owned()
    })
}
