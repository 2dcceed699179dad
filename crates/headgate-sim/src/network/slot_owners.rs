//! Which engines know the owners of the slots, and whether they use a separate stream for each shard then.

use super::stream::{ReplyPlaceId, Stream};
use super::Network;
use crate::time::{Micros, MS};

/// A delay within the timeout of every policy.
const SOON: Micros = 10 * MS;

impl Network {
    /// Checks that an engine that knows the owners of the slots uses a separate stream for each shard. Calls that were
    /// made before it knew them may be sent later.
    pub(super) fn check_own_stream(&mut self, id: u32, shard: usize, tag: Option<u64>) {
        let (owner, now) = (self.stream(id).owner, self.now);
        let known = self.known_slots.get(&owner).map_or(u64::MAX, |known| known.tags);
        if !self.knows_slot_owners(owner, now) || tag.is_none_or(|tag| tag <= known) {
            self.stream(id).shard = None;
            return;
        }
        let before = self.stream(id).shard.replace(shard);
        if before.is_some_and(|before| before != shard) {
            let what = format!("stream {id} has calls for shards {before:?} and {shard}");
            self.journal.broken("own-stream", what);
        }
    }

    /// Whether the engine already knew the current owners of the slots at that time.
    pub fn knows_slot_owners(&self, owner: usize, at: Micros) -> bool {
        let known = self.known_slots.get(&owner);
        known.is_some_and(|known| known.since <= at && known.version == self.cluster.version)
    }

    /// Records a timely reply to a probe, with the time by which the engine has it.
    pub(super) fn note_probe(&mut self, place: ReplyPlaceId, shard: usize, reply: &[u8]) {
        let stream = self.stream(place.stream);
        let (owner, opened, sent) = (stream.owner, stream.opened, stream.probe(place.number));
        // A probe that waited for its stream may be late.
        let soon = sent.is_some_and(|sent| self.now < sent + SOON && opened + SOON < sent);
        if soon && reply.starts_with(b"-NOSCRIPT") {
            let known = self.now + 2 * self.settings.hop + 1;
            self.probed.insert((owner, shard), known);
        }
    }

    /// When a probe last showed the engine that the shard is available.
    pub fn probed(&self, owner: usize, shard: usize) -> Option<Micros> {
        self.probed.get(&(owner, shard)).copied()
    }

    /// Whether the engine ever learned the owners of the slots.
    pub fn has_learned_slot_owners(&self, owner: usize) -> bool {
        self.known_slots.contains_key(&owner)
    }

    /// The number of open streams of the engine.
    pub fn open_streams(&self, owner: usize) -> usize {
        let open = |stream: &&Stream| stream.owner == owner && !stream.closed && !stream.broken;
        self.streams.iter().filter(open).count()
    }
}
