//! The blk worker: one image, one queue.

use std::convert::Infallible;
use std::fs::File;

use devices::blk::{Blk, ID_LEN};
use devices::serve::BlkLoop;

use super::{Error, TakeOver, end, link, take, tell_sealed};
use crate::fds::{self, Inherited};
use crate::jail::Jailed;
use crate::memory;
use crate::plan::{Device, Plan};

pub(super) fn live(
    plan: &Plan,
    index: u8,
    jailed: Jailed,
    fds: &mut Inherited,
    take_over: Option<TakeOver>,
) -> Result<Infallible, Error> {
    let Some(Device::Blk(shape)) = plan.devices.get(usize::from(index)) else {
        return Err(Error::Descriptor(fds::IMAGE));
    };
    let image = File::from(take(fds, fds::IMAGE)?);
    let memfd = take(fds, fds::MEMORY)?;
    let memory = memory::ram(&memfd, plan.memory)?;
    let link = link(plan, index, &memory, &memfd, fds)?;
    drop(memfd);

    let mut served = BlkLoop::new(link, Blk::new(image, *shape, id(plan)));
    tell_sealed(&jailed.seal(plan, &[])?, take_over, &[]);
    end(served.run())
}

/// The answer to GET_ID: the worker's name, so that `/dev/disk/by-id` tells disks apart.
fn id(plan: &Plan) -> [u8; ID_LEN] {
    let mut id = [0; ID_LEN];
    let name = format!("casemate-{}", plan.name());
    id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    id
}
