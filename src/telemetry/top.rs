//! Who is rejected most, in bounded memory: space-saving (Metwally, Agrawal, El Abbadi 2005).
//!
//! With k places, whoever has more than 1/k of all rejections is in the sketch, and a count is too high by its error at
//! most, never too low.

use serde_json::{json, Value};
use std::collections::HashMap;

/// Places of the sketch; twelve times what is shown, so that those shown are right where the rest is noise.
const PLACES: usize = 128;

/// How many are shown.
const SHOWN: usize = 10;

#[derive(Debug, Default)]
pub struct Top {
    places: Vec<Place>,
    index: HashMap<String, usize>,
}

#[derive(Debug)]
struct Place {
    client: String,
    /// The limit that rejected it last, as an index into the policy's.
    limit: usize,
    rejected: u64,
    /// How much of `rejected` may be another's.
    error: u64,
}

impl Top {
    /// Counts one rejection.
    pub fn note(&mut self, client: &str, limit: usize) {
        if let Some(place) = self.index.get(client).and_then(|&at| self.places.get_mut(at)) {
            place.rejected += 1;
            place.limit = limit;
            return;
        }
        let mut place = Place {
            client: client.to_owned(),
            limit,
            rejected: 1,
            error: 0,
        };
        if self.places.len() < PLACES {
            self.index.insert(client.to_owned(), self.places.len());
            self.places.push(place);
            return;
        }
        let least = self
            .places
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, place)| place.rejected);
        if let Some((at, least)) = least {
            self.index.remove(&least.client);
            self.index.insert(client.to_owned(), at);
            place.error = least.rejected;
            place.rejected += least.rejected;
            *least = place;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The most rejected, as a JSON list for the log, and starts anew; `name` names a limit.
    pub fn take<'a>(&mut self, name: impl Fn(usize) -> &'a str) -> Value {
        self.index.clear();
        let mut places = std::mem::take(&mut self.places);
        places.sort_by_key(|place| std::cmp::Reverse(place.rejected));
        let shown = places.iter().take(SHOWN).map(|place| {
            json!({"client": place.client, "limit": name(place.limit), "rejected": place.rejected, "error": place.error})
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_rejected_often_is_shown_among_many_others() {
        let mut top = Top::default();
        for n in 0..100_000_u32 {
            top.note(&format!("api_key:{n}"), 0);
            if n % 20 == 0 {
                top.note("api_key:abusive", 1);
            }
        }
        assert!(top.places.len() == PLACES && top.index.len() == PLACES);
        let shown = top.take(|limit| ["a", "b"][limit]);
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
        assert!(top.is_empty(), "each interval stands for itself");
    }
}
