//! `overrides`: another N for some clients.

use crate::config::limits::LimitContext;
use crate::config::node::{Fields, Node};
use crate::config::shape::{words, Object, Rule, Shape, Test, TextForm, ANY, CLIENT_VALUE, HASH, RATE};
use crate::config::sources;
use crate::identify::network;
use crate::limit::{Override, Period, Quota};
use crate::model::{NamedClientValue, Store};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

const FROM: [(&str, ()); 1] = [("redis", ())];

pub(super) static OVERRIDE: Object = Object {
    fields: &[
        ("from", Shape::Words(&words(&FROM))),
        ("source", ANY),
        ("value", CLIENT_VALUE),
        ("hash", HASH),
        ("cidr", Shape::Text(TextForm::Network)),
        ("rate", RATE),
    ],
    rules: &[
        Rule::ExactlyOne(&["from", "source", "cidr"]),
        Rule::Never(&[("from", Test::Absent), ("rate", Test::Absent)], NO_RATE),
        Rule::Never(&[("rate", Test::Present), ("from", Test::Present)], LIVE),
        Rule::Never(&[("value", Test::Present), ("from", Test::Present)], LIVE),
        Rule::Never(&[("hash", Test::Present), ("from", Test::Present)], LIVE),
        Rule::Never(&[("value", Test::Present), ("cidr", Test::Present)], CIDR),
        Rule::Never(&[("hash", Test::Present), ("cidr", Test::Present)], CIDR),
        Rule::Never(
            &[("value", Test::Present), ("hash", Test::Present)],
            "has both value and hash: write one of them",
        ),
        Rule::Never(
            &[
                ("source", Test::Present),
                ("value", Test::Absent),
                ("hash", Test::Absent),
            ],
            "source needs one of value, hash",
        ),
    ],
};
const NO_RATE: &str = "rate is missing: write the rate of these clients, or unlimited";
const LIVE: &str = "a live override is in Redis: write from alone";
const CIDR: &str = "cidr says which clients: remove value and hash";

/// The limit of the overrides.
pub(super) struct OverrideContext {
    /// `None` if its rate is invalid.
    pub quota: Option<Quota>,
    pub has_client: bool,
}

/// The overrides in their order. All have the limit's period; if the limit is unlimited, that of the first override.
pub(super) fn read(node: Option<&Node>, of: &OverrideContext, context: &LimitContext) -> Vec<Override> {
    let items = node.and_then(Node::items).unwrap_or_default();
    let mut list = Vec::new();
    let mut seen = EarlierOverrides::default();
    let mut period = of.quota.and_then(period_of);
    for (index, item) in items.iter().enumerate() {
        let Some(read) = read_override(item, of, context) else {
            continue;
        };
        if let (Some(quota), Some(_)) = (read.quota(), of.quota) {
            check_period(item, quota, &mut period);
        }
        if let Some(earlier) = seen.earlier(index, &read) {
            item.fail(&format!(
                "never reached: overrides[{earlier}] fits all that this one does; remove it, or move it up"
            ));
        }
        list.push(read);
    }
    if period.is_none() && of.quota.is_some() && list.contains(&Override::Redis) {
        if let Some(node) = items.iter().find_map(|item| item.get("from")) {
            node.fail(
                "has no period: the limit is unlimited, and so is every override; give one of them a rate",
            );
        }
    }
    list
}

fn period_of(quota: Quota) -> Option<Period> {
    match quota {
        Quota::Limited(rate) => Some(rate.period),
        Quota::Unlimited => None,
    }
}

fn check_period(item: &Node, quota: Quota, period: &mut Option<Period>) {
    let Quota::Limited(own) = quota else { return };
    let base = *period.get_or_insert(own.period);
    if let (true, Some(node)) = (base != own.period, item.get("rate")) {
        let seconds = base.as_millis() / 1_000;
        node.fail(&format!(
            "an override changes N, never the period; write {}/{seconds}s or another N",
            own.limit
        ));
    }
}

fn read_override(node: &Node, of: &OverrideContext, context: &LimitContext) -> Option<Override> {
    let fields = node.fields(&OVERRIDE)?;
    match fields.exactly_one(&["from", "source", "cidr"])? {
        ("from", from) => {
            from.choice(&FROM)?;
            fields.refuse(
                &["value", "hash", "rate"],
                "cannot be used here: a live override is stored in Redis",
            );
            if !of.has_client {
                from.fail("a live override belongs to one client; add client to key");
            }
            if context.store == Store::Local {
                from.fail("needs store: redis; with store: local there is no Redis to read it from");
            }
            Some(Override::Redis)
        }
        ("cidr", cidr) => {
            fields.refuse(
                &["value", "hash"],
                "cannot be used here: cidr already selects the clients",
            );
            let quota = read_quota(&fields, context);
            let net = read_cidr(&cidr)?;
            Some(Override::Cidr { net, quota: quota? })
        }
        (_, source_node) => {
            let quota = read_quota(&fields, context);
            let source = sources::known(&source_node, context.sources);
            let value = sources::client_value(&fields, source);
            if !of.has_client {
                source_node.fail("an override by source needs the client; add client to key, or write cidr");
            }
            let (source, quota) = (source?.name.clone(), quota?);
            Some(match value? {
                NamedClientValue::Value(value) => Override::Value { source, value, quota },
                NamedClientValue::Hash(hash) => Override::Hash { source, hash, quota },
            })
        }
    }
}

fn read_quota(fields: &Fields, context: &LimitContext) -> Option<Quota> {
    let node = fields.required("rate", "write the rate of these clients, or unlimited")?;
    context.rates.quota(&node)
}

fn read_cidr(node: &Node) -> Option<IpNet> {
    let text = node.text("a network such as 10.0.0.0/8")?;
    let net = match network(text) {
        Some(net) => net,
        None => {
            match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => node.fail(&format!("no prefix; write {text}/32")),
                Ok(IpAddr::V6(_)) => node.fail(&format!("no prefix; write {text}/128")),
                Err(_) => node.fail("not a network; write one such as 10.0.0.0/8 or 2001:db8::/32"),
            }
            return None;
        }
    };
    if net.trunc() != net {
        node.fail(&format!("has bits beyond its prefix; write {}", net.trunc()));
    }
    Some(net)
}

/// What earlier overrides match, to find overrides that can never be reached.
#[derive(Default)]
struct EarlierOverrides(BTreeMap<String, usize>);

impl EarlierOverrides {
    /// The index of an earlier override that matches everything that this one does, if there is one.
    fn earlier(&mut self, index: usize, read: &Override) -> Option<usize> {
        let form = match read {
            Override::Redis => "redis".to_owned(),
            Override::Value { source, value, .. } => format!("{source}={value}"),
            // No source's name has a colon.
            Override::Hash { source, hash, .. } => format!("{source}:{hash}"),
            Override::Cidr { net, .. } => {
                let mut wider = net.supernet();
                while let Some(net) = wider {
                    if let Some(earlier) = self.0.get(&net.to_string()) {
                        return Some(*earlier);
                    }
                    wider = net.supernet();
                }
                net.to_string()
            }
        };
        let earlier = self.0.get(&form).copied();
        if earlier.is_none() {
            self.0.insert(form, index);
        }
        earlier
    }
}
