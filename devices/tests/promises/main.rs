//! What the devices promise, a row each, tested without KVM.
//!
//! One file for each file of `src`, and `faults` for all backends that fail. Names of tests are the promises.
#![cfg(test)]

mod blk;
mod bounds;
mod chain;
mod channel;
mod console;
mod faults;
mod kernel_log;
mod link;
mod mmio;
mod overlay;
mod ring;
mod serve;
mod sink;
mod throttle;

/// A repeatable sequence of numbers that look random (xorshift64*).
struct Numbers(u64);

impl Numbers {
    /// The next number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % bound
    }

    /// So many bytes.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}
