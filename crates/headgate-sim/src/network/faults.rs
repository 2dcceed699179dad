//! Start and end of the faults of a network.

use super::{LinkId, Network, NetworkEvent};
use crate::fault::{Fault, Target};
use std::rc::Rc;

impl Network {
    /// Starts a fault. An instantaneous fault takes effect here.
    pub fn begin(&mut self, fault: &Fault) {
        match fault {
            Fault::Down { shard, .. } => {
                self.each_shard(*shard, |network, shard| network.break_links(shard));
            }
            Fault::Failover { shard, .. } => self.break_links(*shard),
            Fault::ScriptFlush { shard } => {
                self.each_shard(*shard, |network, shard| network.cluster.flush_scripts(shard));
            }
            Fault::ClockStep { shard, by_us } => self.each_shard(*shard, |network, shard| {
                network.cluster.nodes[shard].clock_us += by_us;
            }),
            Fault::BreakStreams { envoy, status } => {
                self.each_stream(*envoy, |network, id| network.end(id, *status));
            }
            Fault::Garbage { envoy } => self.each_stream(*envoy, |network, id| {
                // After an invalid reply about the slot owners, an engine uses fixed ranges.
                let owner = network.stream(id).owner;
                network.known_slots.remove(&owner);
                network.send_up(id, b"HTTP/1.1 400 Bad Request\r\n".to_vec());
            }),
            Fault::OldGuard { envoy } => self.each_stream(*envoy, |network, id| {
                let rules = Rc::clone(&network.other_rules);
                network.stream(id).set_rules(rules);
            }),
            Fault::GuardRefuses { envoy } => self.each_stream(*envoy, |network, id| {
                // Some of the open connections still have the previous guard.
                if network.rng.bool() {
                    let rules = Rc::clone(&network.other_rules);
                    network.stream(id).set_rules(rules);
                }
            }),
            _ => {}
        }
        if !fault.is_instantaneous() {
            self.faults.push(fault.clone());
        }
    }

    /// Ends a fault.
    pub fn end_fault(&mut self, fault: &Fault) {
        if let Some(at) = self.faults.iter().position(|known| known == fault) {
            self.faults.swap_remove(at);
        }
        match fault {
            Fault::Down { shard, loses } => self.each_shard(*shard, |network, shard| {
                network.cluster.flush_scripts(shard);
                if *loses {
                    network.cluster.lose_memory(shard);
                }
            }),
            Fault::Failover { shard, clock_us, .. } => {
                let at = self.replicas.iter().position(|(of, _)| of == shard);
                if let Some(at) = at.filter(|_| *shard < self.cluster.nodes.len()) {
                    let (_, then) = self.replicas.swap_remove(at);
                    self.cluster.fail_over(*shard, &then, *clock_us);
                }
            }
            Fault::Frozen { shard } => self.thaw(*shard),
            Fault::Moving { first, last, to } => self.cluster.give_slots(*first, *last, *to),
            _ => {}
        }
    }

    /// Takes a snapshot: the state that the replica of the shard has when its master fails.
    pub fn replicate(&mut self, shard: usize) {
        let model = self.cluster.model.clone();
        self.replicas.push((shard, model));
    }

    /// Ends all streams of an engine that was dropped, without an event.
    pub fn close_all(&mut self, owner: usize) {
        for stream in &mut self.streams {
            if stream.owner == owner {
                stream.closed = true;
                stream.broken = true;
            }
        }
    }

    /// The active faults.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    fn each_shard(&mut self, which: Target, act: impl Fn(&mut Network, usize)) {
        for shard in 0..self.cluster.nodes.len() {
            if which.has(shard) {
                act(self, shard);
            }
        }
    }

    /// Calls `act` for each open stream.
    fn each_stream(&mut self, envoy: Target, act: impl Fn(&mut Network, u32)) {
        for id in 1..=self.streams.len() as u32 {
            let stream = self.stream(id);
            let (worker, open) = (stream.worker, !stream.closed && !stream.broken);
            if open && envoy.has(self.envoy_of(worker)) {
                act(self, id);
            }
        }
    }

    /// The node of a shard stops. Its connections break, and the commands that it has not read are lost.
    fn break_links(&mut self, shard: usize) {
        self.inbox.retain(|(of, _)| *of != shard);
        for worker in 0..self.settings.envoys * self.settings.workers {
            let link = LinkId { worker, shard };
            if shard >= self.cluster.nodes.len() {
                continue;
            }
            let generation = self.link(link).generation();
            let at = self.now + self.latency(shard);
            self.plan(at, NetworkEvent::Broke { link, generation });
        }
    }

    /// The node executes the commands that it received while it was frozen.
    fn thaw(&mut self, which: Target) {
        let frozen = std::mem::take(&mut self.inbox);
        for (shard, event) in frozen {
            if which.has(shard) && !self.is_frozen(shard) {
                self.at_node(event);
            } else {
                self.inbox.push((shard, event));
            }
        }
    }
}
