//! The console worker: the kernel's console, and the agent's channel or the user's terminal.

use std::convert::Infallible;

use devices::bounds::Bounds;
use devices::channel::{Channel, Life};
use devices::kernel_log::KernelLog;
use devices::raw::Raw;
use devices::serve::{ConsoleLoop, Inputs, Joined, Line, News};
use devices::visible::Form;

use super::{Error, TakeOver, end, link, take, tell, tell_sealed};
use crate::fds::{self, Inherited};
use crate::jail::Jailed;
use crate::memory;
use crate::plan::Plan;
use crate::status::{Record, TEXT};

pub(super) fn live(
    plan: &Plan,
    agent: bool,
    output: Bounds,
    [stdout_form, stderr_form, log_form]: [Form; 3],
    jailed: Jailed,
    fds: &mut Inherited,
    take_over: Option<TakeOver>,
) -> Result<Infallible, Error> {
    let [stdin, stdout, stderr] = [take(fds, 0)?, take(fds, 1)?, take(fds, 2)?];
    let memory = memory::ram(take(fds, fds::MEMORY)?, plan.memory, plan.transparent)?;
    let pages = take(fds, fds::CONTROL_PAGES)?;
    let mut joined = if agent {
        let log = KernelLog::new(fds.take(fds::LOG)).in_form(log_form);
        let channel = Channel::new(stdout, stderr).within(output);
        let channel = channel.in_forms([stdout_form, stderr_form]);
        vec![Joined::KernelLog(log), Joined::Channel(Box::new(channel))]
    } else {
        vec![Joined::Raw(Raw::new(stdout).within(output).in_form(stdout_form))]
    }
    .into_iter();
    let mut lines = Vec::new();
    for (index, _) in plan.served() {
        let joined = joined.next().ok_or(Error::Descriptor(fds::control(index)))?;
        lines.push(Line::new(link(plan, index, &memory, &pages, fds)?, joined));
    }
    let inputs = Inputs { stdin: Some(stdin), orders: fds.take(fds::ORDERS) };
    drop(pages);

    let mut served = ConsoleLoop::new(lines, inputs, |news: News<'_>| {
        report(&news);
        Ok(())
    });
    tell_sealed(&jailed.seal(plan, &[])?, take_over, &[]);
    end(served.run())
}

fn report(news: &News<'_>) {
    match news {
        News::Life(Life::Booting) => {}
        News::Life(Life::Up) => tell(&Record::AgentUp),
        News::Life(Life::Running) => tell(&Record::CommandStarted),
        News::Life(Life::Ended(end)) => tell(&Record::CommandEnded(end.clone())),
        News::Dropped(dropped) => tell(&Record::Dropped(*dropped)),
        News::KernelLog(tail, panicked) => {
            tail.chunks(TEXT).for_each(|piece| tell(&Record::KernelLog(piece.to_vec())));
            if *panicked {
                tell(&Record::KernelPanic);
            }
        }
    }
}
