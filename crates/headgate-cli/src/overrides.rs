//! `headgate override`: live overrides, kept with a client's counters and read with every call.
//!
//! Works on fields of the client's hash as `script::LiveQuota` has them. A hash with a live override does not expire:
//! `set` removes its expiry, `unset` sets one again.

use super::charges::show_quota;
use super::counters::{fields, Fields};
use super::overrides_shown::{as_json, in_place, remark, shown};
use super::store::{Store, StoreArgs};
use super::table::Table;
use super::target::{CounterSpace, CounterSpaceArgs, Target};
use super::{Failure, Output};
use ::redis::{cmd, pipe};
use headgate_core::limit::{Limit, Override, Period, Quota, Rate, MAX_LIMIT};
use headgate_core::script::LiveQuota;
use headgate_core::store::{override_field, override_limit, Label};
use serde_json::{json, Value};

#[derive(clap::Args)]
pub struct OverrideArgs {
    #[command(subcommand)]
    command: OverrideCommand,
}

#[derive(clap::Subcommand)]
enum OverrideCommand {
    /// Grant a client another N for a limit, from its next call on
    #[command(
        after_help = "Example: headgate override set api_key:k per-client 1000 --ttl 1h --policy envoy.yaml"
    )]
    Set {
        #[command(flatten)]
        of: Of,
        /// The limit's name
        limit: String,
        /// N, unlimited, or N/period with the limit's own period (overrides change N, never the period)
        rate: String,
        /// Duration of the override: 90s, 30m, 1h, 7d; without it, until it is unset
        #[arg(long)]
        ttl: Option<String>,
    },
    /// Show a client's live overrides
    Get {
        #[command(flatten)]
        of: Of,
        /// Only this limit's
        limit: Option<String>,
    },
    /// Remove a live override
    Unset {
        #[command(flatten)]
        of: Of,
        limit: String,
    },
    /// Show every client's live overrides; looks at every key
    List {
        #[command(flatten)]
        place: CounterSpaceArgs,
        #[command(flatten)]
        store: StoreArgs,
        /// JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Of {
    /// source:value, source:hash (as in logs) or address:192.0.2.1; source:- reads the value from standard input
    client: String,
    #[command(flatten)]
    place: CounterSpaceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub fn run(args: &OverrideArgs) -> Result<Output, Failure> {
    match &args.command {
        OverrideCommand::Set { of, limit, rate, ttl } => set(of, limit, rate, ttl.as_deref()),
        OverrideCommand::Get { of, limit } => get(of, limit.as_deref()),
        OverrideCommand::Unset { of, limit } => unset(of, limit),
        OverrideCommand::List { place, store, json } => {
            Ok(list(&place.read()?, &mut store.connect()?, *json))
        }
    }
}

fn set(of: &Of, limit: &str, rate: &str, ttl: Option<&str>) -> Result<Output, Failure> {
    let place = of.place.read()?;
    let target = place.target(&of.client)?;
    let of_policy = limit_of_policy(&place, limit)?;
    let (n, period) = parse_rate(rate)?;
    let ttl_ms = ttl.map(parse_ttl).transpose()?;
    let mut store = of.store.connect()?;
    if let Some(period) = period {
        check_period(&mut store, &target, limit, of_policy, period)?;
    }
    let clock_ms = store.clock_us(&target.hash)? / 1000;
    let quota = LiveQuota {
        limit: n,
        until_ms: ttl_ms.map(|ttl| clock_ms + ttl),
    };
    let (key, field, value) = (
        &target.hash,
        override_field(limit, &place.hasher),
        quota.to_string(),
    );
    let () = store.on(key, |connection| {
        let mut both = pipe();
        both.atomic()
            .cmd("HSET")
            .arg(key)
            .arg(&field)
            .arg(&value)
            .ignore();
        both.cmd("PERSIST").arg(key).ignore();
        both.query(connection)
    })?;
    if of_policy.is_none() {
        eprintln!(
            "headgate: not checked whether the limit {limit} reads live overrides; only one with overrides: [{{from: \
             redis}}] does: --policy FILE checks it"
        );
    }
    let quota_shown = shown(&quota, clock_ms);
    Ok(Output::text(match (of.json, of_policy) {
        (true, _) => format!(
            "{:#}\n",
            json!({
                "client": target.tag,
                "limit": limit,
                "override": as_json(&quota, clock_ms),
                "is_read": of_policy.map(|_| true),
            })
        ),
        (false, Some(_)) => format!("{}: {limit} is {quota_shown} from the next call on\n", target.tag),
        (false, None) => format!(
            "{}: stored: {limit} is {quota_shown} from the next call on, if the limit reads live overrides\n",
            target.tag
        ),
    }))
}

/// The policy's limit of this name, if there is a policy.
fn limit_of_policy<'p>(place: &'p CounterSpace, name: &str) -> Result<Option<&'p Limit>, Failure> {
    let Some(loaded) = &place.loaded else {
        return Ok(None);
    };
    let limits = &loaded.policy.limits;
    let Some(limit) = limits.iter().find(|limit| limit.name == name) else {
        let names: Vec<&str> = limits.iter().map(|limit| limit.name.as_str()).collect();
        return Err(Failure::new(format!(
            "no limit {name}; the policy has {}",
            names.join(", ")
        )));
    };
    if !limit.overrides.contains(&Override::Redis) {
        return Err(Failure::new(format!(
            "the limit {name} reads no live override; add overrides: [{{from: redis}}] to it"
        )));
    }
    Ok(Some(limit))
}

/// N (`None`: unlimited), and the period where one is written.
fn parse_rate(text: &str) -> Result<(Option<u64>, Option<Period>), Failure> {
    if let Ok(n) = text.parse::<u64>() {
        return match n <= MAX_LIMIT {
            true => Ok((Some(n), None)),
            false => Err(Failure::new(format!(
                "{n}: N is at most {MAX_LIMIT}; for no limit write unlimited"
            ))),
        };
    }
    match Quota::parse(text) {
        Ok(Quota::Unlimited) => Ok((None, None)),
        Ok(Quota::Limited(Rate { limit, period })) => Ok((Some(limit), Some(period))),
        Err(error) => Err(Failure::new(format!("{text:?}: {error}"))),
    }
}

/// In ms: a period as in a rate.
fn parse_ttl(text: &str) -> Result<u64, Failure> {
    match Quota::parse(&format!("0/{text}")) {
        Ok(Quota::Limited(rate)) => Ok(rate.period.as_millis()),
        _ => Err(Failure::new(format!(
            "--ttl {text:?}: write 90s, 30m, 1h or 7d; 1 s to 366 d"
        ))),
    }
}

/// An override changes N, never the period: one that names another is a mistake.
fn check_period(
    store: &mut Store,
    target: &Target,
    name: &str,
    of_policy: Option<&Limit>,
    period: Period,
) -> Result<(), Failure> {
    let own = match of_policy.and_then(Limit::period) {
        Some(own) => Some(own),
        None => {
            let everything = super::counters::read(store, target)?;
            let mut counters = everything.counters.iter();
            counters
                .find(|stored| stored.label.limit == name)
                .map(|stored| stored.label.period)
        }
    };
    match own {
        Some(own) if own != period => {
            let show = |period| show_quota(Quota::Limited(Rate { limit: 0, period })).replacen("0/", "", 1);
            Err(Failure::new(format!(
                "the limit {name} counts by {}, and an override changes N, never the period: write N for that instead of {}",
                show(own),
                show(period)
            )))
        }
        Some(_) => Ok(()),
        None => {
            eprintln!(
                "headgate: the period is not checked: {name} has no counter yet; add --policy FILE to check it"
            );
            Ok(())
        }
    }
}

/// The live overrides of a hash, by limit.
fn overrides(fields: Fields) -> Vec<(String, LiveQuota)> {
    let one = |(field, value): (Vec<u8>, Vec<u8>)| {
        let name = String::from_utf8(field).ok()?;
        Some((override_limit(&name)?, LiveQuota::parse(&value)?))
    };
    fields.into_iter().filter_map(one).collect()
}

fn get(of: &Of, limit: Option<&str>) -> Result<Output, Failure> {
    let place = of.place.read()?;
    let target = place.target(&of.client)?;
    let mut store = of.store.connect()?;
    let clock_ms = store.clock_us(&target.hash)? / 1000;
    let mut found = overrides(fields(&mut store, &target.hash)?);
    found.retain(|(name, _)| limit.is_none_or(|limit| limit == name));
    let text = match of.json {
        true => {
            let all: serde_json::Map<String, Value> = found
                .iter()
                .map(|(limit, quota)| (limit.clone(), in_place(as_json(quota, clock_ms), &place, limit)))
                .collect();
            format!("{:#}\n", json!({"client": target.tag, "overrides": all}))
        }
        false if found.is_empty() => format!("{}: no live override{}\n", target.tag, place.hint(&of.client)),
        false => found
            .iter()
            .map(|(limit, quota)| format!("{limit} is {}{}\n", shown(quota, clock_ms), remark(&place, limit)))
            .collect(),
    };
    Ok(Output {
        text,
        status: u8::from(found.is_empty()),
    })
}

fn unset(of: &Of, limit: &str) -> Result<Output, Failure> {
    let place = of.place.read()?;
    let target = place.target(&of.client)?;
    let mut store = of.store.connect()?;
    let (key, field) = (&target.hash, override_field(limit, &place.hasher));
    let removed: u64 = store.on(key, |connection| {
        cmd("HDEL").arg(key).arg(&field).query(connection)
    })?;
    expire(&mut store, key)?;
    let text = match (of.json, removed) {
        (true, _) => format!(
            "{:#}\n",
            json!({"client": target.tag, "limit": limit, "removed": removed > 0})
        ),
        (false, 0) => format!(
            "{}: no live override of {limit}{}\n",
            target.tag,
            place.hint(&of.client)
        ),
        (false, _) => format!(
            "{}: {limit} follows the policy again from the next call on\n",
            target.tag
        ),
    };
    Ok(Output {
        text,
        status: u8::from(removed == 0),
    })
}

/// Sets the expiry of a hash without a valid live override: after it, none of its counters has an effect.
fn expire(store: &mut Store, key: &[u8]) -> Result<(), Failure> {
    let clock_ms = store.clock_us(key)? / 1000;
    let fields = fields(store, key)?;
    // The previous window of a counter still counts, and a stored time may be a period ahead.
    let period = |(field, _): &(Vec<u8>, Vec<u8>)| {
        let label = Label::parse(std::str::from_utf8(field).ok()?)?;
        Some(label.period.as_millis())
    };
    let Some(longest) = fields.iter().filter_map(period).max() else {
        return Ok(());
    };
    if overrides(fields).iter().any(|(_, quota)| quota.holds(clock_ms)) {
        return Ok(());
    }
    // A call that was counted meanwhile has set its own.
    let () = store.on(key, |connection| {
        let left: i64 = cmd("PTTL").arg(key).query(connection)?;
        if left == -1 {
            let _set: u64 = cmd("PEXPIRE")
                .arg(key)
                .arg(longest.saturating_mul(3))
                .query(connection)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn list(place: &CounterSpace, store: &mut Store, json: bool) -> Output {
    let start = format!("{}{{", place.start);
    let hashes = store.hashes(start.as_bytes(), |connection, key, clock_us| {
        let fields = cmd("HGETALL").arg(key).query::<Fields>(connection)?;
        Ok((fields, clock_us / 1000))
    });
    let mut table = Table::new(&["client", "limit", "override"]);
    let mut rows = Vec::new();
    for (key, (fields, clock_ms)) in hashes.rows {
        let tag = key
            .get(start.len()..key.len().saturating_sub(1))
            .unwrap_or_default();
        let tag = String::from_utf8_lossy(tag).into_owned();
        for (limit, quota) in overrides(fields) {
            table.row(&[&tag, &limit, &(shown(&quota, clock_ms) + &remark(place, &limit))]);
            let mut row = in_place(as_json(&quota, clock_ms), place, &limit);
            if let Some(row) = row.as_object_mut() {
                row.insert("client".into(), tag.as_str().into());
                row.insert("limit".into(), limit.into());
            }
            rows.push(row);
        }
    }
    for Failure(message) in &hashes.missing {
        eprintln!("headgate: not read: {message}");
    }
    let text = match (json, rows.is_empty()) {
        (true, _) => format!("{:#}\n", Value::from(rows)),
        (false, true) if hashes.missing.is_empty() => "no live override\n".to_owned(),
        (false, true) => "no live override on the nodes that were read\n".to_owned(),
        (false, false) => table.text(),
    };
    Output {
        text,
        status: if hashes.missing.is_empty() { 0 } else { 2 },
    }
}

#[cfg(test)]
#[path = "overrides_tests.rs"]
mod tests;
