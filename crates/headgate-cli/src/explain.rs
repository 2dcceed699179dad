//! `headgate explain`: who a request's caller is, which limits apply and why the others do not, and which
//! counters that means.

use super::charges::{algorithm, cost, field, granted, key, on_error, show_quota};
use super::policies::{load, Loaded};
use super::request::RequestArgs;
use super::table::Table;
use super::{input, reasons, Failure, Output};
use headgate_core::config::OnNoClient;
use headgate_core::identify::{canonical, Headers, Identity};
use headgate_core::limit::{
    Charge, Exemption, Explained, Form, Group, Limit, LimitStatus, NoClient, PathReadings, Plan, Planner,
    Quota,
};
use headgate_core::model::{FilterState, StateName};
use headgate_sim::request::Request;
use ipnet::IpNet;
use serde_json::{json, Value};
use std::fmt::Write as _;

#[derive(clap::Args)]
pub struct ExplainArgs {
    /// A file that `headgate check` accepts
    file: String,
    /// Only this instance, if the file has several
    #[arg(long)]
    instance: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    /// JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ExplainArgs) -> Result<Output, Failure> {
    let request = args.request.made_up()?;
    let mut texts = Vec::new();
    let mut list = Vec::new();
    for loaded in load(&args.file, args.instance.as_deref())? {
        let explanation = Explanation::new(&loaded, &request);
        list.push(explanation.json());
        texts.push(explanation.text());
    }
    Ok(Output::text(match args.json {
        true => format!("{:#}\n", Value::from(list)),
        false => texts.join("\n"),
    }))
}

struct Explanation<'a> {
    loaded: &'a Loaded,
    request: &'a Request,
    identity: Identity,
    /// Each with its number.
    readings: Vec<(u8, String)>,
    explained: Explained,
    groups: Vec<Group>,
}

impl<'a> Explanation<'a> {
    fn new(loaded: &'a Loaded, request: &'a Request) -> Explanation<'a> {
        let planner = Planner::new(&loaded.policy, input::hasher());
        let identity = planner.identify(request);
        let groups = match planner.plan(request, &identity) {
            Plan::Exempt => Vec::new(),
            Plan::Count { groups, .. } => groups,
        };
        Explanation {
            explained: planner.explain(request, &identity),
            readings: readings(request),
            loaded,
            request,
            identity,
            groups,
        }
    }

    /// The path in one of its readings.
    fn path(&self, number: u8) -> &str {
        let reading = self.readings.iter().find(|(known, _)| *known == number);
        reading.map_or("", |(_, path)| path)
    }

    /// The text to add if a condition fits a reading other than the first.
    fn by_reading(&self, number: u8) -> String {
        match number {
            1 => String::new(),
            _ => format!(" {} (reading {number} of the path)", self.path(number)),
        }
    }

    fn limits(&self) -> impl Iterator<Item = (usize, &Limit, LimitStatus)> {
        let limits = self.loaded.policy.limits.iter().zip(&self.explained.limits);
        limits
            .enumerate()
            .map(|(index, (limit, status))| (index, limit, *status))
    }

    fn name(&self, index: usize) -> &str {
        self.loaded
            .policy
            .limits
            .get(index)
            .map_or("", |limit| &limit.name)
    }

    /// Why a limit applies or does not.
    fn reason(&self, index: usize, limit: &Limit, status: LimitStatus) -> String {
        match status {
            _ if self.explained.exempt.is_full() => "the request is exempt".to_owned(),
            LimitStatus::NoMatch => {
                reasons::no_match(self.loaded, index, limit, self.request, &self.identity)
            }
            LimitStatus::NoClient(NoClient::Unknown) => {
                "its key has the client, and no source identifies the client".to_owned()
            }
            LimitStatus::NoClient(NoClient::Ambiguous) => {
                "its key has the client, and a source has several values: the request is refused".to_owned()
            }
            LimitStatus::Replaced(by) => format!("replaced by {}", self.name(by)),
            LimitStatus::Applies {
                matched,
                reading,
                quota,
                live,
                enforced,
            } => {
                let mut parts = vec![match (matched, limit.matches.len()) {
                    (None, _) => "every request".to_owned(),
                    (Some(_), 1) => format!("match fits{}", self.by_reading(reading)),
                    (Some(index), _) => format!("match[{index}] fits{}", self.by_reading(reading)),
                }];
                let address = self
                    .request
                    .address
                    .map(|address| IpNet::from(canonical(address)));
                let sources = &self.loaded.policy.identify;
                if let Some(index) = reasons::overridden(sources, limit, self.identity.client(), address) {
                    parts.push(format!("overrides[{index}] grants {}", show_quota(quota)));
                }
                if live {
                    parts.push("a live override may change N".to_owned());
                }
                if quota == Quota::Unlimited && !live {
                    parts.push("not counted".to_owned());
                }
                parts.push(
                    if enforced {
                        "enforced"
                    } else {
                        "in shadow mode: never denies"
                    }
                    .to_owned(),
                );
                parts.join("; ")
            }
        }
    }

    /// The names of filter state that the policy writes.
    fn written(&self) -> Vec<&'static str> {
        let written = |name: &StateName| self.loaded.policy.filter_state.writes(*name);
        let names = StateName::ALL.into_iter().filter(written);
        names.map(StateName::as_str).collect()
    }

    fn text(&self) -> String {
        let policy = &self.loaded.policy;
        let mut text = String::new();
        let header = |name: &str| {
            String::from_utf8_lossy(&self.request.header(name).value().unwrap_or_default()).into_owned()
        };
        let _ = writeln!(text, "instance  {}", policy.instance);
        let _ = writeln!(
            text,
            "request   {} {}, host {}, address {}",
            header(":method"),
            self.path(1),
            header(":authority"),
            self.request
                .address
                .map_or_else(|| "-".to_owned(), |address| address.to_string())
        );
        for (number, path) in self.readings.iter().skip(1) {
            let _ = writeln!(text, "          or {path} (reading {number} of the path)");
        }
        let client = match (&self.identity, policy.on_no_client) {
            (Identity::Client(client), _) => format!("{client}, by identify[{}]", client.index),
            (Identity::Ambiguous(index), _) => {
                format!("none: identify[{index}] has several values; 400 if a limit needs a client")
            }
            (Identity::Unknown, OnNoClient::Allow) => {
                "none: no source yields a value; on_no_client: allow".to_owned()
            }
            (Identity::Unknown, OnNoClient::Deny) => {
                "none: no source yields a value; 403 if a limit needs a client".to_owned()
            }
        };
        let _ = writeln!(text, "client    {client}");
        let _ = match self.explained.exempt {
            Exemption::None => Ok(()),
            Exemption::Full(index) => {
                writeln!(
                    text,
                    "exempt    exempt[{index}] fits: neither limited nor counted"
                )
            }
            Exemption::Partial { condition, unfit } => writeln!(
                text,
                "exempt    no: exempt[{condition}] fits, but not for {} (reading {unfit} of the path)",
                self.path(unfit)
            ),
        };
        if policy.filter_state != FilterState::ALL {
            let _ = writeln!(text, "writes    {}", self.written().join(", "));
        }
        let mut table = Table::new(&["limit", "rate", "applies", "why"]);
        for (index, limit, status) in self.limits() {
            let applies = matches!(status, LimitStatus::Applies { .. }) && !self.explained.exempt.is_full();
            let quota = match status {
                LimitStatus::Applies { quota, .. } => quota,
                _ => limit.quota,
            };
            let applies = if applies { "yes" } else { "no" };
            table.row(&[
                &limit.name,
                &show_quota(quota),
                applies,
                &self.reason(index, limit, status),
            ]);
        }
        let _ = write!(text, "\n{}", table.text());
        if self.groups.is_empty() {
            let _ = writeln!(text, "\nno counter: Redis is not called");
        }
        for (number, group) in self.groups.iter().enumerate() {
            let _ = writeln!(
                text,
                "\ncall {} of {}{}, hash slot {}: all of its counters are charged, or none",
                number + 1,
                self.groups.len(),
                if self.groups.len() > 1 {
                    ", sent together"
                } else {
                    ""
                },
                group.slot().get()
            );
            let mut table = Table::new(&["limit", "algorithm", "N", "cost", "on_error", "key", "field"]);
            for charge in &group.charges {
                table.row(&[
                    self.name(charge.limit),
                    &algorithm(charge),
                    &granted(charge),
                    &cost(charge),
                    on_error(policy.limits.get(charge.limit)),
                    &key(group, charge),
                    field(charge),
                ]);
                if let Some(live) = &charge.live {
                    let hash = group
                        .keys
                        .get(live.key)
                        .map(|key| String::from_utf8_lossy(key).into_owned());
                    table.row(&[
                        "",
                        "live override",
                        "",
                        "",
                        "",
                        &hash.unwrap_or_default(),
                        &live.field,
                    ]);
                }
            }
            text += &table.text();
        }
        text
    }

    fn json(&self) -> Value {
        let limits: Vec<Value> = self
            .limits()
            .map(|(index, limit, status)| {
                let mut value = json!({
                    "name": limit.name,
                    "holds": matches!(status, LimitStatus::Applies { .. }) && !self.explained.exempt.is_full(),
                    "why": self.reason(index, limit, status),
                });
                if let (
                    LimitStatus::Applies {
                        quota,
                        live,
                        enforced,
                        ..
                    },
                    Some(fields),
                ) = (status, value.as_object_mut())
                {
                    fields.insert("rate".into(), show_quota(quota).into());
                    fields.insert("live_override".into(), live.into());
                    fields.insert("enforced".into(), enforced.into());
                }
                value
            })
            .collect();
        let charge = |group: &Group, charge: &Charge| {
            json!({
                "limit": self.name(charge.limit),
                "key": key(group, charge),
                "field": if charge.algorithm.form() == Form::Log { Value::Null } else { field(charge).into() },
                "cost": cost(charge),
                "enforced": charge.enforced,
            })
        };
        let calls: Vec<Value> = self
            .groups
            .iter()
            .map(|group| {
                let charges: Vec<Value> = group.charges.iter().map(|one| charge(group, one)).collect();
                json!({"slot": group.slot().get(), "charges": charges})
            })
            .collect();
        let reading = |(number, path): &(u8, String)| json!({"number": number, "path": path});
        let readings: Vec<Value> = self.readings.iter().map(reading).collect();
        json!({
            "instance": self.loaded.policy.instance,
            "path": self.path(1),
            "readings": readings,
            "client": self.identity.client().map(ToString::to_string),
            "ambiguous_client": matches!(self.identity, Identity::Ambiguous(_)),
            "exempt": self.explained.exempt.is_full(),
            "filter_state": self.written(),
            "limits": limits,
            "calls": calls,
        })
    }
}

fn readings(request: &Request) -> Vec<(u8, String)> {
    let target = request.header(":path").value().unwrap_or_default();
    let shown = |(number, path)| (number, String::from_utf8_lossy(path).into_owned());
    PathReadings::of(&target).numbered().map(shown).collect()
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
