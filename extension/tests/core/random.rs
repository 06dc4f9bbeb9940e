//! Seeded random lives of environments. `LAMBDA_FLUSH_SIM_STEPS` and `LAMBDA_FLUSH_SIM_SEED` scale and repeat it.

use super::world::World;

const STEPS: u64 = 200_000;
const LIFE_STEPS_MAX: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- repeat it with LAMBDA_FLUSH_SIM_SEED={} LAMBDA_FLUSH_SIM_STEPS=1", self.0);
        }
    }
}

/// Lives the life of `seed`; returns its steps.
fn live(seed: u64) -> u64 {
    let _seed = Seed(seed);
    let mut world = World::new(seed);
    let mut steps = 0;
    while steps < LIFE_STEPS_MAX && world.step() {
        steps += 1;
    }
    world.close();
    steps
}

#[test]
fn every_promise_holds_in_every_random_life() {
    let first = number("LAMBDA_FLUSH_SIM_SEED").unwrap_or(1);
    let wanted = number("LAMBDA_FLUSH_SIM_STEPS").unwrap_or(STEPS);
    let (mut steps, mut seed) = (0, first);
    while steps < wanted {
        steps += live(seed);
        seed += 1;
    }
    println!("{steps} steps in {} lives from seed {first}", seed - first);
}
