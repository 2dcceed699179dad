//! A hash table of counters in shared data, with a fixed number of buckets. Independent of limits.
//!
//! All counters of one hash tag are in one bucket, chosen by the tag's hash under a secret seed: one compare-and-swap
//! changes them together. Buckets grow and shrink with their counters. The total number of counters is a value of its
//! own, which is written only when a counter is added or evicted. So uneven hashes evict no counter.
//!
//! **Law.** As long as at most `max_counters` counters are unexpired, none is evicted. An expired counter is removed
//! when its bucket is written or swept: each new counter sweeps one bucket, in turn. While every bucket is swept once,
//! as many counters are added as there are buckets. So the table holds up to `max_counters` and, above 64, a sixteenth
//! more (an eighth if that makes a power of two). Only beyond that it evicts one of about [`SAMPLE`] counters that it
//! looks at.
//!
//! **One bucket** holds [`super::rewrite::LARGEST`] bytes at most, some 1,100 counters: a client with a counter for
//! each path evicts its own counters, not those of others. (They are counted as evicted, too.)
//!
//! **Eviction** ([`victim`]): the least recently used goes first, and counters that still deny go last. Otherwise a
//! caller could evict its own spent counter by as many made-up paths or API keys as the table holds. To evict a denying
//! counter, a caller has to spend three quarters of all others first. The most recently used quarter stays in any case:
//! if spent counters filled the table, a new one would be evicted before its second call, and its limit would apply to
//! no client. If the whole table is full, this is true of the counters that are looked at: [`LOOKS`] buckets before a
//! denying one is evicted.

use super::bucket::{read_u64, slots, StoredCounter};
use super::rewrite::{load, rewrite, touch, victim};
use super::{ChargedCounter, LocalError, Refused, SharedData, Version};
use crate::limit::{Charge, Form, Group};
use crate::script::ScriptReply;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::Hasher;

/// The largest average number of counters in a bucket.
const PER_BUCKET: u64 = 16;
/// Up to this many counters are in one bucket, and the evicted one is chosen among all of them.
const ONE_BUCKET: u64 = 64;
const MOST_BUCKETS: u64 = 1 << 18;
/// How many counters are looked at to evict one; more if all of them deny, in at most [`LOOKS`] buckets.
const SAMPLE: usize = 16;
const LOOKS: u64 = 16;
/// How many are evicted at once after the table has shrunk.
const EVICT_AT_ONCE: u64 = 8;

/// Limit of retries. One of the workers that write at the same time always succeeds, so it is never reached.
const ATTEMPTS: usize = 10_000;

const VERSION: u8 = 1;

pub(super) struct Table<H> {
    host: H,
    /// The prefix of all names.
    start: String,
    buckets: u64,
    /// The largest number of counters.
    capacity: u64,
    seed: [u64; 2],
    /// Reused for names to save allocations; empty between two uses.
    name: String,
    /// Evictions since the last call of `take_evicted`.
    evicted: u64,
}

/// The location of the counters of one hash tag.
pub(super) struct TagLocation {
    bucket: u64,
    /// Has hashed the tag already.
    hasher: DefaultHasher,
    /// The length of the key up to the end of the tag.
    tag_end: usize,
}

/// The totals of the table.
struct TableTotals {
    seed: [u64; 2],
    counters: u64,
    /// The total number of swept buckets.
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
            name: String::new(),
            evicted: 0,
        };
        // The seed of the first worker is used by all.
        let begun = table.settle(0, 0, 0);
        if let Some(census) = begun {
            table.seed = census.seed;
        }
        table
    }

    pub fn place(&self, group: &Group) -> TagLocation {
        let key = group.keys.first().map(Vec::as_slice).unwrap_or_default();
        let tag_end = key.iter().position(|byte| *byte == b'}').unwrap_or(key.len());
        let mut hasher = DefaultHasher::new();
        for word in self.seed {
            hasher.write_u64(word);
        }
        hasher.write(key.get(..tag_end).unwrap_or_default());
        TagLocation {
            bucket: hasher.finish() % self.buckets,
            hasher,
            tag_end,
        }
    }

    /// The id of a counter in its bucket. Two counters collide with a probability of 2⁻⁶⁴, and callers do not know the
    /// seed.
    pub fn id(&self, place: &TagLocation, group: &Group, charge: &Charge, form: Form) -> u64 {
        let key = group.keys.get(charge.key).map(Vec::as_slice).unwrap_or_default();
        let mut hasher = place.hasher.clone();
        hasher.write(key.get(place.tag_end..).unwrap_or_default());
        hasher.write(&[0]);
        hasher.write(charge.field.as_bytes());
        hasher.write(&[0]);
        hasher.write(form.as_str().as_bytes());
        hasher.finish()
    }

    /// Reads the counters, applies `change` and writes what it changed; retries if another worker has written
    /// meanwhile.
    pub fn update(
        &mut self,
        place: &TagLocation,
        counters: &mut [ChargedCounter<'_>],
        now_ms: u64,
        change: &dyn Fn(&mut [ChargedCounter<'_>]) -> ScriptReply,
    ) -> Result<ScriptReply, LocalError> {
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

    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    fn note_evicted(&mut self, counters: u64) {
        self.evicted += counters;
    }

    /// Updates the totals, sweeps a bucket for each added counter, and evicts counters if there are too many. `None`:
    /// the host does not store them.
    fn settle(&mut self, added: u64, mut gone: u64, now_ms: u64) -> Option<TableTotals> {
        for _ in 0..ATTEMPTS {
            let (bytes, version) = match self.get("census") {
                Some((bytes, version)) => (bytes, version),
                None => (Vec::new(), Version::ABSENT),
            };
            let mut census = TableTotals::read(&bytes).unwrap_or(TableTotals {
                seed: self.seed,
                counters: 0,
                swept: 0,
            });
            for _ in 0..added {
                gone += self.sweep(census.swept % self.buckets, now_ms);
                census.swept += 1;
            }
            let grown = census.counters + added;
            for turn in 0..EVICT_AT_ONCE {
                if grown.saturating_sub(gone) > self.capacity {
                    gone += self.evict(census.swept + turn, now_ms);
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

    /// Drops the expired counters of a bucket. Returns how many; 0 if another worker writes it at the same time.
    fn sweep(&mut self, bucket: u64, now_ms: u64) -> u64 {
        let (bytes, version) = self.read(bucket);
        let any = slots(&bytes).any(|slot| slot.is_over(now_ms));
        if !any {
            return 0;
        }
        self.drop_from(bucket, &bytes, version, &|slot| slot.is_over(now_ms))
    }

    /// Evicts one of a sample of counters, and drops expired ones among them. Returns how many.
    fn evict(&mut self, turn: u64, now_ms: u64) -> u64 {
        let first = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let mut over = 0;
        let mut seen: Vec<EvictionCandidate> = Vec::with_capacity(2 * SAMPLE);
        let first_victim = |seen: &[EvictionCandidate]| victim(seen.iter(), |one| one.denies).copied();
        for look in 0..LOOKS.min(self.buckets) {
            let bucket = (first + look) % self.buckets;
            let (bytes, version) = self.read(bucket);
            if slots(&bytes).any(|slot| slot.is_over(now_ms)) {
                over += self.drop_from(bucket, &bytes, version, &|slot| slot.is_over(now_ms));
            }
            let lasting = slots(&bytes).filter(|slot| !slot.is_over(now_ms));
            seen.extend(lasting.map(|slot| EvictionCandidate {
                used_ms: slot.times.used,
                denies: slot.denies(now_ms),
                bucket,
                id: slot.id,
            }));
            seen.sort_by_key(|counter| counter.used_ms);
            let harmless = first_victim(&seen).is_some_and(|one| !one.denies);
            if seen.len() >= SAMPLE && (harmless || over > 0) {
                break;
            }
        }
        let (0, Some(EvictionCandidate { bucket, id, .. })) = (over, first_victim(&seen)) else {
            return over;
        };
        let (bytes, version) = self.read(bucket);
        let evicted = self.drop_from(bucket, &bytes, version, &|slot| slot.id == id);
        self.note_evicted(evicted);
        evicted
    }

    fn drop_from(
        &mut self,
        bucket: u64,
        bytes: &[u8],
        version: Version,
        drops: &dyn Fn(&StoredCounter<'_>) -> bool,
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

    fn read(&mut self, bucket: u64) -> (Vec<u8>, Version) {
        let value = self.get(itoa::Buffer::new().format(bucket));
        value.unwrap_or((Vec::new(), Version::ABSENT))
    }

    fn replace(&mut self, bucket: u64, bytes: &[u8], version: Version) -> Result<(), Refused> {
        self.set(itoa::Buffer::new().format(bucket), bytes, version)
    }

    fn get(&mut self, end: &str) -> Option<(Vec<u8>, Version)> {
        self.named(end, |host, name| host.get(name))
    }

    fn set(&mut self, end: &str, bytes: &[u8], version: Version) -> Result<(), Refused> {
        self.named(end, |host, name| host.replace(name, bytes, version))
    }

    fn named<T>(&mut self, end: &str, act: impl FnOnce(&H, &str) -> T) -> T {
        self.name.clear();
        let _ = write!(self.name, "{}{end}", self.start);
        act(&self.host, &self.name)
    }
}

/// A candidate for eviction.
#[derive(Clone, Copy)]
struct EvictionCandidate {
    used_ms: u64,
    denies: bool,
    bucket: u64,
    id: u64,
}

impl TableTotals {
    /// `None`: not in a format that this release knows.
    fn read(bytes: &[u8]) -> Option<TableTotals> {
        let (VERSION, numbers) = bytes.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let mut numbers = numbers.chunks_exact(8).filter_map(read_u64);
        let mut next = || numbers.next();
        Some(TableTotals {
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
