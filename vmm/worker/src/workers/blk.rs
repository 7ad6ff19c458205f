//! The blk worker: one image, one queue.

use std::fs::File;

use devices::blk::{Blk, ID_LEN};
use devices::serve;

use super::{Error, link, take, tell};
use crate::fds::{self, Inherited};
use crate::jail::Jailed;
use crate::memory;
use crate::plan::{Device, Plan};
use crate::status::Record;

pub(super) fn live(
    plan: &Plan,
    index: u8,
    jailed: Jailed,
    fds: &mut Inherited,
) -> Result<(), Error> {
    let Some(Device::Blk(shape)) = plan.devices.get(usize::from(index)) else {
        return Err(Error::Descriptor(fds::IMAGE));
    };
    let image = File::from(take(fds, fds::IMAGE)?);
    let memfd = take(fds, fds::MEMORY)?;
    let memory = memory::ram(&memfd, plan.memory)?;
    let mut link = link(plan, index, &memory, &memfd, fds)?;
    drop(memfd);

    let _sealed = jailed.seal()?;
    tell(&Record::Sealed);
    Ok(serve::blk(&mut link, &mut Blk::new(image, *shape, id(plan)))?)
}

/// The answer to GET_ID: the worker's name, so that `/dev/disk/by-id` tells disks apart.
fn id(plan: &Plan) -> [u8; ID_LEN] {
    let mut id = [0; ID_LEN];
    let name = format!("casemate-{}", plan.name());
    id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    id
}
