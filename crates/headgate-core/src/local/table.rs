//! A fixed number of buckets in shared data, and which counters they hold. Knows nothing of limits.
//!
//! All counters of one hash tag are in one bucket, chosen by the tag's hash under a secret seed: one compare-and-swap
//! changes them together. Buckets grow and shrink with what they hold; how many counters there are in all is in a
//! value of its own, which is written only when a counter is added or evicted. So no counter is evicted because
//! hashes happen to be uneven.
//!
//! **Law.** As long as no more than `max_counters` counters matter at a time, none is evicted before its time.
//! A counter that is over goes when its bucket is written, or when it is swept: each new counter sweeps one bucket,
//! in turn. While every bucket is swept once, as many counters are born as there are buckets: so the table holds up
//! to `max_counters` and, above 64, a sixteenth more (an eighth where that makes a power of two), and only beyond
//! that evicts one, of some [`SAMPLE`] that it looks at.
//!
//! **One bucket** holds [`super::rewrite::LARGEST`] bytes at most, some 1,100 counters: a caller whose every path has a
//! counter of its own evicts its own, not those of others. (They are counted as evicted, too.)
//!
//! **Which goes** ([`victim`]): the least recently used, and those that still deny last. Otherwise a caller would be
//! rid of its own spent counter after as many made-up paths, or API keys, as there are places. To evict one that denies
//! a caller has to spend three quarters of all the others first. The quarter used most recently stays, whatever the
//! others do: if spent counters filled every place, a new one would be evicted before its second call, and its limit
//! would hold for no client. Where the table as a whole is full, this holds of what is looked at: [`LOOKS`] buckets
//! before one goes that denies.

use super::bucket::{read_u64, slots, StoredCounter};
use super::rewrite::{load, rewrite, touch, victim};
use super::{ChargedCounter, LocalError, Refused, SharedData, Version};
use crate::limit::{Charge, Form, Group};
use crate::script::ScriptReply;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::Hasher;

/// Counters a bucket, on average at most.
const PER_BUCKET: u64 = 16;
/// Up to so many counters are in one bucket, and the one that is evicted is chosen among all of them.
const ONE_BUCKET: u64 = 64;
const MOST_BUCKETS: u64 = 1 << 18;
/// How many counters are looked at for one to evict, and more where all of them deny, in [`LOOKS`] buckets at most.
const SAMPLE: usize = 16;
const LOOKS: u64 = 16;
/// How many are evicted in one go, where the table shrank.
const EVICT_AT_ONCE: u64 = 8;

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
    /// Memory for a name; empty between two uses.
    name: String,
    /// Since it was last asked.
    evicted: u64,
}

/// Where the counters of one hash tag lie.
pub(super) struct TagLocation {
    bucket: u64,
    /// Knows the tag already.
    hasher: DefaultHasher,
    /// Where keys go on behind the tag.
    tag_end: usize,
}

/// What is known of the table as a whole.
struct TableTotals {
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
            name: String::new(),
            evicted: 0,
        };
        // The seed of the worker that was first holds for all.
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

    /// A counter's name in its bucket. Two of them are one with a probability of 2⁻⁶⁴, and nobody who lacks the seed
    /// can do anything for it.
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

    /// Reads the counters, lets `change` have its way and writes what it changed: again, until nobody else has
    /// written meanwhile.
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

    /// Brings the census up to date, sweeps a bucket for each counter that was added, and evicts some where there
    /// are too many. `None`: the host does not keep it.
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

    /// Drops the counters of a bucket that are over; how many. None where somebody else is at it.
    fn sweep(&mut self, bucket: u64, now_ms: u64) -> u64 {
        let (bytes, version) = self.read(bucket);
        let any = slots(&bytes).any(|slot| slot.is_over(now_ms));
        if !any {
            return 0;
        }
        self.drop_from(bucket, &bytes, version, &|slot| slot.is_over(now_ms))
    }

    /// Evicts one of some counters; those among them that are over go as well. How many went.
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

/// A counter that may be evicted.
#[derive(Clone, Copy)]
struct EvictionCandidate {
    used_ms: u64,
    denies: bool,
    bucket: u64,
    id: u64,
}

impl TableTotals {
    /// `None`: there is none that this release knows.
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
