//! A fixed number of buckets in shared data, and which counters they hold. Knows nothing of limits.
//!
//! All counters of one hash tag lie in one bucket, chosen by the tag's hash under a secret seed: one compare-and-swap
//! changes them together. Buckets grow and shrink with what they hold; how many counters there are in all stands in a
//! value of its own, which is written only when a counter is added or forgotten. So no counter is forgotten because
//! hashes happen to be uneven.
//!
//! **Law.** As long as no more than `max_counters` counters matter at a time, none is forgotten before its time.
//! A counter that is over goes when its bucket is written, or when it is swept: each new counter sweeps one bucket,
//! in turn. While every bucket is swept once, as many counters are born as there are buckets: so the table holds up
//! to `max_counters` and, above 64, a sixteenth more (an eighth where that makes a power of two), and only beyond
//! that forgets one: the longest unused of some [`SAMPLE`] that are looked at.
//!
//! **One bucket** holds [`LARGEST`] bytes at most, some 1,200 counters: a caller whose every path has a counter of its
//! own pushes out its own, not everybody's. (They count as forgotten, too.)

use super::bucket::{push, read_u64, slots, Slot};
use super::{Counter, Kept, LocalError, Refused, SharedData, Version, TOUCH_MS};
use crate::limit::algorithm::State;
use crate::limit::{Charge, Form, Group};
use crate::script::Reply;
use std::cell::{Cell, RefCell};
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::Hasher;

/// Counters a bucket, on average at most.
const PER_BUCKET: u64 = 16;
/// Up to so many counters are in one bucket, and the one that is forgotten is the longest unused of all.
const ONE_BUCKET: u64 = 64;
const MOST_BUCKETS: u64 = 1 << 18;
/// In bytes.
const LARGEST: usize = 64 << 10;

/// How many counters are looked at for one to forget, in [`LOOKS`] buckets at most.
const SAMPLE: usize = 16;
const LOOKS: u64 = 16;
/// How many are forgotten in one go, where the table shrank.
const FORGET_AT_ONCE: u64 = 8;

/// One of the workers that write at the same time always succeeds, so this is never reached.
const ATTEMPTS: usize = 10_000;

const VERSION: u8 = 1;

pub(super) struct Table<H> {
    host: H,
    /// What all names begin with.
    start: String,
    buckets: u64,
    /// How many counters it may hold.
    capacity: u64,
    seed: [u64; 2],
    name: RefCell<String>,
    evicted: Cell<u64>,
}

/// Where the counters of one hash tag lie.
pub(super) struct Place {
    bucket: u64,
    /// Knows the tag already.
    hasher: DefaultHasher,
    /// Where keys go on behind the tag.
    tag_end: usize,
}

/// What is known of the table as a whole.
struct Census {
    seed: [u64; 2],
    counters: u64,
    /// How many buckets were swept, ever.
    swept: u64,
}

impl<H: SharedData> Table<H> {
    pub fn new(host: H, scope: &str, max_counters: u64, seed: [u64; 2]) -> Table<H> {
        let buckets = match max_counters {
            0..=ONE_BUCKET => 1,
            _ => (max_counters / PER_BUCKET).next_power_of_two().min(MOST_BUCKETS),
        };
        let mut table = Table {
            host,
            start: format!("headgate:local:{scope}:{buckets}:"),
            buckets,
            capacity: max_counters + buckets - 1,
            seed,
            name: RefCell::default(),
            evicted: Cell::new(0),
        };
        // The seed of the worker that was first holds for all.
        let begun = table.settle(0, 0, 0);
        if let Some(census) = begun {
            table.seed = census.seed;
        }
        table
    }

    pub fn place(&self, group: &Group) -> Place {
        let key = group.keys.first().map(Vec::as_slice).unwrap_or_default();
        let tag_end = key.iter().position(|byte| *byte == b'}').unwrap_or(key.len());
        let mut hasher = DefaultHasher::new();
        for word in self.seed {
            hasher.write_u64(word);
        }
        hasher.write(key.get(..tag_end).unwrap_or_default());
        Place {
            bucket: hasher.finish() % self.buckets,
            hasher,
            tag_end,
        }
    }

    /// A counter's name in its bucket. Two of them are one with a probability of 2⁻⁶⁴, and nobody who lacks the seed
    /// can do anything for it.
    pub fn id(&self, place: &Place, group: &Group, charge: &Charge, form: Form) -> u64 {
        let key = group.keys.get(charge.key).map(Vec::as_slice).unwrap_or_default();
        let mut hasher = place.hasher.clone();
        hasher.write(key.get(place.tag_end..).unwrap_or_default());
        hasher.write(&[0]);
        hasher.write(charge.field.as_bytes());
        hasher.write(&[0]);
        hasher.write(form.word().as_bytes());
        hasher.finish()
    }

    /// Reads the counters, lets `change` have its way and writes what it changed: again, until nobody else has
    /// written meanwhile.
    pub fn update(
        &self,
        place: &Place,
        counters: &mut [Counter<'_>],
        now_ms: u64,
        change: &dyn Fn(&mut [Counter<'_>]) -> Reply,
    ) -> Result<Reply, LocalError> {
        for _ in 0..ATTEMPTS {
            let (bytes, version) = self.read(place.bucket);
            load(counters, &bytes);
            let reply = change(counters);
            touch(counters, now_ms);
            if counters.iter().all(|counter| counter.write.is_none()) {
                return Ok(reply);
            }
            let (bytes, delta) = rewrite(&bytes, counters, now_ms);
            match self.replace(place.bucket, &bytes, version) {
                Ok(()) => {
                    self.note_evicted(delta.evicted);
                    if delta.added + delta.over + delta.evicted > 0 {
                        self.settle(delta.added, delta.over + delta.evicted, now_ms);
                    }
                    return Ok(reply);
                }
                Err(Refused::Changed) => {}
                Err(Refused::Failed) => return Err(LocalError),
            }
        }
        Err(LocalError)
    }

    pub fn take_evicted(&self) -> u64 {
        self.evicted.take()
    }

    fn note_evicted(&self, counters: u64) {
        self.evicted.set(self.evicted.get() + counters);
    }

    /// Brings the census up to date, sweeps a bucket for each counter that was added, and forgets some where there
    /// are too many. `None`: the host does not keep it.
    fn settle(&self, added: u64, mut gone: u64, now_ms: u64) -> Option<Census> {
        for _ in 0..ATTEMPTS {
            let (bytes, version) = match self.get("census") {
                Some((bytes, version)) => (bytes, version),
                None => (Vec::new(), Version::ABSENT),
            };
            let mut census = Census::read(&bytes).unwrap_or(Census {
                seed: self.seed,
                counters: 0,
                swept: 0,
            });
            for _ in 0..added {
                gone += self.sweep(census.swept % self.buckets, now_ms);
                census.swept += 1;
            }
            let grown = census.counters + added;
            for turn in 0..FORGET_AT_ONCE {
                if grown.saturating_sub(gone) > self.capacity {
                    gone += self.forget(census.swept + turn, now_ms);
                }
            }
            census.counters = grown.saturating_sub(gone);
            let written = census.write();
            if written == bytes {
                return Some(census);
            }
            match self.set("census", &written, version) {
                Ok(()) => return Some(census),
                Err(Refused::Changed) => {}
                Err(Refused::Failed) => return None,
            }
        }
        None
    }

    /// Drops the counters of a bucket that are over; how many. None where somebody else is at it.
    fn sweep(&self, bucket: u64, now_ms: u64) -> u64 {
        let (bytes, version) = self.read(bucket);
        let any = slots(&bytes).any(|slot| slot.is_over(now_ms));
        if !any {
            return 0;
        }
        self.drop_from(bucket, &bytes, version, &|slot| slot.is_over(now_ms))
    }

    /// Forgets the longest unused of some counters; those among them that are over go as well. How many went.
    fn forget(&self, turn: u64, now_ms: u64) -> u64 {
        let first = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let (mut seen, mut over) = (0, 0);
        let mut idlest: Option<(u64, u64, u64)> = None;
        for look in 0..LOOKS.min(self.buckets) {
            let bucket = (first + look) % self.buckets;
            let (bytes, version) = self.read(bucket);
            if slots(&bytes).any(|slot| slot.is_over(now_ms)) {
                over += self.drop_from(bucket, &bytes, version, &|slot| slot.is_over(now_ms));
            }
            for slot in slots(&bytes).filter(|slot| !slot.is_over(now_ms)) {
                seen += 1;
                if idlest.is_none_or(|(used_ms, ..)| slot.used_ms < used_ms) {
                    idlest = Some((slot.used_ms, bucket, slot.id));
                }
            }
            if seen >= SAMPLE {
                break;
            }
        }
        let (0, Some((_, bucket, id))) = (over, idlest) else {
            return over;
        };
        let (bytes, version) = self.read(bucket);
        let evicted = self.drop_from(bucket, &bytes, version, &|slot| slot.id == id);
        self.note_evicted(evicted);
        evicted
    }

    fn drop_from(
        &self,
        bucket: u64,
        bytes: &[u8],
        version: Version,
        drops: &dyn Fn(&Slot<'_>) -> bool,
    ) -> u64 {
        let mut out = Vec::with_capacity(bytes.len());
        let mut dropped = 0;
        for slot in slots(bytes) {
            match drops(&slot) {
                true => dropped += 1,
                false => out.extend_from_slice(slot.bytes),
            }
        }
        match self.replace(bucket, &out, version) {
            Ok(()) => dropped,
            Err(_) => 0,
        }
    }

    fn read(&self, bucket: u64) -> (Vec<u8>, Version) {
        let value = self.get(itoa::Buffer::new().format(bucket));
        value.unwrap_or((Vec::new(), Version::ABSENT))
    }

    fn replace(&self, bucket: u64, bytes: &[u8], version: Version) -> Result<(), Refused> {
        self.set(itoa::Buffer::new().format(bucket), bytes, version)
    }

    fn get(&self, end: &str) -> Option<(Vec<u8>, Version)> {
        self.named(end, |name| self.host.get(name))
    }

    fn set(&self, end: &str, bytes: &[u8], version: Version) -> Result<(), Refused> {
        self.named(end, |name| self.host.replace(name, bytes, version))
    }

    fn named<T>(&self, end: &str, act: impl FnOnce(&str) -> T) -> T {
        let mut name = self.name.take();
        name.clear();
        let _ = write!(name, "{}{end}", self.start);
        let result = act(&name);
        self.name.replace(name);
        result
    }
}

/// What writing a bucket did to the number of counters.
struct Delta {
    added: u64,
    over: u64,
    evicted: u64,
}

/// Sets every counter to what the bucket says of it.
fn load(counters: &mut [Counter<'_>], bytes: &[u8]) {
    for counter in counters.iter_mut() {
        let form = form_of(&counter.state);
        counter.write = None;
        let slot = slots(bytes).find(|slot| slot.id == counter.id);
        let state = slot.and_then(|slot| slot.state(form));
        counter.kept = slot.filter(|_| state.is_some()).map(|slot| Kept {
            ends_ms: slot.ends_ms,
            used_ms: slot.used_ms,
        });
        counter.state = state.unwrap_or_else(|| State::new(form));
    }
}

/// Where nothing is to be written: notes that the counters were used, at times.
fn touch(counters: &mut [Counter<'_>], now_ms: u64) {
    if counters.iter().any(|counter| counter.write.is_some()) {
        return;
    }
    for counter in counters {
        if let Some(kept) = counter.kept {
            let due = now_ms.saturating_sub(kept.used_ms) >= TOUCH_MS && kept.ends_ms > now_ms;
            counter.write = due.then_some(kept.ends_ms);
        }
    }
}

/// The bucket with what is to be written, without what is over, and within its bounds.
fn rewrite(bytes: &[u8], counters: &[Counter<'_>], now_ms: u64) -> (Vec<u8>, Delta) {
    let mut out = Vec::with_capacity(bytes.len() + 64 * counters.len());
    let (mut added, mut over, mut evicted) = (0, 0, 0);
    for slot in slots(bytes) {
        let same = counters
            .iter()
            .find(|counter| counter.id == slot.id && counter.write.is_some());
        match same {
            Some(counter) => over += u64::from(counter.kept.is_none()),
            None if slot.is_over(now_ms) => over += 1,
            None => out.extend_from_slice(slot.bytes),
        }
    }
    let others = out.len();
    for counter in counters {
        if let Some(ends_ms) = counter.write {
            push(&mut out, counter.id, ends_ms, now_ms, &counter.state);
            added += u64::from(counter.kept.is_none());
        }
    }
    let mut cut = 0;
    for slot in slots(out.get(..others).unwrap_or_default()) {
        if out.len() - cut <= LARGEST {
            break;
        }
        cut += slot.bytes.len();
        evicted += 1;
    }
    out.drain(..cut);
    (out, Delta { added, over, evicted })
}

fn form_of(state: &State) -> Form {
    match state {
        State::Fixed(_) => Form::Fixed,
        State::Counter(_) => Form::Counter,
        State::Gcra(_) => Form::Gcra,
        State::Log(_) => Form::Log,
    }
}

impl Census {
    /// `None`: there is none that this release knows.
    fn read(bytes: &[u8]) -> Option<Census> {
        let (VERSION, numbers) = bytes.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let mut numbers = numbers.chunks_exact(8).filter_map(read_u64);
        let mut next = || numbers.next();
        Some(Census {
            seed: [next()?, next()?],
            counters: next()?,
            swept: next()?,
        })
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(33);
        bytes.push(VERSION);
        let [first, second] = self.seed;
        for number in [first, second, self.counters, self.swept] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}
