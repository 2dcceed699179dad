//! `headgate show` and `headgate reset`: a client's counters, for those who are on call.

use super::charges::show_quota;
use super::counters::{self, Everything, Stored, Usage};
use super::store::{Store, StoreArgs};
use super::table::Table;
use super::target::{CounterSpace, CounterSpaceArgs, Target};
use super::{Failure, Output};
use ::redis::cmd;
use headgate_core::limit::{Quota, Rate};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;

#[derive(clap::Args)]
pub struct ShowArgs {
    /// source:value, source:hash (as in logs), address:192.0.2.1, or a tag in braces; source:- reads the value from
    /// standard input
    client: String,
    #[command(flatten)]
    place: CounterSpaceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// JSON, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct ResetArgs {
    /// As for show
    client: String,
    /// Only this limit's counters
    #[arg(long, value_name = "NAME")]
    limit: Option<String>,
    #[command(flatten)]
    place: CounterSpaceArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// JSON, for scripts
    #[arg(long)]
    json: bool,
}

pub fn show(args: &ShowArgs) -> Result<Output, Failure> {
    let place = args.place.read()?;
    let target = place.target(&args.client)?;
    let mut store = args.store.connect()?;
    let everything = counters::read(&mut store, &target)?;
    let rows: Vec<(&Stored, Option<Usage>)> = everything
        .counters
        .iter()
        .map(|stored| (stored, everything.usage(stored, &place, &target)))
        .collect();
    let is_known = !rows.is_empty() || !everything.overrides.is_empty();
    let text = match args.json {
        true => format!("{:#}\n", as_json(&rows, &everything, &place, &target)),
        false if is_known => as_text(&rows, &everything, &place, &target),
        false => format!("{}: nothing is counted{}\n", target.tag, place.hint(&args.client)),
    };
    Ok(Output {
        text,
        status: u8::from(!is_known),
    })
}

fn as_text(
    rows: &[(&Stored, Option<Usage>)],
    everything: &Everything,
    place: &CounterSpace,
    target: &Target,
) -> String {
    let mut text = format!("{}{{{}}}\n", place.start, target.tag);
    if !rows.is_empty() {
        let mut table = Table::new(&[
            "limit",
            "form",
            "rate",
            "used",
            "left",
            "next call",
            "all back",
            "for",
        ]);
        for (stored, usage) in rows {
            let period = show_quota(Quota::Limited(Rate {
                limit: 0,
                period: stored.label.period,
            }));
            let period = period.strip_prefix('0').unwrap_or(&period);
            let Some(usage) = usage else {
                table.row(&[
                    &stored.label.limit,
                    stored.label.form.as_str(),
                    period,
                    "not readable by this release",
                ]);
                continue;
            };
            let verdict = &usage.verdict;
            let (rate, left) = match usage.limit {
                None => (format!("?{period}"), "?".to_owned()),
                Some(Quota::Unlimited) => ("unlimited".to_owned(), "unlimited".to_owned()),
                Some(quota) => (show_quota(quota), verdict.remaining.to_string()),
            };
            let next = match usage.limit {
                None => "?".to_owned(),
                Some(_) if verdict.wait_ms == 0 => "now".to_owned(),
                Some(_) => format!("in {}", span(verdict.wait_ms)),
            };
            let back = match verdict.reset_ms {
                0 => "now".to_owned(),
                wait => format!("in {}", span(wait)),
            };
            table.row(&[
                &stored.label.limit,
                stored.label.form.as_str(),
                &rate,
                &usage.used.to_string(),
                &left,
                &next,
                &back,
                &stored.label.components,
            ]);
        }
        text += &table.text();
        if rows
            .iter()
            .any(|(_, usage)| usage.as_ref().is_some_and(|usage| usage.limit.is_none()))
        {
            let _ = writeln!(text, "? Redis does not store the rates: add --policy FILE");
        }
    }
    for (limit, quota) in &everything.overrides {
        let _ = writeln!(
            text,
            "live override of {limit}: {}{}",
            super::overrides_shown::shown(quota, everything.clock_us / 1000),
            super::overrides_shown::remark(place, limit)
        );
    }
    text
}

fn as_json(
    rows: &[(&Stored, Option<Usage>)],
    everything: &Everything,
    place: &CounterSpace,
    target: &Target,
) -> Value {
    let counters: Vec<Value> = rows
        .iter()
        .map(|(stored, usage)| {
            let usage = usage.as_ref();
            let known = usage.is_some_and(|usage| matches!(usage.limit, Some(Quota::Limited(_))));
            json!({
                "limit": stored.label.limit,
                "form": stored.label.form.as_str(),
                "period_ms": stored.label.period.as_millis(),
                "for": stored.label.components,
                "rate": usage.and_then(|usage| usage.limit).map(show_quota),
                "used": usage.map(|usage| usage.used),
                "left": usage.filter(|_| known).map(|usage| usage.verdict.remaining),
                "next_call_ms": usage.filter(|_| known).map(|usage| usage.verdict.wait_ms),
                "all_back_ms": usage.map(|usage| usage.verdict.reset_ms),
                "key": String::from_utf8_lossy(&stored.key),
                "field": stored.field.as_deref().map(String::from_utf8_lossy),
            })
        })
        .collect();
    let overrides: BTreeMap<&String, Value> = everything
        .overrides
        .iter()
        .map(|(limit, quota)| {
            (
                limit,
                super::overrides_shown::in_place(
                    super::overrides_shown::as_json(quota, everything.clock_us / 1000),
                    place,
                    limit,
                ),
            )
        })
        .collect();
    json!({"client": target.tag, "counters": counters, "overrides": overrides})
}

/// As people read it: `850 ms`, `42 s`, `3 m 20 s`, `5 h 12 m`, `2 d 3 h`.
pub fn span(millis: u64) -> String {
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    let seconds = millis.div_ceil(1_000);
    let two = |large: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {rest} {small}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

pub fn reset(args: &ResetArgs) -> Result<Output, Failure> {
    let place = args.place.read()?;
    let target = place.target(&args.client)?;
    let mut store = args.store.connect()?;
    let everything = counters::read(&mut store, &target)?;
    let is_meant = |stored: &&Stored| {
        args.limit
            .as_ref()
            .is_none_or(|limit| *limit == stored.label.limit)
    };
    let meant: Vec<&Stored> = everything.counters.iter().filter(is_meant).collect();
    remove(&mut store, &meant)?;
    let names: Vec<String> = meant
        .iter()
        .map(|stored| match stored.label.components.as_str() {
            "" => stored.label.limit.clone(),
            components => format!("{} ({components})", stored.label.limit),
        })
        .collect();
    let text = if args.json {
        format!("{:#}\n", json!({"client": target.tag, "reset": names}))
    } else if names.is_empty() {
        let others: Vec<&str> = everything
            .counters
            .iter()
            .map(|stored| stored.label.limit.as_str())
            .collect();
        let what = match others.is_empty() {
            true => format!("nothing is counted{}", place.hint(&args.client)),
            false => format!("no such counter; there are {}", others.join(", ")),
        };
        format!("{}: {what}\n", target.tag)
    } else {
        format!("{}: reset {}\n", target.tag, names.join(", "))
    };
    Ok(Output {
        text,
        status: u8::from(names.is_empty()),
    })
}

/// Live overrides stay. Each key by itself, so that it works while slots move.
fn remove(store: &mut Store, counters: &[&Stored]) -> Result<(), Failure> {
    for stored in counters {
        let key = &stored.key;
        let _removed: u64 = store.on(key, |connection| match &stored.field {
            Some(field) => cmd("HDEL").arg(key).arg(field).query(connection),
            None => cmd("DEL").arg(key).query(connection),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_in_two_units_at_most_and_never_too_short() {
        for (millis, text) in [
            (850, "850 ms"),
            (1_000, "1 s"),
            (1_001, "2 s"),
            (60_000, "1 m"),
            (200_000, "3 m 20 s"),
            (3_600_000, "1 h"),
            (18_720_000, "5 h 12 m"),
            (183_600_000, "2 d 3 h"),
        ] {
            assert_eq!(span(millis), text);
        }
    }
}
