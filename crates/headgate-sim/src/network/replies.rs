//! Delivers replies and the ends of streams to the workers.

use super::*;

impl Network {
    pub(super) fn replied(&mut self, link: LinkId, generation: u32, number: u64, reply: Vec<u8>) {
        if let Some((place, tag)) = self.link(link).replied(generation, number) {
            self.note_probe(place, link.shard, &reply);
            self.answer(place, tag, reply);
        }
    }

    /// The connection to a node has ended: all commands on it fail.
    pub(super) fn broke(&mut self, link: LinkId, generation: u32) {
        for (place, tag) in self.link(link).broke(generation) {
            self.answer(place, tag, error("upstream failure"));
        }
    }

    /// Stores the reply in its place, and sends the worker all replies that are next in order.
    pub(super) fn answer(&mut self, place: ReplyPlaceId, tag: Option<u64>, reply: Vec<u8>) {
        if let Some(tag) = tag {
            self.journal.answered(tag, &reply);
        }
        let stream = self.stream(place.stream);
        stream.fill(place.number, reply);
        let ready = stream.ready();
        if !ready.is_empty() && !stream.broken {
            self.send_up(place.stream, ready);
        }
    }

    /// Sends bytes to the worker, sometimes in two messages.
    pub(super) fn send_up(&mut self, id: u32, mut bytes: Vec<u8>) {
        if bytes.len() > 1 && self.rng.u64(..8) == 0 {
            let rest = bytes.split_off(self.rng.usize(1..bytes.len()));
            self.plan_delivery(id, StreamEvent::Message(bytes));
            bytes = rest;
        }
        self.plan_delivery(id, StreamEvent::Message(bytes));
    }

    /// Plans the delivery of an event to the worker, after those before it.
    pub(super) fn plan_delivery(&mut self, id: u32, what: StreamEvent) {
        let hop = self.hop();
        let now = self.now;
        let stream = self.stream(id);
        let (worker, owner) = (stream.worker, stream.owner);
        stream.last_out = stream.last_out.max(now + hop);
        let at = stream.last_out;
        let stream = id;
        self.plan(
            at,
            NetworkEvent::ToWorker(Delivery {
                worker,
                owner,
                stream,
                what,
            }),
        );
    }

    /// Ends the stream with this gRPC status.
    pub(super) fn end(&mut self, id: u32, status: u32) {
        let stream = self.stream(id);
        if !std::mem::replace(&mut stream.broken, true) {
            self.plan_delivery(id, StreamEvent::Closed(status));
        }
    }

    pub(super) fn plan(&mut self, at: Micros, event: NetworkEvent) {
        self.planned.push((at, event));
    }
}
