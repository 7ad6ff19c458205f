//! `stdin TARGET [FILE…] [--repeat N]`: runs one program from standard input, or those in files.
//!
//! For fuzzers that feed standard input and watch for a signal, and for a look at one finding: a
//! finding is a panic, which aborts. With `--repeat` the programs run N times over, and the speed is
//! printed.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a harness: what fails, fails loudly"
)]

use programs::clock;
use std::io::Read;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let repeat = arguments.iter().position(|argument| argument == "--repeat");
    let repeat = repeat.map(|at| arguments.drain(at..).nth(1).unwrap().parse().unwrap());
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let Some((_, body)) = programs::TARGETS.into_iter().find(|target| target.0 == name) else {
        let names = programs::TARGETS.map(|target| target.0).join(" ");
        println!("usage: stdin TARGET [FILE…] [--repeat N]\ntargets: {names}");
        std::process::exit(2);
    };
    let mut programs: Vec<Vec<u8>> = arguments.map(|file| std::fs::read(file).unwrap()).collect();
    if programs.is_empty() {
        let mut program = Vec::new();
        std::io::stdin().read_to_end(&mut program).unwrap();
        programs.push(program);
    }
    let begun = clock::busy();
    for _ in 0..repeat.unwrap_or(1) {
        programs.iter().for_each(|program| body(program));
    }
    if let Some(repeat) = repeat {
        let count = programs.len() * repeat;
        let seconds = (clock::busy() - begun).as_secs_f64();
        let speed = count as f64 / seconds;
        println!("{count} programs in {seconds:.2} s of a processor: {speed:.0} a second");
    }
}
