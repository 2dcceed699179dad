//! The connection of one worker to one node: commands go out and replies come back in the same order.

use super::stream::ReplyPlaceId;
use crate::time::Micros;
use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkId {
    /// Of the network's workers.
    pub worker: usize,
    pub shard: usize,
}

/// Connections follow each other: each has the generation of the one before, plus 1.
#[derive(Debug, Default)]
pub struct Link {
    generation: u32,
    numbered: u64,
    in_flight: VecDeque<CommandInFlight>,
    /// When the newest command arrives at the node, and when the newest reply is back.
    last_out: Micros,
    last_back: Micros,
    /// A command or a reply was lost, and so are all that follow it.
    pub silent: bool,
}

#[derive(Debug)]
struct CommandInFlight {
    number: u64,
    place: ReplyPlaceId,
    tag: Option<u64>,
}

impl Link {
    /// Notes a command that is sent; its generation and number.
    pub fn sent(&mut self, place: ReplyPlaceId, tag: Option<u64>) -> (u32, u64) {
        self.numbered += 1;
        self.in_flight.push_back(CommandInFlight {
            number: self.numbered,
            place,
            tag,
        });
        (self.generation, self.numbered)
    }

    /// When a command arrives that would take until `at` by itself.
    pub fn arrives(&mut self, at: Micros) -> Micros {
        self.last_out = self.last_out.max(at);
        self.last_out
    }

    /// The same for a reply.
    pub fn returns(&mut self, at: Micros) -> Micros {
        self.last_back = self.last_back.max(at);
        self.last_back
    }

    /// A command or a reply of that connection is lost.
    pub fn falls_silent(&mut self, generation: u32) {
        self.silent |= !self.is_over(generation);
    }

    pub fn is_over(&self, generation: u32) -> bool {
        self.generation != generation
    }

    /// Whether a command has no reply yet.
    pub fn waits_for(&self, generation: u32, number: u64) -> bool {
        !self.is_over(generation) && self.in_flight.iter().any(|command| command.number == number)
    }

    /// Who waits for the command.
    pub fn place_of(&self, number: u64) -> Option<ReplyPlaceId> {
        let command = self.in_flight.iter().find(|command| command.number == number)?;
        Some(command.place)
    }

    /// Whose reply this is.
    pub fn replied(&mut self, generation: u32, number: u64) -> Option<(ReplyPlaceId, Option<u64>)> {
        if self.is_over(generation) || self.in_flight.front()?.number != number {
            return None;
        }
        let command = self.in_flight.pop_front()?;
        Some((command.place, command.tag))
    }

    /// The connection of that generation ends; whose commands fail.
    pub fn broke(&mut self, generation: u32) -> Vec<(ReplyPlaceId, Option<u64>)> {
        if self.is_over(generation) {
            return Vec::new();
        }
        self.generation += 1;
        self.silent = false;
        let in_flight = self.in_flight.drain(..);
        in_flight.map(|command| (command.place, command.tag)).collect()
    }

    pub fn generation(&self) -> u32 {
        self.generation
    }
}
