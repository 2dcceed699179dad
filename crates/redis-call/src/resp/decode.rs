//! Replies, decoded as their bytes come in. Bounded in depth and size; what is not RESP2 is an error, never a panic.

use super::Value;
use std::fmt;

/// How large a reply may be, in bytes on the wire, where the caller does not say.
pub const DEFAULT_MAX_REPLY: usize = 1 << 20;

/// How deep arrays may be nested.
pub const MAX_DEPTH: usize = 8;

/// The shortest element of an array, `+\r\n`: a longer array than its bytes allow is refused by its header.
const SHORTEST_ELEMENT: usize = 3;

/// Elements to make room for before any has come: a header alone must not allocate what it claims.
const RESERVED_ELEMENTS: usize = 64;

/// A buffer larger than this, in bytes, is given back once it is empty.
const KEPT_BUFFER: usize = 16 << 10;

/// Why bytes are no reply. The stream they came from cannot be used any further: where the next reply begins is
/// unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RespError {
    /// A value begins with a byte that names no type of RESP2.
    UnknownType(u8),
    /// A number or length that is not a decimal `i64`, or a length below -1.
    BadNumber,
    /// A line or bulk string that does not end in `\r\n`.
    BadLineEnd,
    /// Arrays nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// A reply that is, or says that it will be, larger than the decoder's bound.
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

/// Turns a stream of bytes into replies. Every byte is looked at once, however the stream is cut, and memory stays
/// within a small multiple of the bound (an element of 3 bytes takes a [`Value`] of 32).
#[derive(Debug)]
pub struct Decoder {
    buf: Vec<u8>,
    /// Where in `buf` the first byte stands that is not yet part of a value.
    read: usize,
    /// From here on the line under way has not been searched for its end.
    searched: usize,
    /// Length of the bulk string under way, its header read.
    bulk: Option<usize>,
    /// Arrays under way, outermost first.
    open: Vec<OpenArray>,
    /// Bytes that the reply under way may still take.
    left: usize,
    max: usize,
    failed: Option<RespError>,
}

#[derive(Debug)]
struct OpenArray {
    len: usize,
    items: Vec<Value>,
}

/// What one step reads: a value that is complete in itself, or the header of an array.
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
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// `max`: how large one reply may be, in bytes on the wire.
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

    /// Takes what has arrived. Call [`Decoder::next`] until it has nothing more before the next push, or the
    /// buffer grows.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.compact();
        self.buf.extend_from_slice(bytes);
    }

    /// The next reply; `None`: more bytes are needed. After an error the decoder gives that error for ever.
    #[allow(clippy::should_implement_trait)] // no iterator: `None` is not the end
    pub fn next(&mut self) -> Result<Option<Value>, RespError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().inspect_err(|&error| {
            *self = Decoder::with_max_reply(self.max);
            self.failed = Some(error);
        })
    }

    /// Whether every byte that was pushed belongs to a reply that was given.
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

    /// Puts a value where it belongs; gives it back, or the array that it completed, once nothing is open.
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

    /// Where the `\r\n` of the line under way stands.
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
        // `len + 2` fits: it was compared with what is left.
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

    /// Nothing to read before more bytes come, unless what waits is too large already.
    fn wait<T>(&self) -> Result<Option<T>, RespError> {
        if self.buf.len() - self.read > self.left {
            return Err(RespError::TooLarge);
        }
        Ok(None)
    }

    /// Moves on to `to`, on the account of the reply under way.
    fn take(&mut self, to: usize) -> Result<(), RespError> {
        self.left = self.left.checked_sub(to - self.read).ok_or(RespError::TooLarge)?;
        self.read = to;
        self.searched = to;
        Ok(())
    }

    /// Bytes allocated at this moment.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let items = |array: &OpenArray| super::tests::allocated(&array.items, array.items.capacity());
        self.buf.capacity() + self.open.iter().map(items).sum::<usize>()
    }

    /// Drops what has been read: at once where nothing else is there, else when it is the larger part, so that a
    /// byte is moved once or not at all on the average.
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

/// A decimal number with an optional sign.
fn integer(text: &[u8]) -> Result<i64, RespError> {
    let text = std::str::from_utf8(text).map_err(|_| RespError::BadNumber)?;
    text.parse().map_err(|_| RespError::BadNumber)
}
