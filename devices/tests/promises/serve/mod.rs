//! The workers' loops, with real sockets, events and pipes, and the registers at the other end.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use devices::violation::Fault;

mod blk;
mod bounds;
mod consoles;
mod rig;
mod throttled;

/// How long a worker that is alive may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a worker's life in a thread of its own; the result comes when it ends.
fn live(life: impl FnOnce() -> Result<(), Fault> + Send + 'static) -> mpsc::Receiver<String> {
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(text(&life())));
    end
}

/// Waits for a worker's end and says how it was.
fn end(life: &mpsc::Receiver<String>) -> String {
    life.recv_timeout(PATIENCE).expect("the worker does not end")
}

/// Runs a worker's life here, and gives up on all tests if it does not end.
fn ended(life: impl FnOnce() -> Result<(), Fault>) -> String {
    let (sender, ended) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the worker does not end");
            std::process::abort();
        }
    });
    let result = text(&life());
    drop(sender);
    watch.join().unwrap();
    result
}

fn text(result: &Result<(), Fault>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(Fault::Violation(violation)) => format!("{violation:?}"),
        Err(Fault::Control) => "Control".to_owned(),
        Err(other) => other.to_string(),
    }
}
