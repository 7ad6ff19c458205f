//! The blk worker: one image, one queue; and a file for what is written, if the image is to stay as it is.

use std::convert::Infallible;
use std::fs::File;

use devices::blk::{Blk, ID_LEN, Shape};
use devices::disk::{Disk, Temporary};
use devices::link::Link;
use devices::overlay::Overlay;
use devices::serve::BlkLoop;
use devices::throttle::Rates;

use super::{Error, TakeOver, end, link, take, tell, tell_sealed};
use crate::fds::{self, Inherited};
use crate::jail::Jailed;
use crate::memory;
use crate::plan::{Backing, Device, Plan};
use crate::status::Record;

pub(super) fn live(
    plan: &Plan,
    index: u8,
    (backing, rates): (Backing, Rates),
    jailed: Jailed,
    fds: &mut Inherited,
    take_over: Option<TakeOver>,
) -> Result<Infallible, Error> {
    let Some(Device::Blk(shape)) = plan.devices.get(usize::from(index)) else {
        return Err(Error::Descriptor(fds::IMAGE));
    };
    let image = File::from(take(fds, fds::IMAGE)?);
    let memory = memory::ram(take(fds, fds::MEMORY)?, plan.memory, plan.transparent)?;
    let pages = take(fds, fds::CONTROL_PAGES)?;
    let link = link(plan, index, &memory, &pages, fds)?;
    drop(pages);

    let device = Started { plan, link, shape: *shape, rates, jailed, take_over };
    match backing {
        Backing::Image => device.serve(image),
        Backing::Temporary => device.serve(Temporary(image)),
        Backing::Copy(most) => {
            let copy = File::from(take(fds, fds::COPY)?);
            let size = plan.image_size(index).unwrap_or(0);
            device.serve(Overlay::new(image, copy, size, most))
        }
    }
}

/// A device that lacks nothing but its disk.
struct Started<'a, 'm> {
    plan: &'a Plan,
    link: Link<'m>,
    shape: Shape,
    rates: Rates,
    jailed: Jailed,
    take_over: Option<TakeOver>,
}

impl Started<'_, '_> {
    fn serve(self, disk: impl Disk) -> Result<Infallible, Error> {
        let Self { plan, link, shape, rates, jailed, take_over } = self;
        let device = Blk::new(disk, shape, id(plan)).within(rates);
        let mut served = BlkLoop::new(link, device);
        tell_sealed(&jailed.seal(plan, &[])?, take_over, &[]);
        end(served.run_and_tell(|limited| tell(&Record::Limited(limited))))
    }
}

/// The answer to GET_ID: the worker's name, so that `/dev/disk/by-id` tells disks apart.
fn id(plan: &Plan) -> [u8; ID_LEN] {
    let mut id = [0; ID_LEN];
    let name = format!("casemate-{}", plan.name());
    id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    id
}
