//! Faults described in a line: `redis down 10s..20s`, `shard 2 frozen 5s..8s`, `latency 80ms 10s..`.

use headgate_sim::fault::{Fault, PlannedFault, Target};
use headgate_sim::time::Micros;

/// What may be written, for `--help`.
pub const GRAMMAR: &str = "WHO WHAT FROM..UNTIL. WHO is redis (every node; may be left out) or shard N, and WHAT of it: down \
· wiped (down, and empty afterwards) · failover (down until a replica takes over) · frozen · full (out of memory) · \
latency DURATION (more each way) · loss 5% (of replies); or WHO is envoy N, and WHAT of it: stalled (its workers do \
nothing) · isolated (it reaches no node). Times count from the first request: 10s..20s, or 10s.. to the end, or nothing \
for the whole run";

/// The text in place of an end.
const NEVER: Micros = Micros::MAX / 4;

/// The numbers of shards and Envoys that a fault may name.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub shards: usize,
    pub envoys: usize,
}

/// Reads a fault.
///
/// # Errors
/// What is not in [`GRAMMAR`].
pub fn parse(text: &str, sizes: Sizes) -> Result<PlannedFault, String> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let (from, until) = match words.last().filter(|last| last.contains("..")) {
        Some(range) => {
            let range = parse_range(range)?;
            words.pop();
            range
        }
        None => (0, NEVER),
    };
    let fault = match words.as_slice() {
        ["envoy", number, what @ ..] => of_envoy(which(number, "envoy", sizes.envoys)?, what),
        ["shard", number, what @ ..] => of_redis(which(number, "shard", sizes.shards)?, what)?,
        ["redis", what @ ..] | what => of_redis(Target::All, what)?,
    };
    let Some(fault) = fault else {
        return Err(format!("{text:?} is not understood"));
    };
    Ok(PlannedFault { from, until, fault })
}

fn of_redis(shard: Target, what: &[&str]) -> Result<Option<Fault>, String> {
    Ok(Some(match what {
        ["down"] => Fault::Down { shard, loses: false },
        ["wiped"] => Fault::Down { shard, loses: true },
        ["failover"] => match shard {
            Target::One(shard) => Fault::Failover {
                shard,
                lag: 0,
                clock_us: 0,
            },
            Target::All => return Err("failover: write which shard, as in shard 1 failover".to_owned()),
        },
        ["frozen"] => Fault::Frozen { shard },
        ["full"] => Fault::Error {
            shard,
            text: "OOM command not allowed when used memory > 'maxmemory'.",
            writes: true,
        },
        ["latency", extra] => Fault::Latency {
            shard,
            extra: duration(extra)?,
        },
        ["loss", share] => {
            let percent = share.strip_suffix('%').and_then(|share| share.parse().ok());
            match percent {
                Some(percent @ 0..=100) => Fault::Loss {
                    shard,
                    percent,
                    before: false,
                },
                _ => return Err(format!("loss {share}: write a share from 0% to 100%")),
            }
        }
        _ => return Ok(None),
    }))
}

fn of_envoy(envoy: Target, what: &[&str]) -> Option<Fault> {
    match what {
        ["stalled"] => Some(Fault::Stall {
            envoy,
            worker: Target::All,
        }),
        ["isolated"] => Some(Fault::UpstreamFailure { envoy }),
        _ => None,
    }
}

/// The target that a number from 1 names.
fn which(number: &str, what: &str, count: usize) -> Result<Target, String> {
    match number.parse::<usize>() {
        Ok(number) if (1..=count).contains(&number) => Ok(Target::One(number - 1)),
        _ => Err(format!(
            "{what} {number}: write a number from 1 to {count}, or more of them by --{what}s"
        )),
    }
}

fn parse_range(text: &str) -> Result<(Micros, Micros), String> {
    let wrong = || format!("{text:?} is not a time span; write 10s..20s, or 10s.. to the end");
    let (from, until) = text.split_once("..").ok_or_else(wrong)?;
    let from = match from {
        "" => 0,
        from => duration(from)?,
    };
    let until = match until {
        "" => NEVER,
        until => duration(until)?,
    };
    match from < until {
        true => Ok((from, until)),
        false => Err(format!("{text:?}: the end is not after the beginning")),
    }
}

/// `80ms`, `1.5s`, `2m`, `1h`, in µs.
fn duration(text: &str) -> Result<Micros, String> {
    let units = [("ms", 1e3), ("s", 1e6), ("m", 6e7), ("h", 3.6e9)];
    let read = units.into_iter().find_map(|(unit, micros)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        (0.0..=1e9)
            .contains(&number)
            .then_some((number * micros) as Micros)
    });
    read.ok_or_else(|| format!("{text:?} is not a duration; write 80ms, 10s, 5m or 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { shards: 3, envoys: 2 };

    #[test]
    fn a_fault_is_who_what_and_when() {
        let read = |text: &str| {
            let planned = parse(text, SIZES).unwrap_or_else(|error| panic!("{text}: {error}"));
            (planned.from, planned.until, planned.fault)
        };
        let down = Fault::Down {
            shard: Target::All,
            loses: false,
        };
        assert_eq!(
            read("redis down 10s..20s"),
            (10_000_000, 20_000_000, down.clone())
        );
        assert_eq!(read("down ..1.5s"), (0, 1_500_000, down));
        let frozen = Fault::Frozen {
            shard: Target::One(1),
        };
        assert_eq!(read("shard 2 frozen 5s..8s"), (5_000_000, 8_000_000, frozen));
        let slow = Fault::Latency {
            shard: Target::All,
            extra: 80_000,
        };
        assert_eq!(read("latency 80ms 10s.."), (10_000_000, NEVER, slow));
        let stalled = Fault::Stall {
            envoy: Target::One(0),
            worker: Target::All,
        };
        assert_eq!(read("envoy 1 stalled 1m..2m"), (60_000_000, 120_000_000, stalled));
        for text in [
            "wiped",
            "shard 3 failover 1s..2s",
            "full",
            "loss 5%",
            "envoy 2 isolated",
        ] {
            read(text);
        }
    }

    #[test]
    fn invalid_text_is_an_error_that_shows_it() {
        for (text, piece) in [
            ("redis asleep 1s..2s", "not understood"),
            ("", "not understood"),
            ("shard 4 frozen 1s..2s", "from 1 to 3"),
            ("envoy 3 stalled", "--envoys"),
            ("redis down 20s..10s", "not after"),
            ("redis down 10..20s", "not a duration"),
            ("latency soon 10s..", "not a duration"),
            ("loss 5 1s..2s", "0% to 100%"),
            ("failover 1s..2s", "which shard"),
        ] {
            let error = parse(text, SIZES).expect_err(text);
            assert!(error.contains(piece), "{text}: {error}");
        }
    }
}
