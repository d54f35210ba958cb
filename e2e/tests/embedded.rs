//! The single process, killed at random moments under load.

use crate::rig::{AUDIT, Chance, RATE, each_key_counted_once, kills, lag, turn};
use e2e::paced::{Sender, Settings};
use e2e::world::{Embedded, PATIENCE, Service};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A kill every two seconds or so is what 30 kills need; far more is a process that does not come up again.
const A_KILL: Duration = Duration::from_secs(60);

/// Every key is acknowledged in the end, so each must be counted exactly once: one that was lost after its success, or counted again
/// when it was sent again, is a wrong total. The number of kills is TIDEMARK_KILLS; a kill counts only if it broke off a request.
#[test]
fn thirty_kills_of_the_single_process_lose_nothing_and_count_nothing_twice() {
    let _turn = turn();
    let mut chance = Chance::new();
    let world = Embedded::new("kills").unwrap();
    let mut service = Service::start(world.run()).unwrap();
    let sender = Sender::start(Settings {
        server: world.address,
        rate: RATE,
        keys: "k".to_owned(),
    });
    let (mut done, mut broken) = (0, 0);
    let (wanted, begun) = (kills(), Instant::now());
    while done < wanted {
        assert!(
            begun.elapsed() < A_KILL * (wanted as u32 + 1),
            "{done} kills of {wanted}"
        );
        sender.wait_for(1, PATIENCE).unwrap();
        sleep(chance.ms(100, 1500));
        // Of both kinds: in the midst of all that goes on, and so that the lag at that moment is known.
        let lag = if chance.below(2) == 0 {
            lag(world.address)
        } else {
            "lag not asked for".to_owned()
        };
        sender.wait_open(Duration::from_secs(1));
        // Anywhere from its arrival to its answer.
        sleep(Duration::from_micros(chance.below(5000)));
        let open = sender.open();
        let moment = service.process.kill().unwrap();
        if chance.below(3) == 0 {
            // Killed again while it comes up.
            let mut process = world.run().spawn().unwrap();
            sleep(chance.ms(0, 150));
            process.kill().unwrap();
            println!("killed while starting");
        }
        service.restart().unwrap();
        let broke = sender.broken_at(moment);
        broken += sender.forget_broken();
        done += u64::from(broke > 0);
        println!("kill {done}: {open} requests open, {broke} of them broke off, {lag}");
    }
    let mut sent = sender.finish().unwrap();
    sent.broken += broken;
    each_key_counted_once(world.address, &sent);
    service.process.stop(PATIENCE).unwrap();
    assert_eq!(
        world.audit().run(AUDIT).unwrap(),
        0,
        "the audit found differences, or could not look"
    );
}
