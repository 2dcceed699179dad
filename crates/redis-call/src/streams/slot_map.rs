//! Maps hash slots to shards: by master, from the reply to `CLUSTER SLOTS`, or in fixed ranges if it is not answered.
//! It contains no streams and no state of a shard.

use crate::resp::Value;
use crate::HashSlot;

/// The largest number of masters that is accepted; Redis Cluster is designed for up to 1,000 nodes.
const MAX_SHARDS: usize = 1_000;

/// The index of slots that no node serves, while a reply is read.
const UNSERVED: u16 = u16::MAX;

/// The identity of one shard. Two names are equal if their ids are equal.
#[derive(Debug, Clone)]
pub(super) struct ShardName {
    /// The master's node id, or its address if it has no node id. So after a failover, the new master is another shard.
    id: String,
    /// The name in log lines.
    pub shown: String,
}

impl PartialEq for ShardName {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// All slots and their shards.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SlotMap {
    /// The last slot of each range, ascending, and the index of its shard. The last range ends at 16,383.
    ranges: Vec<(u16, u16)>,
    pub shards: Vec<ShardName>,
}

/// Why a reply contains no slot map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotMapError {
    /// The proxy or Redis does not support the command.
    Unsupported,
    /// A later attempt may succeed.
    NotNow,
}

impl SlotMap {
    /// `count` ranges of equal size.
    pub fn fixed(count: u16) -> SlotMap {
        let last = |n: u16| (u32::from(HashSlot::COUNT) * (u32::from(n) + 1) / u32::from(count) - 1) as u16;
        let ranges: Vec<(u16, u16)> = (0..count).map(|n| (last(n), n)).collect();
        let mut first = 0;
        let shards = ranges.iter().map(|(last, _)| {
            let id = format!("slots {first} to {last}");
            first = last + 1;
            ShardName {
                shown: id.clone(),
                id,
            }
        });
        SlotMap {
            shards: shards.collect(),
            ranges,
        }
    }

    /// One Redis that is not a cluster.
    pub fn single() -> SlotMap {
        let name = || "Redis".to_owned();
        SlotMap {
            ranges: vec![(HashSlot::COUNT - 1, 0)],
            shards: vec![ShardName {
                id: name(),
                shown: name(),
            }],
        }
    }

    /// Reads the reply to `CLUSTER SLOTS`: `[[first, last, [host, port, id, …], replicas…], …]` (Redis
    /// documentation). Slots that no node serves form a shard of their own, so that their failures open no other breaker.
    pub fn read(reply: &Value) -> Result<SlotMap, SlotMapError> {
        let rows = match reply {
            Value::Array(Some(rows)) if !rows.is_empty() => rows,
            Value::Error(text) => return SlotMap::read_error(text),
            _ => return Err(SlotMapError::NotNow),
        };
        let mut shards: Vec<ShardName> = Vec::new();
        let mut owners = vec![UNSERVED; usize::from(HashSlot::COUNT)];
        for row in rows {
            let Row { first, last, master } = Row::read(row).ok_or(SlotMapError::NotNow)?;
            let shard = index_of(&mut shards, master);
            if shards.len() > MAX_SHARDS {
                return Err(SlotMapError::Unsupported);
            }
            if let Some(slots) = owners.get_mut(usize::from(first)..=usize::from(last)) {
                slots.fill(shard);
            }
        }
        if owners.contains(&UNSERVED) {
            let name = || "slots that no node serves".to_owned();
            let unserved = index_of(
                &mut shards,
                ShardName {
                    id: name(),
                    shown: name(),
                },
            );
            for owner in owners.iter_mut().filter(|owner| **owner == UNSERVED) {
                *owner = unserved;
            }
        }
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (slot, owner) in (0..HashSlot::COUNT).zip(owners) {
            match ranges.last_mut() {
                Some(range) if range.1 == owner => range.0 = slot,
                _ => ranges.push((slot, owner)),
            }
        }
        Ok(SlotMap { ranges, shards })
    }

    fn read_error(text: &[u8]) -> Result<SlotMap, SlotMapError> {
        let contains = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
        if contains(b"cluster support disabled") {
            return Ok(SlotMap::single());
        }
        // Envoy before 1.37 ("unknown command", "unsupported command"), or a Redis user without the permission.
        let unsupported: [&[u8]; 4] = [b"unknown", b"unsupported", b"NOPERM", b"invalid request"];
        Err(match unsupported.into_iter().any(contains) {
            true => SlotMapError::Unsupported,
            false => SlotMapError::NotNow,
        })
    }

    /// The index of the slot's shard in `shards`.
    pub fn shard(&self, slot: HashSlot) -> usize {
        let at = self.ranges.partition_point(|(last, _)| *last < slot.get());
        self.ranges.get(at).map_or(0, |(_, shard)| usize::from(*shard))
    }
}

/// The index of a shard in the list; a new shard is appended. Searches backwards: rows of one master are often adjacent.
fn index_of(shards: &mut Vec<ShardName>, name: ShardName) -> u16 {
    let known = shards.iter().rposition(|shard| *shard == name);
    known.unwrap_or_else(|| {
        shards.push(name);
        shards.len() - 1
    }) as u16
}

struct Row {
    first: u16,
    last: u16,
    master: ShardName,
}

impl Row {
    fn read(row: &Value) -> Option<Row> {
        let Value::Array(Some(row)) = row else {
            return None;
        };
        let slot = |at: usize| match row.get(at) {
            Some(Value::Int(slot)) => u16::try_from(*slot).ok().filter(|slot| *slot < HashSlot::COUNT),
            _ => None,
        };
        let Some(Value::Array(Some(master))) = row.get(2) else {
            return None;
        };
        let host = text(master.first()).unwrap_or_default();
        let Some(Value::Int(port)) = master.get(1) else {
            return None;
        };
        let shown = format!("{host}:{port}");
        let (first, last) = (slot(0)?, slot(1)?);
        let id = text(master.get(2)).unwrap_or_else(|| shown.clone());
        (first <= last).then_some(Row {
            first,
            last,
            master: ShardName { id, shown },
        })
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::Bulk(Some(bytes)) | Value::Simple(bytes)) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A reply of Redis 7: `(first, last, master's port)` for each row.
    pub fn reply(rows: &[(u16, u16, u16)]) -> Value {
        let bulk = |text: String| Value::Bulk(Some(text.into_bytes()));
        let node = |port: u16| {
            Value::Array(Some(vec![
                bulk("127.0.0.1".into()),
                Value::Int(port.into()),
                bulk(format!("id-of-{port}")),
                Value::Array(Some(vec![])),
            ]))
        };
        let row = |&(first, last, port): &(u16, u16, u16)| {
            Value::Array(Some(vec![
                Value::Int(first.into()),
                Value::Int(last.into()),
                node(port),
                node(port + 1000),
            ]))
        };
        Value::Array(Some(rows.iter().map(row).collect()))
    }

    fn owner(slot_map: &SlotMap, slot: u16) -> &str {
        let slot = (0..)
            .map(|n: u32| HashSlot::of(n.to_string().as_bytes()))
            .find(|candidate| candidate.get() == slot)
            .unwrap();
        &slot_map.shards[slot_map.shard(slot)].shown
    }

    #[test]
    fn scattered_slots_of_one_master_are_one_shard() {
        let rows = [
            (5461, 10922, 2),
            (0, 100, 1),
            (101, 5460, 3),
            (10923, 16382, 1),
            (16383, 16383, 3),
        ];
        let slot_map = SlotMap::read(&reply(&rows)).unwrap();
        assert_eq!(slot_map.shards.len(), 3);
        for (slot, master) in [
            (0, 1),
            (100, 1),
            (101, 3),
            (5460, 3),
            (5461, 2),
            (10922, 2),
            (10923, 1),
            (16382, 1),
            (16383, 3),
        ] {
            assert_eq!(owner(&slot_map, slot), format!("127.0.0.1:{master}"), "{slot}");
        }
    }

    #[test]
    fn slots_that_no_node_serves_are_a_shard_of_their_own() {
        let slot_map = SlotMap::read(&reply(&[(10, 100, 1), (200, 16000, 2)])).unwrap();
        for (slot, alone) in [
            (0, true),
            (9, true),
            (10, false),
            (100, false),
            (101, true),
            (199, true),
            (16001, true),
            (16383, true),
        ] {
            assert_eq!(
                owner(&slot_map, slot) == "slots that no node serves",
                alone,
                "{slot}"
            );
        }
    }

    #[test]
    fn maps_differ_only_if_a_master_or_a_border_differs() {
        let read = |rows: &[(u16, u16, u16)]| SlotMap::read(&reply(rows)).unwrap();
        let before = read(&[(0, 8000, 1), (8001, 16383, 2)]);
        assert_eq!(before, read(&[(0, 8000, 1), (8001, 16383, 2)]));
        assert_ne!(before, read(&[(0, 8000, 1), (8001, 16383, 3)]));
        assert_ne!(before, read(&[(0, 8001, 1), (8002, 16383, 2)]));
    }

    #[test]
    fn fixed_ranges_cover_all_slots_evenly() {
        for count in [1, 8, 128] {
            let slot_map = SlotMap::fixed(count);
            let mut sizes = vec![0_usize; usize::from(count)];
            for n in 0..20_000_u32 {
                sizes[slot_map.shard(HashSlot::of(&n.to_le_bytes()))] += 1;
            }
            let expected = 20_000 / usize::from(count);
            assert!(
                sizes
                    .iter()
                    .all(|size| size.abs_diff(expected) < expected / 2 + 1),
                "{sizes:?}"
            );
        }
    }

    #[test]
    fn errors_decide_whether_to_ask_again_and_nonsense_is_no_map() {
        let error = |text: &str| SlotMap::read(&Value::Error(text.as_bytes().to_vec()));
        assert_eq!(
            error("ERR This instance has cluster support disabled"),
            Ok(SlotMap::single())
        );
        assert_eq!(
            error("ERR unknown command 'cluster', with args beginning with: SLOTS"),
            Err(SlotMapError::Unsupported)
        );
        assert_eq!(error("upstream failure"), Err(SlotMapError::NotNow));
        assert_eq!(error("CLUSTERDOWN x"), Err(SlotMapError::NotNow));
        for nonsense in [
            Value::Int(1),
            Value::Array(None),
            Value::Array(Some(vec![])),
            Value::Array(Some(vec![Value::Int(1)])),
            reply(&[(5, 4, 1)]),
            reply(&[(0, 16384, 1)]),
        ] {
            assert_eq!(
                SlotMap::read(&nonsense),
                Err(SlotMapError::NotNow),
                "{nonsense:?}"
            );
        }
    }
}
