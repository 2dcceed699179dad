//! gRPC's length-prefixed framing: a flag, a length of four bytes, the message. Messages are not buffered: their bytes are
//! passed on as they arrive.

use super::Violation;

/// Length of a frame's header in bytes.
pub const FRAME_HEADER: usize = 5;

/// The largest accepted frame, in bytes of its message.
pub const MAX_FRAME: u32 = 1 << 20;

/// The header of a frame that carries an uncompressed message of `len` bytes (gRPC over HTTP/2,
/// "Length-Prefixed-Message").
pub fn frame_header(len: u32) -> [u8; FRAME_HEADER] {
    let [a, b, c, d] = len.to_be_bytes();
    [0, a, b, c, d]
}

/// Removes the framing from a stream of bytes.
#[derive(Debug, Default)]
pub struct Frames {
    /// The part of a header that has arrived so far.
    header: [u8; FRAME_HEADER],
    header_len: usize,
    /// Bytes of the current message that have not arrived yet.
    message_left: usize,
}

impl Frames {
    /// Cuts the next piece of a message off the front of `bytes`; `None`: `bytes` is used up. Message boundaries are not
    /// returned: the contents of the messages are one stream.
    ///
    /// # Errors
    /// A frame that is compressed or larger than [`MAX_FRAME`].
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Violation> {
        while self.message_left == 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                return Ok(None);
            };
            *bytes = rest;
            if let Some(place) = self.header.get_mut(self.header_len) {
                *place = byte;
                self.header_len += 1;
            }
            if self.header_len == FRAME_HEADER {
                self.message_left = message_len(self.header)?;
                self.header_len = 0;
            }
        }
        let (piece, rest) = bytes.split_at_checked(self.message_left).unwrap_or((bytes, &[]));
        *bytes = rest;
        self.message_left -= piece.len();
        Ok((!piece.is_empty()).then_some(piece))
    }
}

fn message_len([flag, a, b, c, d]: [u8; FRAME_HEADER]) -> Result<usize, Violation> {
    if flag != 0 {
        return Err(Violation::FrameFlag(flag));
    }
    match u32::from_be_bytes([a, b, c, d]) {
        len if len > MAX_FRAME => Err(Violation::FrameTooLarge(len)),
        // usize has at least 32 bits on all supported targets.
        len => Ok(len as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unframe(chunks: &[&[u8]]) -> Result<Vec<u8>, Violation> {
        let mut frames = Frames::default();
        let mut out = Vec::new();
        for mut bytes in chunks.iter().copied() {
            while let Some(piece) = frames.next(&mut bytes)? {
                out.extend_from_slice(piece);
            }
        }
        Ok(out)
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&frame_header(message.len() as u32), message].concat()
    }

    #[test]
    fn a_header_is_a_zero_flag_and_a_big_endian_length() {
        assert_eq!(frame_header(0x0102_0304), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn compressed_and_too_large_frames_are_refused() {
        assert_eq!(unframe(&[&[1, 0, 0, 0, 0]]), Err(Violation::FrameFlag(1)));
        assert_eq!(unframe(&[&[0, 0, 0x10, 0, 0]]), Ok(vec![]));
        assert_eq!(
            unframe(&[&[0, 0, 0x10, 0, 1]]),
            Err(Violation::FrameTooLarge((1 << 20) + 1))
        );
        assert_eq!(
            unframe(&[b"*1\r\n$8\r\nFLUSHALL\r\n"]),
            Err(Violation::FrameFlag(b'*'))
        );
    }

    proptest! {
        #[test]
        fn any_cut_of_framed_messages_gives_the_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..8),
            cut in 1_usize..40,
        ) {
            let wire: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
            let chunks: Vec<&[u8]> = wire.chunks(cut).collect();
            prop_assert_eq!(unframe(&chunks), Ok(messages.concat()));
        }
    }
}
