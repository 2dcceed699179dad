//! The connection of one worker to one node: commands go out and replies come back in the same order.

use super::stream::ReplyPlaceId;
use crate::time::Micros;
use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkId {
    /// The index of the worker thread.
    pub worker: usize,
    pub shard: usize,
}

/// The current connection. After its end there is a new one, with the next generation.
#[derive(Debug, Default)]
pub struct Link {
    generation: u32,
    numbered: u64,
    in_flight: VecDeque<CommandInFlight>,
    /// The arrival times of the newest command at the node and of the newest reply.
    last_out: Micros,
    last_back: Micros,
    /// A command or a reply was lost, so all that follow it are lost, too.
    pub silent: bool,
}

#[derive(Debug)]
struct CommandInFlight {
    number: u64,
    place: ReplyPlaceId,
    tag: Option<u64>,
}

impl Link {
    /// Records a command that is sent. Returns its generation and number.
    pub fn sent(&mut self, place: ReplyPlaceId, tag: Option<u64>) -> (u32, u64) {
        self.numbered += 1;
        self.in_flight.push_back(CommandInFlight {
            number: self.numbered,
            place,
            tag,
        });
        (self.generation, self.numbered)
    }

    /// The arrival time of a command: `at`, or later, so that commands arrive in order.
    pub fn arrives(&mut self, at: Micros) -> Micros {
        self.last_out = self.last_out.max(at);
        self.last_out
    }

    /// The same for a reply.
    pub fn returns(&mut self, at: Micros) -> Micros {
        self.last_back = self.last_back.max(at);
        self.last_back
    }

    /// Loses a command or a reply of that connection.
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

    /// Where the reply to the command belongs.
    pub fn place_of(&self, number: u64) -> Option<ReplyPlaceId> {
        let command = self.in_flight.iter().find(|command| command.number == number)?;
        Some(command.place)
    }

    /// Removes the command whose reply has arrived. Returns where the reply belongs, and the call number.
    pub fn replied(&mut self, generation: u32, number: u64) -> Option<(ReplyPlaceId, Option<u64>)> {
        if self.is_over(generation) || self.in_flight.front()?.number != number {
            return None;
        }
        let command = self.in_flight.pop_front()?;
        Some((command.place, command.tag))
    }

    /// Ends the connection of that generation. Returns the commands that fail.
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
