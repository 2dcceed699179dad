//! The guard and `redis_proxy`: turns the messages of workers into commands for the nodes.

use super::cluster::{error, Command};
use super::link::LinkId;
use super::stream::ReplyPlaceId;
use super::{Network, NetworkEvent};
use crate::fault::Fault;
use redis_call::UNKNOWN_SHA1;

impl Network {
    pub(super) fn at_guard(&mut self, id: u32) {
        let mute = |fault: &Fault| match fault {
            Fault::Mute { envoy } => Some(*envoy),
            _ => None,
        };
        let worker = self.stream(id).worker;
        let mute = self.has_fault(worker, mute);
        let stream = self.stream(id);
        stream.mute |= mute;
        if stream.broken || stream.mute {
            return;
        }
        let (commands, tag) = match stream.receive() {
            Ok(received) => received,
            Err(violation) => {
                self.journal
                    .broken("well-formed", format!("the guard closes a stream: {violation}"));
                return self.end(id, 13);
            }
        };
        for command in commands {
            self.dispatch(id, command, tag);
        }
    }

    /// Handles a command as `redis_proxy` does.
    pub(super) fn dispatch(&mut self, id: u32, command: Command, tag: Option<u64>) {
        let with_body = matches!(command, Command::Script { with_body: true, .. });
        let stream = self.stream(id);
        let worker = stream.worker;
        if with_body && stream.bodies() > 0 {
            let what = format!("two calls with the script's body are in flight on stream {id}");
            self.journal.broken("one-body", what);
        }
        let is_probe =
            matches!(&command, Command::Script { script, .. } if script == UNKNOWN_SHA1.as_bytes());
        let probe = is_probe.then_some(self.now);
        let number = self.stream(id).place(with_body, probe);
        let place = ReplyPlaceId { stream: id, number };
        if let Some(reply) = self.own_answer(worker, &command) {
            return self.answer(place, tag, reply);
        }
        let shard = match &command {
            Command::Script { slot, .. } => self.cluster.owner(*slot),
            _ => self.rng.usize(..self.cluster.nodes.len()),
        };
        if matches!(command, Command::Script { .. }) {
            self.check_own_stream(id, shard, tag);
        }
        let link = LinkId { worker, shard };
        if self.is_down(shard) {
            let generation = self.link(link).sent(place, tag).0;
            let at = self.now + self.latency(shard);
            return self.plan(at, NetworkEvent::Broke { link, generation });
        }
        let latency = self.latency(shard);
        let overdue = self.now + self.settings.op_timeout;
        let now = self.now;
        let state = self.link(link);
        let (generation, number) = state.sent(place, tag);
        let at = state.arrives(now + latency);
        self.plan(
            at,
            NetworkEvent::AtNode {
                link,
                generation,
                number,
                command,
            },
        );
        self.plan(
            overdue,
            NetworkEvent::Overdue {
                link,
                generation,
                number,
            },
        );
    }

    /// The reply that `redis_proxy` gives without a node.
    pub(super) fn own_answer(&self, worker: usize, command: &Command) -> Option<Vec<u8>> {
        if let Command::Other { name, args } = command {
            let args: Vec<_> = args.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
            return Some(error(&format!(
                "ERR unknown command '{}', with args beginning with: {}",
                String::from_utf8_lossy(name),
                args.join(" ")
            )));
        }
        if *command == Command::ClusterSlots && !self.settings.discovery {
            let text = "ERR unknown command 'cluster', with args beginning with: SLOTS";
            return Some(error(text));
        }
        let no_host = |fault: &Fault| match fault {
            Fault::NoHost { envoy } => Some(*envoy),
            _ => None,
        };
        let unreachable = |fault: &Fault| match fault {
            Fault::UpstreamFailure { envoy } => Some(*envoy),
            _ => None,
        };
        if self.has_fault(worker, no_host) {
            return Some(error("no upstream host"));
        }
        self.has_fault(worker, unreachable)
            .then(|| error("upstream failure"))
    }
}
