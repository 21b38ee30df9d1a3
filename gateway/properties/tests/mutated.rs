//! Every property, asked with its seeds and with seeds that were changed at random places: what a fuzzer does for hours, each
//! time for a second. Chance is seeded, so that what fails fails again.

use std::panic::catch_unwind;

use trysail_properties::{ALL, Property, mutate};

fn check(name: &str, turns: usize) {
    let property = ALL.iter().find(|property| property.name == name).expect("there is one");
    let seeds = (property.seeds)();
    assert!(seeds.len() >= 5, "only {} seeds", seeds.len());
    seeds.iter().for_each(|seed| ask(property, seed));
    let mut chance = fastrand::Rng::with_seed(35);
    for turn in 0..turns {
        let bytes = mutate(&seeds, turn, &mut chance);
        ask(property, &bytes);
    }
}

fn ask(property: &Property, bytes: &[u8]) {
    let holds = property.holds;
    if catch_unwind(|| holds(bytes)).is_err() {
        panic!("{} does not hold for b\"{}\"", property.name, bytes.escape_ascii());
    }
}

macro_rules! properties {
    ($($name:ident $turns:literal)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), $turns);
        })*

        #[test]
        fn each_is_asked() {
            assert_eq!(ALL.map(|property| property.name), [$(stringify!($name)),*]);
        }
    };
}

properties! {
    answer 2_000
    authority 2_000
    chunks 2_000
    config 150
    decide 600
    explain 600
    fields 2_000
    head 4_000
    path 2_000
    proxy_header 1_000
}

/// What fuzzers start from: a folder for each property under the one that `FUZZ_CORPUS` names, a file for each seed.
#[test]
fn seeds_are_written_where_they_are_wanted() {
    let Some(folder) = std::env::var_os("FUZZ_CORPUS") else { return };
    for property in ALL {
        let folder = std::path::Path::new(&folder).join(property.name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (at, seed) in (property.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{at:03}")), seed).expect("a seed");
        }
    }
}
