//! Random kills of aggregators and of ingest under load. Each aggregator talks to the broker through a proxy of its own, so it is known
//! where in a transaction it stands when it is killed.

use crate::moments::{Deck, Fate, Moment};
use crate::rig::{Chance, RATE, Tally, each_key_counted_once, kills, lag, turn};
use crate::services::{Services, audit};
use e2e::paced::{Sender, Settings};
use e2e::proxy::{Api, Proxy};
use e2e::world::{Cluster, PATIENCE, SESSION_MS, Service};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// One kill, with a take-over by the other aggregator.
const A_KILL: Duration = Duration::from_secs(90);

/// Every key is acknowledged in the end, so each must be counted exactly once. A kill of an aggregator counts only if it stood in a
/// transaction, or waited to be let open one; a kill of ingest only if it broke off a request. A quarter of the aggregators' deaths last longer
/// than a session, so that the other one takes over; the others come back as the same static member.
#[test]
fn kills_of_aggregators_and_ingest_lose_nothing_and_count_nothing_twice() {
    let _turn = turn();
    let mut chance = Chance::new();
    let world = Cluster::new("kills").unwrap();
    let proxies = [(); 2].map(|()| Proxy::start(world.broker.parse().unwrap()).unwrap());
    let role = |number: usize| {
        let role = world
            .aggregate(&format!("aggregate-{}", number + 1), true)
            .unwrap();
        role.with("TIDEMARK_KAFKA__BROKERS", proxies[number].address())
    };
    let mut services = Services::with(&world, [role(0), role(1)]);
    let sender = Sender::start(Settings {
        server: world.ingest_address,
        rate: RATE,
        keys: "k".to_owned(),
    });
    let (wanted, begun, mut broken) = (kills(), Instant::now(), 0);
    let (mut done, mut deck, mut tally) = (0, Deck::new(), Tally::default());
    while done < wanted {
        assert!(
            begun.elapsed() < A_KILL * (wanted as u32 + 1),
            "{done} kills of {wanted}"
        );
        sender.wait_for(1, PATIENCE).unwrap();
        sleep(chance.ms(100, 1500));
        let lag = lag(world.query_address);
        let hit = match chance.below(4) {
            0 => kill_ingest(&mut services.ingest, &sender, &mut chance),
            drawn => {
                let victim = drawn as usize % 2;
                let (aggregator, proxy) = (&mut services.aggregators[victim], &proxies[victim]);
                kill_aggregator(aggregator, proxy, deck.draw(&mut chance), &mut chance)
            }
        };
        broken += sender.forget_broken();
        if let Some(hit) = hit {
            done += 1;
            println!("kill {done}: {hit}; {lag}");
            tally.add(hit);
        }
    }
    tally.print();
    let mut sent = sender.finish().unwrap();
    sent.broken += broken;
    each_key_counted_once(world.query_address, &sent);
    services.stop();
    audit(&world);
}

fn kill_ingest(ingest: &mut Service, sender: &Sender, chance: &mut Chance) -> Option<String> {
    sender.wait_open(Duration::from_secs(1));
    // Anywhere from its arrival to its answer.
    sleep(Duration::from_micros(chance.below(10_000)));
    let moment = ingest.process.kill().unwrap();
    ingest.restart().unwrap();
    let broke = sender.broken_at(moment);
    (broke > 0).then(|| format!("ingest: {broke} requests unanswered"))
}

fn kill_aggregator(
    aggregator: &mut Service,
    proxy: &Proxy,
    moment: Moment,
    chance: &mut Chance,
) -> Option<String> {
    if moment.api == Api::InitProducerId {
        // Only a start comes to this.
        aggregator.process.kill().unwrap();
        aggregator.process = aggregator.role.spawn().unwrap();
    }
    let held = moment.reach(proxy);
    if held.is_some() {
        // It stands there; what it committed before, or with a request that is only not answered, is on its way to the store meanwhile.
        sleep(chance.ms(0, 40));
        aggregator.process.kill().unwrap();
    } else {
        assert!(aggregator.process.is_alive().unwrap(), "it ended by itself");
        println!("not reached: {}: {}", aggregator.role.name, moment.name());
        return None;
    }
    sleep(match chance.below(4) {
        0 => Duration::from_millis(SESSION_MS) + chance.ms(500, 3000),
        _ => chance.ms(0, 500),
    });
    let late = held.flatten().filter(|_| moment.fate == Fate::Late);
    let before = chance.below(2) == 0;
    let arrive = |wanted: bool| {
        if let Some(id) = late.filter(|_| wanted) {
            proxy.release(id).unwrap();
        }
    };
    arrive(before);
    aggregator.restart().unwrap();
    arrive(!before);
    held.map(|_| format!("aggregator: {}", moment.name()))
}
