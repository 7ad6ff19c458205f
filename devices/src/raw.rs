//! A console joined to two byte streams as they are, for guests without the agent.

use std::os::fd::OwnedFd;

use crate::bounds::Bounds;
use crate::console::Port;
use crate::sink::Sink;
use crate::violation::Violation;
use crate::visible::Form;

const BUFFER: usize = 64 * 1024;
const INPUT: usize = 4096;

/// A console port without a protocol.
#[derive(Debug)]
pub struct Raw {
    sink: Sink,
    input: Vec<u8>,
    over: bool,
}

impl Raw {
    /// A port whose output goes to `stdout`.
    pub fn new(stdout: OwnedFd) -> Self {
        Self { sink: Sink::new(stdout, BUFFER), input: Vec::new(), over: false }
    }

    /// The port, with its output within these bounds.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self { sink: self.sink.within(bounds), ..self }
    }

    /// The port, with its output in this form.
    #[must_use]
    pub fn in_form(self, form: Form) -> Self {
        Self { sink: self.sink.in_form(form), ..self }
    }
}

impl Port for Raw {
    fn output(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        Ok(self.sink.push(bytes))
    }

    fn sinks(&self) -> [Option<&Sink>; 2] {
        [Some(&self.sink), None]
    }

    fn sinks_mut(&mut self) -> [Option<&mut Sink>; 2] {
        [Some(&mut self.sink), None]
    }

    fn input_room(&self) -> usize {
        if self.over || !self.input.is_empty() { 0 } else { INPUT }
    }

    fn offer_input(&mut self, bytes: &[u8]) {
        self.over = bytes.is_empty();
        self.input.extend_from_slice(bytes);
    }

    fn has_input(&mut self) -> bool {
        !self.input.is_empty()
    }

    fn input(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.input.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..count), self.input.get(..count)) else {
            return 0;
        };
        to.copy_from_slice(from);
        self.input.drain(..count);
        count
    }
}
