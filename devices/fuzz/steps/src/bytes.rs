//! The numbers that a fuzzer's bytes stand for. At their end everything is zero.

/// What is left of a program.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// A program from its beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// True when nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (now, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        now
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.take(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// Two bytes.
    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes.
    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A number below `bound`: one byte of the program, or two if the bound needs them.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = if bound <= 256 { usize::from(self.byte()) } else { usize::from(self.half()) };
        number % bound
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// True for one byte in sixteen: the knobs that most programs leave alone.
    pub fn rarely(&mut self) -> bool {
        self.byte() >= 0xf0
    }

    /// A number of 64 bits that is likely to be on the edge of something.
    pub fn edge(&mut self) -> u64 {
        let near = u64::from(self.byte());
        match self.below(6) {
            0 => near,
            1 => near << 9,
            2 => (1u64 << (near % 64)).wrapping_sub(1),
            3 => 1 << (near % 64),
            4 => u64::MAX - near,
            _ => self.long(),
        }
    }
}
