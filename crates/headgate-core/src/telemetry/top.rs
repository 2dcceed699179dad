//! The most rejected clients, in bounded memory: the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005).
//!
//! With k entries, every client with more than 1/k of all rejections is in the sketch. A count is too high by at most
//! its error, and never too low.

use serde::Serialize;
use std::cmp::Reverse;

/// Entries of the sketch: twelve times what is shown, so that the shown counts are accurate.
const PLACES: usize = 128;

/// How many are shown.
const SHOWN: usize = 10;

#[derive(Debug, Default)]
/// The sketch of the most rejected clients.
pub struct Top {
    places: Vec<SketchEntry>,
    /// The lowest count. No entry before `next` has it: counts only grow.
    least: u64,
    next: usize,
}

#[derive(Debug)]
struct SketchEntry {
    /// The end of `client` ([`end`]): compared first.
    end: u64,
    client: String,
    /// The limit that rejected it last, as an index into the policy's.
    limit: usize,
    rejected: u64,
    /// How much of `rejected` may belong to other clients.
    error: u64,
}

/// One of the most rejected.
#[derive(Debug, Serialize)]
pub struct Rejected<'a> {
    /// The client, without any secret.
    pub client: String,
    /// The limit that rejected it last.
    pub limit: &'a str,
    /// The number of rejections, at most `error` too high.
    pub rejected: u64,
    /// How much of `rejected` may belong to other clients.
    pub error: u64,
}

/// The last eight bytes of a client, as a number. Most clients end with a hash, so it differs.
fn end(client: &str) -> u64 {
    let last = client.as_bytes().last_chunk();
    u64::from_le_bytes(last.copied().unwrap_or_default())
}

impl Top {
    /// Counts one rejection.
    pub fn note(&mut self, client: &str, limit: usize) {
        let end = end(client);
        let known = |place: &&mut SketchEntry| place.end == end && place.client == client;
        if let Some(place) = self.places.iter_mut().find(known) {
            place.rejected += 1;
            place.limit = limit;
            return;
        }
        if self.places.len() < PLACES {
            self.places.push(SketchEntry {
                end,
                client: client.to_owned(),
                limit,
                rejected: 1,
                error: 0,
            });
            return;
        }
        if let Some(place) = self.least() {
            place.end = end;
            place.client.clear();
            place.client.push_str(client);
            place.limit = limit;
            place.error = place.rejected;
            place.rejected += 1;
        }
    }

    /// An entry with the lowest count. Its count grows next, so the search continues after it: of many clients with one
    /// rejection each, one in [`PLACES`] scans all entries.
    fn least(&mut self) -> Option<&mut SketchEntry> {
        let at_least = |place: &SketchEntry| place.rejected == self.least;
        let mut found = (self.next..self.places.len()).find(|&at| self.places.get(at).is_some_and(at_least));
        if found.is_none() {
            self.least = self.places.iter().map(|place| place.rejected).min()?;
            let at_least = |place: &SketchEntry| place.rejected == self.least;
            found = self.places.iter().position(at_least);
        }
        self.next = found?;
        self.places.get_mut(self.next)
    }

    /// Whether nothing was rejected since the last report.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the most rejected clients in descending order, and clears the sketch; `name` returns the name of a
    /// limit.
    pub fn take<'a>(&mut self, name: impl Fn(usize) -> &'a str) -> Vec<Rejected<'a>> {
        (self.least, self.next) = (0, 0);
        let mut places = std::mem::take(&mut self.places);
        places.sort_by_key(|place| Reverse(place.rejected));
        let shown = places.into_iter().take(SHOWN).map(|place| Rejected {
            client: place.client,
            limit: name(place.limit),
            rejected: place.rejected,
            error: place.error,
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn a_client_that_is_rejected_often_is_shown_among_many_others() {
        let mut top = Top::default();
        for n in 0..100_000_u32 {
            top.note(&format!("api_key:{n}"), 0);
            if n % 20 == 0 {
                top.note("api_key:abusive", 1);
            }
        }
        assert!(top.places.len() == PLACES);
        let shown = json!(top.take(|limit| ["a", "b"][limit]));
        let order: Vec<_> = shown
            .as_array()
            .unwrap()
            .iter()
            .map(|place| place["rejected"].as_u64())
            .collect();
        assert!(order.is_sorted_by(|before, after| before >= after), "{order:?}");
        let first = &shown[0];
        assert_eq!(
            (&first["client"], &first["limit"]),
            (&json!("api_key:abusive"), &json!("b"))
        );
        let (rejected, error) = (
            first["rejected"].as_u64().unwrap(),
            first["error"].as_u64().unwrap(),
        );
        assert!(rejected >= 5_000 && rejected - error <= 5_000, "{first}");
        assert_eq!(shown.as_array().unwrap().len(), SHOWN);
        assert!(top.is_empty(), "each interval is separate");
    }

    proptest! {
        /// The law of space-saving: in a full sketch no count is too low, none is too high by more than its error, and
        /// no error is above the lowest count.
        #[test]
        fn a_count_is_never_too_low_and_too_high_by_its_error_at_most(clients in prop::collection::vec(0..400_u32, 0..3_000)) {
            let mut top = Top::default();
            let mut truth: BTreeMap<String, u64> = BTreeMap::new();
            for client in clients {
                // some come far more often than others
                let client = format!("{}", client * client / 400);
                top.note(&client, 0);
                *truth.entry(client).or_default() += 1;
            }
            let least = top.places.iter().map(|place| place.rejected).min().unwrap_or(0);
            for place in &top.places {
                let really = truth.remove(&place.client).expect("one place each, of one who came");
                prop_assert!(really <= place.rejected && place.rejected - place.error <= really);
                prop_assert!(place.error <= least);
            }
            let full = top.places.len() == PLACES;
            for (client, really) in truth {
                prop_assert!(full && really <= least, "{client} is not in it");
            }
        }
    }
}
