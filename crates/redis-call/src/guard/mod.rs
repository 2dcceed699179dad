//! The network role: between a filter's gRPC streams and Envoy's `redis_proxy`. It strips and adds gRPC framing and
//! lets only the filter's own commands pass. It counts nothing and reads no reply.

mod commands;
mod frame;
mod scanner;
#[cfg(test)]
mod tests;
mod throttle;

pub use commands::{CommandName, Guard, Refused, Rules, MAX_COMMAND, REFUSED_PREFIX};
pub use frame::{frame_header, Frames, FRAME_HEADER, MAX_FRAME};
pub use throttle::Throttle;

use std::fmt;
use std::rc::Rc;

/// Why a connection is closed: what it sent is no stream of gRPC frames with commands in them, and where the next
/// command begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A gRPC frame whose flag is not 0: compressed, or no frame.
    FrameFlag(u8),
    /// A gRPC frame above [`MAX_FRAME`]; its length in bytes.
    FrameTooLarge(u32),
    /// A command that is not an array: an inline command, or no RESP.
    NotAnArray(u8),
    /// An argument that is not a bulk string: a nested array, a number …
    NotABulkString(u8),
    /// A length that is no plain decimal, the null array or bulk string, or an empty command.
    BadLength,
    /// A bulk string that does not end where its length says.
    BadLineEnd,
    /// A command above [`MAX_COMMAND`].
    CommandTooLarge,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::FrameFlag(flag) => write!(f, "gRPC frame flag {flag:#04x}, must be 0"),
            Violation::FrameTooLarge(len) => write!(f, "gRPC frame of {len} bytes, at most {MAX_FRAME}"),
            Violation::NotAnArray(byte) => {
                write!(f, "command begins with byte {byte:#04x}, must be an array")
            }
            Violation::NotABulkString(byte) => {
                write!(f, "argument begins with byte {byte:#04x}, must be a bulk string")
            }
            Violation::BadLength => f.write_str("malformed RESP length"),
            Violation::BadLineEnd => f.write_str("missing CRLF after a bulk string"),
            Violation::CommandTooLarge => write!(f, "command of more than {MAX_COMMAND} bytes"),
        }
    }
}

impl std::error::Error for Violation {}

/// The way in of one connection: bytes as they arrive become commands that may go on to Redis.
#[derive(Debug)]
pub struct Inbound {
    frames: Frames,
    guard: Guard,
}

impl Inbound {
    pub fn new(rules: Rc<Rules>) -> Inbound {
        Inbound {
            frames: Frames::default(),
            guard: Guard::new(rules),
        }
    }

    /// Appends to `out` what may go on. After an error nothing more may be read from the connection, and what was
    /// appended in the same call must not be sent.
    pub fn receive(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<Refused, Violation> {
        let mut refused = Refused::default();
        while let Some(payload) = self.frames.next(&mut bytes)? {
            refused += self.guard.pass(payload, out)?;
        }
        Ok(refused)
    }
}
