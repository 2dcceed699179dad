//! What engines know of the slots' owners, and whether they keep shards apart by it.

use super::stream::{ReplyPlaceId, Stream};
use super::Network;
use crate::time::{Micros, MS};

/// Within any caller's time.
const SOON: Micros = 10 * MS;

impl Network {
    /// An engine that knows the slots' owners has a stream for each shard. Calls that were made before it knew may be
    /// sent later.
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

    /// Whether the engine knew at that time who owns which slots, as it is now.
    pub fn knows_slot_owners(&self, owner: usize, at: Micros) -> bool {
        let known = self.known_slots.get(&owner);
        known.is_some_and(|known| known.since <= at && known.version == self.cluster.version)
    }

    /// A reply to a probe: what it says reaches the engine by the time that is noted.
    pub(super) fn note_probe(&mut self, place: ReplyPlaceId, shard: usize, reply: &[u8]) {
        let stream = self.stream(place.stream);
        let (owner, opened, sent) = (stream.owner, stream.opened, stream.probe(place.number));
        // One that had to wait for its stream may be late all the same.
        let soon = sent.is_some_and(|sent| self.now < sent + SOON && opened + SOON < sent);
        if soon && reply.starts_with(b"-NOSCRIPT") {
            let known = self.now + 2 * self.settings.hop + 1;
            self.probed.insert((owner, shard), known);
        }
    }

    /// When the engine was last told that the shard is well, by a probe.
    pub fn probed(&self, owner: usize, shard: usize) -> Option<Micros> {
        self.probed.get(&(owner, shard)).copied()
    }

    /// Whether the engine was ever told who owns which slots.
    pub fn has_learned_slot_owners(&self, owner: usize) -> bool {
        self.known_slots.contains_key(&owner)
    }

    /// How many streams the engine has open.
    pub fn open_streams(&self, owner: usize) -> usize {
        let open = |stream: &&Stream| stream.owner == owner && !stream.closed && !stream.broken;
        self.streams.iter().filter(open).count()
    }
}
