//! Texts of the network's events, for a printed history.

use super::cluster::Command;
use super::{NetworkEvent, StreamEvent};
use std::fmt;

impl fmt::Display for NetworkEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkEvent::AtGuard { stream } => write!(f, "stream {stream}: a message is at the guard"),
            NetworkEvent::AtNode { link, command, .. } => {
                write!(f, "worker {} to shard {}: {command}", link.worker, link.shard)
            }
            NetworkEvent::Replied { link, reply, .. } => write!(
                f,
                "shard {} to worker {}: {}",
                link.shard,
                link.worker,
                start(reply)
            ),
            NetworkEvent::Broke { link, .. } => {
                write!(f, "worker {} to shard {}: broken", link.worker, link.shard)
            }
            NetworkEvent::Overdue { link, number, .. } => write!(
                f,
                "worker {} to shard {}: time of command {number} is over",
                link.worker, link.shard
            ),
            NetworkEvent::ToWorker(delivery) => {
                write!(f, "stream {} to engine {}: ", delivery.stream, delivery.owner)?;
                match &delivery.what {
                    StreamEvent::Message(message) => f.write_str(&start(message)),
                    StreamEvent::Closed(status) => write!(f, "closed with gRPC status {status}"),
                }
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Script { with_body, args, .. } => {
                let name = if *with_body { "EVAL" } else { "EVALSHA" };
                let key = args.get(1).map(|key| key.escape_ascii().to_string());
                let tag = args.last().map(|tag| tag.escape_ascii().to_string());
                write!(
                    f,
                    "{name} {} {}",
                    key.unwrap_or_default(),
                    tag.unwrap_or_default()
                )
            }
            Command::ClusterSlots => f.write_str("CLUSTER SLOTS"),
            Command::Other { name, .. } => write!(f, "{}", name.escape_ascii()),
        }
    }
}

/// The first bytes.
fn start(bytes: &[u8]) -> String {
    let (start, rest) = bytes.split_at(bytes.len().min(40));
    let more = if rest.is_empty() { "" } else { "…" };
    format!("{}{more}", start.escape_ascii())
}
