//! Decodes replies incrementally. Depth and size are bounded; bytes that are not RESP2 are an error, never a panic.

use super::Value;
use std::fmt;

/// The default of the largest accepted reply, in bytes on the wire.
pub const DEFAULT_MAX_REPLY: usize = 1 << 20;

/// Deepest accepted nesting of arrays.
pub const MAX_DEPTH: usize = 8;

/// The shortest element of an array, `+\r\n`, in bytes. A header with more elements than the bound allows is refused.
const SHORTEST_ELEMENT: usize = 3;

/// Most elements to allocate before they have arrived: the header of a huge array must not allocate much memory.
const RESERVED_ELEMENTS: usize = 64;

/// A buffer with a larger capacity than this, in bytes, is shrunk once it is empty.
const KEPT_BUFFER: usize = 16 << 10;

/// Why the bytes are not a reply. The stream cannot be used any longer, because the beginning of the next reply is
/// unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RespError {
    /// A value begins with a byte that is not a type of RESP2.
    UnknownType(u8),
    /// A number or length that is not a decimal `i64`, or a length below -1.
    BadNumber,
    /// A line or bulk string that does not end in `\r\n`.
    BadLineEnd,
    /// Arrays nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A reply that is larger than the decoder's bound, or whose header announces a larger one.
    TooLarge,
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RespError::UnknownType(byte) => write!(f, "unknown RESP type {:?}", char::from(*byte)),
            RespError::BadNumber => f.write_str("malformed number"),
            RespError::BadLineEnd => f.write_str("missing CRLF"),
            RespError::TooDeep => f.write_str("arrays nested too deep"),
            RespError::TooLarge => f.write_str("reply too large"),
        }
    }
}

impl std::error::Error for RespError {}

/// Turns a stream of bytes into replies. Every byte is read once, however the stream is split. Memory is bounded by a
/// small multiple of the largest accepted reply (an element of 3 bytes becomes a [`Value`] of 32 bytes).
///
/// ```
/// use redis_call::resp::{Decoder, Value};
/// let mut decoder = Decoder::new();
/// decoder.push(b":4");
/// assert_eq!(decoder.next(), Ok(None), "more bytes are needed");
/// decoder.push(b"1\r\n+OK\r\n");
/// assert_eq!(decoder.next(), Ok(Some(Value::Int(41))));
/// assert_eq!(decoder.next(), Ok(Some(Value::Simple(b"OK".to_vec()))));
/// ```
#[derive(Debug)]
pub struct Decoder {
    buf: Vec<u8>,
    /// Offset in `buf` of the first byte that is not part of a value yet.
    read: usize,
    /// Offset in `buf` up to which the current line has been searched for its end.
    searched: usize,
    /// Length of the current bulk string, once its header has been read.
    bulk: Option<usize>,
    /// Incomplete arrays, outermost first.
    open: Vec<OpenArray>,
    /// Bytes that the current reply may still have.
    left: usize,
    max: usize,
    failed: Option<RespError>,
}

#[derive(Debug)]
struct OpenArray {
    len: usize,
    items: Vec<Value>,
}

/// The result of one step: a complete value that is not an array, or the header of an array.
enum Step {
    Value(Value),
    Array(usize),
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::with_max_reply(DEFAULT_MAX_REPLY)
    }
}

impl Decoder {
    /// Accepts replies of up to [`DEFAULT_MAX_REPLY`] bytes.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Accepts replies of up to `max` bytes on the wire.
    pub fn with_max_reply(max: usize) -> Decoder {
        Decoder {
            buf: Vec::new(),
            read: 0,
            searched: 0,
            bulk: None,
            open: Vec::new(),
            left: max,
            max,
            failed: None,
        }
    }

    /// Adds bytes that have arrived. Call [`Decoder::next`] until it returns `None` before the next push; otherwise the
    /// buffer grows.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.compact();
        self.buf.extend_from_slice(bytes);
    }

    /// The next reply; `None`: more bytes are needed.
    ///
    /// # Errors
    /// The bytes are not RESP2, or the reply is too large. All later calls return the same error.
    #[allow(clippy::should_implement_trait)] // not an iterator: `None` is not the end
    pub fn next(&mut self) -> Result<Option<Value>, RespError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().inspect_err(|&error| {
            *self = Decoder::with_max_reply(self.max);
            self.failed = Some(error);
        })
    }

    /// Whether every pushed byte belongs to a reply that was returned.
    #[cfg(feature = "higress")]
    pub(super) fn is_drained(&self) -> bool {
        self.read == self.buf.len() && self.open.is_empty() && self.bulk.is_none()
    }

    fn advance(&mut self) -> Result<Option<Value>, RespError> {
        while let Some(step) = self.step()? {
            let value = match step {
                Step::Value(value) => value,
                Step::Array(_) if self.open.len() == MAX_DEPTH => return Err(RespError::TooDeep),
                Step::Array(0) => Value::Array(Some(Vec::new())),
                Step::Array(len) => {
                    let items = Vec::with_capacity(len.min(RESERVED_ELEMENTS));
                    self.open.push(OpenArray { len, items });
                    continue;
                }
            };
            if let Some(reply) = self.place(value) {
                self.left = self.max;
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// Adds a value to the innermost open array. Returns the value, or the array that it completed, if no array is open.
    fn place(&mut self, mut value: Value) -> Option<Value> {
        while let Some(mut array) = self.open.pop() {
            array.items.push(value);
            if array.items.len() < array.len {
                self.open.push(array);
                return None;
            }
            value = Value::Array(Some(array.items));
        }
        Some(value)
    }

    fn step(&mut self) -> Result<Option<Step>, RespError> {
        if let Some(len) = self.bulk {
            return self.bulk_body(len);
        }
        let Some(end) = self.line_end()? else {
            return Ok(None);
        };
        let Some((&kind, text)) = self.buf.get(self.read..end).and_then(<[u8]>::split_first) else {
            return Err(RespError::UnknownType(b'\r'));
        };
        let step = match kind {
            b':' => Step::Value(Value::Int(integer(text)?)),
            b'+' => Step::Value(Value::Simple(text.to_vec())),
            b'-' => Step::Value(Value::Error(text.to_vec())),
            b'*' => match length(text)? {
                Some(len) => Step::Array(len),
                None => Step::Value(Value::Array(None)),
            },
            b'$' => match length(text)? {
                Some(len) => {
                    self.take(end + 2)?;
                    if len.saturating_add(2) > self.left {
                        return Err(RespError::TooLarge);
                    }
                    self.bulk = Some(len);
                    return self.bulk_body(len);
                }
                None => Step::Value(Value::Bulk(None)),
            },
            other => return Err(RespError::UnknownType(other)),
        };
        self.take(end + 2)?;
        match step {
            Step::Array(len) if len > self.left / SHORTEST_ELEMENT => Err(RespError::TooLarge),
            step => Ok(Some(step)),
        }
    }

    /// The offset of the `\r\n` at the end of the current line.
    fn line_end(&mut self) -> Result<Option<usize>, RespError> {
        let rest = self.buf.get(self.searched..).unwrap_or_default();
        let Some(offset) = rest.iter().position(|&byte| byte == b'\r') else {
            self.searched = self.buf.len();
            return self.wait();
        };
        let end = self.searched + offset;
        match rest.get(offset + 1) {
            Some(b'\n') => Ok(Some(end)),
            Some(_) => Err(RespError::BadLineEnd),
            None => {
                self.searched = end;
                self.wait()
            }
        }
    }

    fn bulk_body(&mut self, len: usize) -> Result<Option<Step>, RespError> {
        let rest = self.buf.get(self.read..).unwrap_or_default();
        // `len + 2` does not overflow: it was compared with `left`.
        let Some((body, end)) = rest.get(..len + 2).and_then(|part| part.split_at_checked(len)) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(RespError::BadLineEnd);
        }
        let value = Value::Bulk(Some(body.to_vec()));
        self.bulk = None;
        self.take(self.read + len + 2)?;
        Ok(Some(Step::Value(value)))
    }

    /// More bytes are needed, unless the incomplete reply is too large already.
    fn wait<T>(&self) -> Result<Option<T>, RespError> {
        if self.buf.len() - self.read > self.left {
            return Err(RespError::TooLarge);
        }
        Ok(None)
    }

    /// Moves the position to `to`, and subtracts the bytes from what the current reply may have.
    fn take(&mut self, to: usize) -> Result<(), RespError> {
        self.left = self.left.checked_sub(to - self.read).ok_or(RespError::TooLarge)?;
        self.read = to;
        self.searched = to;
        Ok(())
    }

    /// Bytes that are allocated now.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let items = |array: &OpenArray| super::tests::allocated(&array.items, array.items.capacity());
        self.buf.capacity() + self.open.iter().map(items).sum::<usize>()
    }

    /// Drops the bytes that have been read: at once if nothing else is in the buffer, else when they are the larger part,
    /// so that each byte is moved once at most on average.
    fn compact(&mut self) {
        if self.read == self.buf.len() {
            self.buf.clear();
            self.buf.shrink_to(KEPT_BUFFER);
        } else if self.read > self.buf.len() / 2 {
            self.buf.drain(..self.read);
        } else {
            return;
        }
        self.searched -= self.read;
        self.read = 0;
    }
}

/// The length of an array or a bulk string; `None` for -1.
fn length(text: &[u8]) -> Result<Option<usize>, RespError> {
    match integer(text)? {
        -1 => Ok(None),
        len if len < 0 => Err(RespError::BadNumber),
        len => usize::try_from(len).map(Some).map_err(|_| RespError::TooLarge),
    }
}

/// A decimal integer with an optional sign.
fn integer(text: &[u8]) -> Result<i64, RespError> {
    let text = std::str::from_utf8(text).map_err(|_| RespError::BadNumber)?;
    text.parse().map_err(|_| RespError::BadNumber)
}
