use super::*;
use bare::{Op, Width};
use steps::queue::{END, Part, Queue};
use steps::{DISK, Disturbance, Machine, Store};

fn script(take: impl FnOnce(&mut Script)) -> Script {
    let mut script = Script::new(false);
    take(&mut script);
    script
}

#[test]
fn only_programs_of_whole_machines_are_replayed() {
    for (name, part) in [("blk", "stdin -- blk"), ("hole", "no such"), ("Whole", "no such")] {
        assert!(parse_target(name).unwrap_err().contains(part), "{name}");
    }
    assert!(parse_target("whole").is_ok());
}

#[test]
fn what_is_past_the_end_of_a_program_is_past_the_end_of_its_guest() {
    for (address, len, moves) in [
        (0x7000, 16, false),
        (END - 8, 8, false),
        (END - 8, 9, true),
        (END, 0, false),
        (END, 1, true),
        (1 << 30, 16, false),
        (u64::MAX - 3, 16, false),
    ] {
        let script = script(|script| {
            let queue = Queue::new(0x200, 16);
            let geometry = queue.geometry;
            for (offset, value) in [
                (0x038, 16),
                (0x080, geometry.descriptors),
                (0x090, geometry.available),
                (0x0a0, geometry.used),
                (0x044, 1),
                (0x070, 15),
            ] {
                script.set(DISK, offset, u32::try_from(value).unwrap());
            }
            queue.describe(script, 3, Part { address, len, flags: 0 }, 0);
            script.kick(DISK, 0);
        });
        let moved = Op::Write {
            width: Width::Quad,
            addr: 0x230,
            value: address.wrapping_add(script::MEMORY - END),
        };
        assert_eq!(script.ops.contains(&moved), moves, "{address:#x} {len}");
        assert_eq!(script.done.moved, usize::from(moves));
    }
}

#[test]
fn what_no_guest_can_do_is_counted_and_not_done() {
    let script = script(|script| {
        for what in [
            Disturbance::Short(1),
            Disturbance::Fails(0, 5),
            Disturbance::Meanwhile(0, 1),
            Disturbance::ReaderGone,
            Disturbance::Typed(b"abc".to_vec()),
            Disturbance::InputEnds,
            Disturbance::Typed(b"de".to_vec()),
        ] {
            script.disturb(DISK, what);
        }
        script.say(DISK, &[1]);
        script.write(END - 1, &[1, 2]);
    });
    let left = script.left_out;
    assert_eq!((left.failing_images, left.racing_writes, left.gone_readers), (2, 1, 1));
    assert_eq!((left.control_messages, left.typed, script.typed.len()), (1, 2, 3));
    assert_eq!((script.ops.len(), script.done.memory_writes), (1, 0));
}
