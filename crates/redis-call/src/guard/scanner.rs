//! Splits a stream of RESP commands into their arguments. It accepts only the canonical encoding: if this scanner and
//! Envoy's decoder could read the same bytes differently, that would be a way around the guard.

use super::{Violation, MAX_COMMAND};

/// The shortest argument, `$0\r\n\r\n`, in bytes. A header with more arguments than fit into [`MAX_COMMAND`] is refused.
const SHORTEST_ARG: usize = 6;

/// Most digits of a length: as many as [`MAX_COMMAND`] has.
const MAX_DIGITS: usize = 7;

/// One argument of a command; the first is the command's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arg<'a> {
    pub index: usize,
    /// Number of arguments of the command.
    pub count: usize,
    pub bytes: &'a [u8],
}

impl Arg<'_> {
    /// Number of arguments that follow.
    pub fn remaining(&self) -> usize {
        self.count.saturating_sub(self.index + 1)
    }
}

/// The position in the current command.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Bytes of the command read so far.
    read: usize,
    /// 0 until the array's header has been read.
    count: usize,
    /// Arguments read so far.
    index: usize,
    /// Length of the current argument, once its header has been read.
    body: Option<usize>,
}

impl Scanner {
    /// The next argument of the command at the beginning of `command`; `None`: more bytes are needed, and the next call
    /// must be given the same bytes and more. Nothing is read twice but an incomplete header of a few bytes.
    pub fn next_arg<'a>(&mut self, command: &'a [u8]) -> Result<Option<Arg<'a>>, Violation> {
        if self.count == 0 {
            let Some(count) = self.header(command, b'*', Violation::NotAnArray)? else {
                return Ok(None);
            };
            if count == 0 {
                return Err(Violation::BadLength);
            }
            if count > MAX_COMMAND / SHORTEST_ARG {
                return Err(Violation::CommandTooLarge);
            }
            self.count = count;
        }
        let len = match self.body {
            Some(len) => len,
            None => {
                let Some(len) = self.header(command, b'$', Violation::NotABulkString)? else {
                    return Ok(None);
                };
                if len > MAX_COMMAND.saturating_sub(self.read + 2) {
                    return Err(Violation::CommandTooLarge);
                }
                *self.body.insert(len)
            }
        };
        let rest = command.get(self.read..).unwrap_or_default();
        let Some((bytes, end)) = rest.get(..len + 2).and_then(|body| body.split_at_checked(len)) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(Violation::BadLineEnd);
        }
        let arg = Arg {
            index: self.index,
            count: self.count,
            bytes,
        };
        self.read += len + 2;
        self.index += 1;
        self.body = None;
        Ok(Some(arg))
    }

    /// Call it after a command's last argument: returns the command's length in bytes and resets the scanner.
    pub fn finish(&mut self) -> usize {
        std::mem::take(self).read
    }

    /// Reads a length with its type byte and line end.
    fn header(
        &mut self,
        command: &[u8],
        kind: u8,
        other_kind: fn(u8) -> Violation,
    ) -> Result<Option<usize>, Violation> {
        let line = command.get(self.read..).unwrap_or_default();
        let Some((&first, rest)) = line.split_first() else {
            return Ok(None);
        };
        if first != kind {
            return Err(other_kind(first));
        }
        let mut number = 0;
        for (digits, &byte) in rest.iter().enumerate() {
            match byte {
                // No leading zeros, and no sign.
                b'0'..=b'9' if digits == 0 || number > 0 => {
                    if digits == MAX_DIGITS {
                        return Err(Violation::CommandTooLarge);
                    }
                    number = number * 10 + usize::from(byte - b'0');
                }
                b'\r' if digits > 0 => {
                    return match rest.get(digits + 1) {
                        Some(b'\n') => {
                            self.read += digits + 3;
                            Ok(Some(number))
                        }
                        Some(_) => Err(Violation::BadLength),
                        None => Ok(None),
                    }
                }
                _ => return Err(Violation::BadLength),
            }
        }
        Ok(None)
    }
}
