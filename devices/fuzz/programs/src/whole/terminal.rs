//! The console worker, compared with the model whenever it has come to rest.

use std::cell::Cell;
use std::rc::Rc;

use devices::bounds::Bounds;
use devices::console::IDENTITY;
use devices::kernel_log::{KernelLog, TAIL};
use devices::link::Event;
use devices::raw::Raw;
use devices::serve::{ConsoleLoop, Inputs, Joined, Line, News, Source, Turn};
use devices::testing::Machine;
use devices::violation::Fault;
use devices::visible::Form;
use steps::Disturbance;

use super::Device;
use super::transport::{Transport, outcome};
use super::wires::InMemory;
use crate::control::Outcome;
use crate::model;
use crate::rig::{BUFFERS, Guest, Queue};
use crate::streams::Pipe;

/// Turns of one settling: more than the longest output takes that a ring can describe.
const TURNS: usize = 100_000;
/// The most that a program may have typed and not read.
const TYPED: usize = 32 * 1024;

/// What lives longer than a program: descriptors.
pub struct Lasting {
    transport: Transport,
    output: Pipe,
    input: Pipe,
}

impl Lasting {
    /// For machines with this memory.
    pub fn new(guest: &Guest) -> Self {
        let (machine, _) = Machine::new(guest.memory, IDENTITY);
        let transport = Transport::new(machine, IDENTITY);
        Self { transport, output: Pipe::default(), input: Pipe::default() }
    }
}

/// What the launcher is told, which goes to its log and its report.
#[derive(Debug, Default)]
struct Told {
    /// How many times it was told of dropped output.
    times: Cell<u32>,
    /// How much was dropped, as it was last told.
    dropped: Cell<u64>,
}

impl Told {
    fn hear(&self, news: &News<'_>) {
        match news {
            News::Dropped(dropped) => {
                self.times.set(self.times.get() + 1);
                self.dropped.set(dropped.stdout.beyond);
            }
            News::KernelLog(tail, _) => assert!(tail.len() <= TAIL),
            News::Life(life) => panic!("a command's life without a channel: {life:?}"),
        }
    }

    /// Checks that it was told in time, and no more often than it has to be.
    fn check(&self, dropped: u64) {
        let told = self.dropped.get();
        assert!(told <= dropped && dropped / 2 < told.max(1), "{told} of {dropped} were told");
        assert!(self.times.get() <= 64 - told.leading_zeros(), "told {} times", self.times.get());
    }
}

type Tell = Box<dyn FnMut(News<'_>) -> Result<(), Fault>>;

/// The loop under test, with either kind of wires.
enum Served {
    Descriptors(ConsoleLoop<'static, Tell>),
    InMemory(ConsoleLoop<'static, Tell, &'static InMemory>, &'static InMemory),
}

impl Served {
    /// A turn, if there is something to do, and whether it may have written. `typed`: there is input.
    fn turn(&mut self, typed: impl Fn() -> bool) -> (Result<Turn, Fault>, bool) {
        let (served, wires) = match self {
            Self::Descriptors(served) => return (served.turn(false), true),
            Self::InMemory(served, wires) => (served, wires),
        };
        let mut woken = served.sources();
        woken.retain(|source| match source {
            Source::Control(_) => wires.is_told(),
            Source::Kick(_, queue) => wires.is_kicked(*queue),
            // Its reader reads after each turn.
            Source::Sink(..) => true,
            Source::Stdin(_) => typed(),
            Source::Orders => false,
        });
        let writes = woken.iter().any(|source| matches!(source, Source::Sink(..)));
        (served.act(&woken), writes)
    }
}

/// A console.
pub struct Terminal<'a> {
    transport: &'a mut Transport,
    served: Served,
    output: &'a mut Pipe,
    input: &'a mut Pipe,
    listens: bool,
    /// The worker knows that there will be no more input.
    heard_end: bool,
    model: model::console::Console,
    /// What came out, and the most that may.
    seen: Vec<u8>,
    bound: usize,
    told: Rc<Told>,
    /// How much of the model's output there was before it had to prove itself.
    before: usize,
    /// The model gave up.
    entangled: bool,
}

impl<'a> Terminal<'a> {
    /// A device after power-on, joined to two streams or to a log.
    pub fn new(lasting: &'a mut Lasting, is_log: bool, bound: usize, by_descriptors: bool) -> Self {
        let Lasting { transport, output, input } = lasting;
        output.renew();
        input.renew();
        let (joined, stdin) = if is_log {
            let log = KernelLog::new(Some(output.writer())).in_form(Form::Exact);
            (Joined::KernelLog(log), None)
        } else {
            let bounds = Bounds { bytes: bound as u64, ..Bounds::NONE };
            (Joined::Raw(Raw::new(output.writer()).within(bounds)), Some(input.reader()))
        };
        let inputs = Inputs { stdin, orders: None };
        let told = Rc::<Told>::default();
        let hears = Rc::clone(&told);
        let tell: Tell = Box::new(move |news| {
            hears.hear(&news);
            Ok(())
        });
        let served = if by_descriptors {
            let lines = vec![Line::new(transport.again(), joined)];
            Served::Descriptors(ConsoleLoop::new(lines, inputs, tell))
        } else {
            let lines = vec![Line::new(transport.again_in_memory(), joined)];
            Served::InMemory(ConsoleLoop::new(lines, inputs, tell), transport.in_memory())
        };
        let model = model::console::Console::default();
        Self {
            transport,
            served,
            output,
            input,
            listens: !is_log,
            heard_end: false,
            model,
            seen: Vec::new(),
            bound: if is_log { usize::MAX } else { bound },
            told,
            before: 0,
            entangled: false,
        }
    }

    /// The model could not say what had to happen.
    pub fn is_entangled(&self) -> bool {
        self.entangled
    }

    /// What came out.
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Lets the loop come to rest, and its reader read meanwhile.
    fn rest(&mut self) -> Outcome {
        for _ in 0..TURNS {
            let (turn, wrote) = self.served.turn(|| self.input.has_something());
            let read = wrote && self.output.drain(&mut self.seen);
            match turn {
                Ok(Turn::Idle) if !read => return Outcome::Event(Event::Nothing),
                Ok(_) => {}
                Err(fault) => return outcome(Err(fault)),
            }
        }
        panic!("the console does not come to rest");
    }

    /// What may come of it, by the model: rest, or one of these faults.
    fn expect(&mut self, guest: &mut Guest) -> Vec<Outcome> {
        loop {
            let told = self.transport.hear(guest);
            let kicked = std::mem::take(&mut self.transport.kicked);
            match told {
                Some(Outcome::Event(Event::Stop)) => self.model.stop(),
                Some(Outcome::Event(_)) => {}
                Some(fault) => return vec![fault],
                None if !kicked && !self.has_input() => return vec![],
                None => {}
            }
            if self.has_input() {
                self.model.read();
            }
            let faults = self.serve(guest);
            self.heard_end |= !self.input.is_written() && self.model.has_all();
            if !faults.is_empty() {
                return faults;
            }
            if !self.transport.is_told() {
                return vec![];
            }
        }
    }

    /// The worker has something to read from the host: bytes, or their end.
    fn has_input(&self) -> bool {
        let end = !self.input.is_written() && !self.heard_end && self.model.has_all();
        self.listens && (self.model.can_read() || end)
    }

    /// What is typed now arrives.
    fn takes_input(&self) -> bool {
        self.listens && self.input.is_written() && self.model.typed.len() < TYPED
    }

    fn serve(&mut self, guest: &mut Guest) -> Vec<Outcome> {
        let mut faults = Vec::new();
        for index in [1, 0] {
            let Some(ring) = &mut self.transport.state.rings[index] else { continue };
            let used = match index {
                1 => self.model.transmit(&mut guest.ram, ring, u64::MAX),
                _ => self.model.receive(&mut guest.ram, ring),
            };
            match used {
                Ok(true) => self.transport.used(guest, index),
                Ok(false) => {}
                Err(violation) => faults.push(Outcome::Violation(violation)),
            }
        }
        faults
    }
}

impl Device for Terminal<'_> {
    fn transport(&mut self) -> &mut Transport {
        self.transport
    }

    fn settle(&mut self, guest: &mut Guest) {
        if self.transport.dead {
            return;
        }
        let stops = self.transport.stops();
        self.model.begin();
        let faults = self.expect(guest);
        let rested = self.rest();
        if !faults.is_empty() {
            assert!(faults.contains(&rested), "{rested:?}, and not one of {faults:?}");
        } else {
            assert_eq!(rested, Outcome::Event(Event::Nothing));
        }
        self.transport.dead = !faults.is_empty();
        // Two queues are served by turns. Where one's buffers are the other's, or are the rings,
        // the order in which they are is not the model's to say; and a worker that ends leaves
        // what it was at.
        self.entangled = !self.transport.dead && self.model.is_entangled(BUFFERS);
        if self.transport.dead || self.entangled {
            guest.learn();
            self.transport.dead = true;
            return;
        }
        (0..stops).for_each(|_| self.transport.stopped());
        guest.check("console");
        let (output, beyond) = self.model.output.split_at(self.bound.min(self.model.output.len()));
        assert!(output.starts_with(&self.seen), "the output differs");
        if self.output.is_read() {
            assert_eq!(output.len(), self.seen.len(), "the output is short");
            self.told.check(beyond.len() as u64);
        }
        self.transport.check();
    }

    fn disturb(&mut self, what: &Disturbance) {
        match what {
            Disturbance::ReaderGone => self.output.close_reader(),
            Disturbance::InputEnds => self.input.close_writer(),
            Disturbance::Typed(typed) if self.takes_input() => {
                self.input.write(typed);
                self.model.typed.extend(typed);
            }
            _ => {}
        }
    }

    fn calm(&mut self) {
        self.before = self.model.output.len();
    }

    fn prove(&mut self, guest: &mut Guest, [_, transmit]: &[Queue; 2]) {
        assert_eq!(&self.model.output[self.before..], b"proof");
        assert_eq!(guest.ram.half(transmit.geometry.used + 2), 1, "a plain write");
    }

    /// What is in the rings is served once more.
    fn end(&mut self, guest: &mut Guest) {
        self.transport.kick(0);
        self.transport.kick(1);
        self.settle(guest);
        if self.transport.dead {
            return;
        }
        if let Served::Descriptors(served) = &mut self.served {
            self.transport.end();
            served.run().unwrap();
            guest.check("the end of the console");
        }
    }
}
