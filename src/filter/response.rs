//! The response on its way: what it cost is charged, the caller is told of its quota.

use super::host::{self, HeaderMap};
use super::outcome::refused_later;
use super::worker::Worker;
use crate::config::UpstreamHeaders;
use crate::decision::CountedBy;
use crate::headers::{Family, Header, ENVOY_RATELIMITED};
use crate::identify::Headers as _;
use crate::instances;
use crate::limit::{Cost, Group, ReadCost};

/// For the effective context, whose response is not this instance's own reply.
pub fn answered(worker: &Worker, figures: &[Header], later: &[Group], by: Option<CountedBy>) {
    let headers = HeaderMap::read(host::Map::Response);
    if !later.is_empty() && !refused_later() {
        charge(worker, &headers, later, by);
    }
    match headers.header(":status").value().as_deref() {
        // The upstream itself denies: what it says of its limit is what its caller is to read.
        Some(b"429") => return,
        // gRPC's RESOURCE_EXHAUSTED is the same.
        _ if headers.header("grpc-status").value().as_deref() == Some(b"8") => return,
        // Refusals of an instance behind this one have no figures in them.
        Some(b"400" | b"403") if shown_later(worker) => return,
        _ => {}
    }
    let told = |(name, _): (&[u8], _)| Family::of(name).is_some() || name == ENVOY_RATELIMITED.as_bytes();
    if !headers.iter().any(told) {
        add(figures);
    } else if !shown_later(worker) {
        show(worker.policy.response.upstream_headers, &headers, figures);
    }
}

fn add<'a>(figures: impl IntoIterator<Item = &'a Header>) {
    figures
        .into_iter()
        .for_each(|figure| host::add_header(host::Map::Response, figure));
}

/// Whether an instance behind this one has shown something: it has merged ours into it. Whatever an instance shows or
/// refuses can be seen in the response's headers, and where nothing of quotas is to be seen the host need not be asked.
fn shown_later(worker: &Worker) -> bool {
    host::property(instances::SHOWN_BY.as_bytes())
        .is_some_and(|by| !by.is_empty() && by != worker.policy.instance.as_bytes())
}

/// Nobody waits for it, and it is not repeated: a lost one under-counts a request that has been served.
fn charge(worker: &Worker, headers: &HeaderMap, later: &[Group], by: Option<CountedBy>) {
    let mut broken = 0;
    let mut cost = |limit: usize| {
        let Some(Cost::ResponseHeader { name, range }) =
            worker.policy.limits.get(limit).map(|limit| &limit.cost)
        else {
            return 0;
        };
        let read = range.read(&headers.header(name));
        broken += u32::from(!matches!(read, ReadCost::Cost(_)));
        range.charged(read)
    };
    let groups = later.iter().filter_map(|group| group.afterwards(&mut cost));
    worker.charge(groups.collect(), by);
    worker.note_broken_costs(broken);
}

/// For a request whose caller left before there was a response: it was served, or is about to be, and costs no less
/// than one that says nothing of its cost.
pub fn left(worker: &Worker, later: &[Group], by: Option<CountedBy>) {
    let mut cost = |limit: usize| match worker.policy.limits.get(limit).map(|limit| &limit.cost) {
        Some(Cost::ResponseHeader { range, .. }) => range.unread(),
        _ => 0,
    };
    let groups = later.iter().filter_map(|group| group.afterwards(&mut cost));
    worker.charge(groups.collect(), by);
}

/// What the upstream itself says of quotas goes, or stays in place of ours; the two are never mixed in one family.
fn show(upstream: UpstreamHeaders, headers: &HeaderMap, figures: &[Header]) {
    let (mut x_ratelimit, mut ietf) = (false, false);
    for (name, _) in headers.iter() {
        match (upstream, Family::of(name)) {
            (_, None) => {}
            (UpstreamHeaders::Replace, Some(_)) => {
                if let Ok(name) = std::str::from_utf8(name) {
                    host::remove_header(host::Map::Response, name);
                }
            }
            (UpstreamHeaders::Keep, Some(Family::XRateLimit)) => x_ratelimit = true,
            (UpstreamHeaders::Keep, Some(Family::Ietf)) => ietf = true,
        }
    }
    let kept = |(name, _): &&Header| match Family::of(name.as_bytes()) {
        Some(Family::XRateLimit) => x_ratelimit,
        Some(Family::Ietf) => ietf,
        None => false,
    };
    add(figures.iter().filter(|figure| !kept(figure)));
}
