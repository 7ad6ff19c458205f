//! Progress of long work, on stderr, where that is a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work is long from here on.
const LONG: Duration = Duration::from_millis(500);

/// A bar that appears when the work turns out to be long. Nothing draws it but the work itself: the
/// launcher has one thread.
pub struct Progress {
    begun: Instant,
    bar: ProgressBar,
    shown: bool,
}

impl Progress {
    /// Begins to take the time.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { begun: Instant::now(), bar, shown: false }
    }

    /// So many bytes of a directory are collected; how many there are is not known.
    pub fn collected(&mut self, bytes: u64) {
        self.show("collecting {binary_bytes}");
        self.bar.set_position(bytes);
    }

    /// So many bytes of so many are copied into the image.
    pub fn copied(&mut self, done: u64, all: u64) {
        if self.bar.length() != Some(all) {
            self.shown = false;
        }
        self.show("building {wide_bar} {binary_bytes} of {binary_total_bytes} {percent}%");
        self.bar.set_length(all);
        self.bar.set_position(done.min(all));
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&mut self, template: &str) {
        if self.shown || self.begun.elapsed() < LONG {
            return;
        }
        self.shown = true;
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
            // Draws nothing where stderr is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
