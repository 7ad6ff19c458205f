//! The end of a run: what is left to be said is heard, everybody is reaped, and what comes out is collected.

use std::time::{Duration, Instant};

use devices::throttle::Rates;
use worker::plan::{Backing, Role};

use super::Run;
use crate::cgroup::Cgroup;
use crate::collect::Collected;
use crate::disks;
use crate::outcome::Outcome;
use crate::recorded::RecordReport;
use crate::report::End;

/// How long the console worker may take for the kernel's last words when the guest was killed.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Run {
    /// Ends everything, collects what is left to say, and reaps every worker.
    pub(super) fn finish(mut self, mut outcome: Outcome) -> End {
        self.kill(|name| name == "vcpu");
        // The end of the machine makes the console worker bring the kernel's last words, and the others
        // what their limits cost.
        let until = Instant::now() + LAST_WORDS;
        let console = outcome.wants_kernel_log() || self.sandbox.console_file;
        while self.expects_words(console) && Instant::now() < until {
            self.wait(Some(until));
            self.listen();
            while self.watch.signals.next().is_some() {}
        }
        self.kill(|_| true);
        while self.workers.iter().any(|worker| !worker.process.has_ended()) {
            self.wait(None);
            self.listen();
            while self.watch.signals.next().is_some() {}
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.take_back();
        }
        // One worker's failure is often another's consequence: what the guest did comes first.
        if matches!(outcome, Outcome::Failed(..)) {
            outcome = self.facts.cause().unwrap_or(outcome);
        }
        // Nothing hides a forbidden call, whatever else happened in the same moment.
        outcome = self.facts.breach.clone().unwrap_or(outcome);
        let collected = self.collect(&mut outcome);
        let plans = self.workers.iter().map(|worker| &worker.plan);
        let disks: Vec<_> =
            plans.filter_map(|plan| disks::report(plan, &self.facts.limited)).collect();
        let peaks = self.workers.into_iter().map(|worker| (worker.name, worker.process.peak()));
        let peaks = peaks.collect();
        let cgroup = self.sandbox.cgroup.take();
        let group = cgroup.as_ref().map(Cgroup::limits);
        let dropped = self.facts.dropped;
        let limits =
            self.rules.limits.in_force(self.sandbox.memory.bytes, group, disks.clone(), &dropped);
        if let Some(cgroup) = cgroup {
            cgroup.remove();
        }
        self.facts.phases.ended = Some(self.watch.begun.elapsed());
        End {
            id: String::new(),
            outcome,
            phases: self.facts.phases,
            peaks,
            kernel_log: self.facts.kernel_log,
            early: self.facts.early,
            record: self.facts.recorded.as_ref().map(RecordReport::new),
            findings: self.findings,
            insecure: self.rules.insecure,
            memory: Some(self.sandbox.memory),
            limits: Some(limits),
            dropped,
            disks,
            collected,
        }
    }

    /// Collects what the command left, now that no worker can write to its disks any more. If the command
    /// succeeded and this does not, the run has not.
    fn collect(&mut self, outcome: &mut Outcome) -> Vec<Collected> {
        let collectors = std::mem::take(&mut self.sandbox.collectors);
        if !matches!(outcome, Outcome::Exited(_) | Outcome::Signaled(_)) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for collector in collectors {
            let (collected, ending) = collector.collect(self.watch.deadline, &self.watch.signals);
            if let (Outcome::Exited(0), Some(reason)) = (&outcome, &collected.reason) {
                *outcome = Outcome::Uncollected(reason.clone());
            }
            all.push(collected);
            if let Some(ending) = ending {
                *outcome = ending;
                break;
            }
        }
        all
    }

    /// True while a worker has something left to say that is wanted. `console`: also of the console's.
    fn expects_words(&self, console: bool) -> bool {
        let mut both = self.workers.iter().zip(&self.facts.workers);
        both.any(|(worker, life)| {
            !life.silent
                && match worker.plan.role {
                    Role::Vcpu { .. } => false,
                    Role::Console { .. } => console,
                    Role::Blk { backing, rates, .. } => {
                        matches!(backing, Backing::Copy(_)) || rates != Rates::NONE
                    }
                }
        })
    }

    fn kill(&self, which: impl Fn(&str) -> bool) {
        for worker in self.workers.iter().filter(|worker| which(&worker.name)) {
            worker.process.kill();
        }
    }
}
