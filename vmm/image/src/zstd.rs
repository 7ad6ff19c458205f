//! zstd: frames one after the other, with skippable ones between them, as RFC 8878 has it.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::Error;

/// What a sequence of frames unpacks to. The decoder refuses windows beyond 100 MiB by itself.
pub struct Zstd<R> {
    packed: BufReader<R>,
    frame: FrameDecoder,
    inside: bool,
}

impl<R: Read> Zstd<R> {
    /// The frames that `packed` consists of.
    pub fn new(packed: BufReader<R>) -> Self {
        Self { packed, frame: FrameDecoder::new(), inside: false }
    }

    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let mut skipped = self.packed.by_ref().take(length);
                    if io::copy(&mut skipped, &mut io::sink())? < length {
                        return Err(Error::Truncated.into());
                    }
                }
                Err(_) => return Err(self.broken()?),
            }
        }
        Ok(false)
    }

    /// Ends a frame whose bytes have all been read.
    fn end(&mut self) -> io::Result<()> {
        let told = self.frame.get_checksum_from_data();
        let sums_differ = told.is_some() && told != self.frame.get_calculated_checksum();
        self.inside = false;
        if sums_differ { Err(damaged().into()) } else { Ok(()) }
    }

    /// Why a frame cannot be decoded: most often because there is no more of it.
    fn broken(&mut self) -> io::Result<io::Error> {
        let over = self.packed.fill_buf()?.is_empty();
        Ok(if over { Error::Truncated } else { damaged() }.into())
    }
}

fn damaged() -> Error {
    Error::Archive("what zstd packed makes no sense")
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.inside {
                self.inside = self.begin()?;
                if !self.inside {
                    return Ok(0);
                }
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                if self.frame.decode_blocks(&mut self.packed, one).is_err() {
                    return Err(self.broken()?);
                }
            }
            match self.frame.read(buffer)? {
                0 => self.end()?,
                read => return Ok(read),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut unpacked = Vec::new();
        let mut reader = Zstd::new(BufReader::new(bytes));
        reader.read_to_end(&mut unpacked).map_err(Error::of_reading)?;
        Ok(unpacked)
    }

    #[test]
    fn frames_follow_one_another() {
        let frame = |text: &[u8]| compress_to_vec(text, CompressionLevel::Fastest);
        let skipped = [&0x184d_2a5f_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"xyz"].concat();
        let all = [skipped.clone(), frame(b"abc"), skipped.clone(), frame(b"defg")].concat();
        assert_eq!(unpack(&all).unwrap(), b"abcdefg");
        assert_eq!(unpack(&[]).unwrap(), b"");
        for cut in [3, 9, skipped.len() + 3, all.len() - 1] {
            assert!(matches!(unpack(&all[..cut]), Err(Error::Truncated)), "{cut}");
        }
        let garbage = [&frame(b"abc")[..], b"garbage"].concat();
        assert!(matches!(unpack(&garbage), Err(Error::Archive(_))));
    }
}
