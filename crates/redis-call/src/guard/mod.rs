//! The network role, between a filter's gRPC streams and Envoy's `redis_proxy`. It removes and adds gRPC framing, and lets
//! only the filter's own commands pass. It does not read replies.

mod commands;
mod frame;
mod scanner;
#[cfg(test)]
mod tests;
mod throttle;

pub use commands::{is_refusal, CommandName, Guard, Refused, Rules, MAX_COMMAND, REFUSED_PREFIX};
pub use frame::{frame_header, Frames, FRAME_HEADER, MAX_FRAME};
pub use throttle::Throttle;

use std::fmt;
use std::rc::Rc;

/// Why a connection is closed: the bytes are not a stream of gRPC frames with commands, and the beginning of the next
/// command is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A gRPC frame whose flag is not 0: it is compressed, or it is not a frame.
    FrameFlag(u8),
    /// A gRPC frame larger than [`MAX_FRAME`]; its length in bytes.
    FrameTooLarge(u32),
    /// A command that is not an array, such as an inline command; its first byte.
    NotAnArray(u8),
    /// An argument that is not a bulk string, such as a nested array or a number; its first byte.
    NotABulkString(u8),
    /// A length that is not a plain decimal, a null array, a null bulk string, or an empty command.
    BadLength,
    /// A bulk string that is longer than its length.
    BadLineEnd,
    /// A command larger than [`MAX_COMMAND`].
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

/// The receiving side of one connection: turns bytes into commands that may reach Redis.
///
/// ```
/// use redis_call::guard::{frame_header, Inbound, Rules};
/// use std::rc::Rc;
///
/// let rules = Rules::new("visits:", &[]).allowing(&["INCR"]);
/// let mut inbound = Inbound::new(Rc::new(rules));
/// let mut framed = |command: &[u8]| {
///     let bytes = [&frame_header(command.len() as u32), command].concat();
///     let mut out = Vec::new();
///     inbound.receive(&bytes, &mut out).map(|refused| (refused.count, out))
/// };
/// let incr = b"*2\r\n$4\r\nINCR\r\n$8\r\nvisits:a\r\n";
/// assert_eq!(framed(incr)?, (0, incr.to_vec()));
/// let (refused, replacement) = framed(b"*1\r\n$8\r\nFLUSHALL\r\n")?;
/// assert_eq!(refused, 1);
/// assert!(replacement.ends_with(b"only Headgate's own calls pass here\r\n"));
/// # Ok::<(), redis_call::guard::Violation>(())
/// ```
#[derive(Debug)]
pub struct Inbound {
    frames: Frames,
    guard: Guard,
}

impl Inbound {
    /// For one new connection.
    pub fn new(rules: Rc<Rules>) -> Inbound {
        Inbound {
            frames: Frames::default(),
            guard: Guard::new(rules),
        }
    }

    /// Takes the next bytes of the connection and appends to `out` what is to be sent to `redis_proxy`: allowed commands,
    /// and a replacement for each refused one.
    ///
    /// # Errors
    /// The bytes are not commands in gRPC frames. Close the connection, and do not send what this call appended.
    pub fn receive(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<Refused, Violation> {
        let mut refused = Refused::default();
        while let Some(payload) = self.frames.next(&mut bytes)? {
            refused += self.guard.pass(payload, out)?;
        }
        Ok(refused)
    }
}
