//! Vectors and properties of the algorithms.

mod hashing;

use super::{
    Balance, CHOICES_MAX, Candidate, Candidates, First, Ketama, Key, LeastConn, LeastRequest,
    Maglev, Member, Modulo, Random, Rendezvous, Rng, RoundRobin, TRIED_MAX, Tried,
};

fn primary(weight: u32) -> Candidate {
    Candidate { weight, in_flight: 0, available: true, backup: false }
}

fn weights(weights: &[u32]) -> Vec<Candidate> {
    weights.iter().map(|&weight| primary(weight)).collect()
}

fn sequence(balance: &impl Balance, candidates: &[Candidate], picks: usize) -> Vec<usize> {
    (0..picks).map(|_| balance.pick(candidates, &Tried::new(), None).unwrap()).collect()
}

fn counts(balance: &impl Balance, candidates: &[Candidate], picks: usize) -> Vec<usize> {
    let mut counts = vec![0; candidates.len()];
    for index in sequence(balance, candidates, picks) {
        counts[index] += 1;
    }
    counts
}

fn tried(indices: &[usize]) -> Tried {
    let mut tried = Tried::new();
    for &index in indices {
        tried.insert(index);
    }
    tried
}

/// One of each algorithm, for what all of them must hold.
fn each(count: usize, seed: u64, check: impl Fn(&dyn Fn(&[Candidate], &Tried) -> Option<usize>)) {
    let round_robin = RoundRobin::new(count, 0);
    check(&|candidates, tried| round_robin.pick(candidates, tried, None));
    for choices in [1, 2, 3, 16] {
        let least_request = LeastRequest::new(choices, seed);
        check(&|candidates, tried| least_request.pick(candidates, tried, None));
    }
    check(&|candidates, tried| First.pick(candidates, tried, None));
    let random = Random::new(seed);
    check(&|candidates, tried| random.pick(candidates, tried, None));
    let least_conn = LeastConn::new(seed);
    check(&|candidates, tried| least_conn.pick(candidates, tried, None));
    let names: Vec<_> = (0..count).map(|index| format!("10.0.0.{index}:80")).collect();
    let members: Vec<_> =
        names.iter().map(|name| Member { name, weight: 1, backup: false }).collect();
    let key = Some(Key::of(&seed.to_le_bytes()));
    let maglev = Maglev::new(&members);
    check(&|candidates, tried| maglev.pick(candidates, tried, key));
    let ketama = Ketama::new(&members);
    check(&|candidates, tried| ketama.pick(candidates, tried, key));
    let rendezvous = Rendezvous::new(&members);
    check(&|candidates, tried| rendezvous.pick(candidates, tried, key));
    let modulo = Modulo::new(&members);
    check(&|candidates, tried| modulo.pick(candidates, tried, key));
}

#[test]
fn random_spreads_by_weight() {
    let candidates = weights(&[1, 2, 5]);
    let counts = counts(&Random::new(3), &candidates, 8000);
    for (got, weight) in counts.into_iter().zip([1, 2, 5]) {
        assert!(got.abs_diff(weight * 1000) < 6 * usize::isqrt(weight * 1000), "{got}");
    }
}

#[test]
fn least_conn_takes_the_one_with_the_fewest_for_its_weight() {
    let mut candidates = weights(&[1, 1, 4, 1]);
    for (candidate, in_flight) in candidates.iter_mut().zip([5, 3, 9, 4]) {
        candidate.in_flight = in_flight;
    }
    // 6/1, 4/1, 10/4, 5/1: the third.
    assert_eq!(counts(&LeastConn::new(1), &candidates, 50), [0, 0, 50, 0]);
    candidates[2].in_flight = 15;
    // 4/1 and 16/4 are equal: chance decides.
    let counts = counts(&LeastConn::new(1), &candidates, 1000);
    assert!(counts[0] + counts[3] == 0 && counts[1].abs_diff(500) < 100, "{counts:?}");
}

#[test]
fn first_goes_by_the_order_alone() {
    let mut candidates = weights(&[1, 9, 9]);
    assert_eq!(counts(&First, &candidates, 20), [20, 0, 0]);
    candidates[0].available = false;
    assert_eq!(counts(&First, &candidates, 20), [0, 20, 0]);
}

#[test]
fn round_robin_gives_the_sequences_that_nginx_publishes() {
    // From the algorithm's commit message: {5, 1, 1} gives { a, a, b, a, c, a, a }.
    let balance = RoundRobin::new(3, 0);
    assert_eq!(sequence(&balance, &weights(&[5, 1, 1]), 7), [0, 0, 1, 0, 2, 0, 0]);
    // And from its test of equal weights: plain turns.
    let balance = RoundRobin::new(3, 0);
    assert_eq!(sequence(&balance, &weights(&[1, 1, 1]), 6), [0, 1, 2, 0, 1, 2]);
    // Worked by hand: values after each pick sum to 0 and return to 0 after the cycle.
    let balance = RoundRobin::new(2, 0);
    assert_eq!(sequence(&balance, &weights(&[3, 2]), 10), [0, 1, 0, 1, 0, 0, 1, 0, 1, 0]);
}

#[test]
fn round_robin_spreads_exactly_by_weight_over_every_cycle() {
    for seed in 0..200 {
        let rng = Rng::new(seed);
        let count = 1 + rng.below(12);
        let weights: Vec<u32> =
            (0..count).map(|_| u32::try_from(1 + rng.below(20)).unwrap()).collect();
        let candidates: Vec<_> = weights.iter().map(|&weight| primary(weight)).collect();
        let total: u32 = weights.iter().sum();
        let balance = RoundRobin::new(count, u32::try_from(rng.below(64)).unwrap());
        for cycle in 0..3 {
            let got = counts(&balance, &candidates, total as usize);
            let want: Vec<usize> = weights.iter().map(|&weight| weight as usize).collect();
            assert_eq!(got, want, "seed {seed}, cycle {cycle}");
        }
    }
}

#[test]
fn round_robin_never_lets_one_run_ahead_of_its_share() {
    // Smooth means: after any number of picks, nobody is a whole turn of the others ahead.
    let candidates = weights(&[7, 3, 2, 1]);
    let total = 13.0;
    let balance = RoundRobin::new(4, 0);
    let mut seen = [0.0; 4];
    for pick in 1..=1300 {
        seen[balance.pick(&candidates[..], &Tried::new(), None).unwrap()] += 1.0;
        for (index, candidate) in candidates.iter().enumerate() {
            let share = f64::from(pick) * f64::from(candidate.weight) / total;
            assert!((seen[index] - share).abs() < 2.0, "pick {pick}: {} of {share}", seen[index]);
        }
    }
}

#[test]
fn shards_start_at_different_endpoints() {
    let candidates = weights(&[1, 1, 1, 1]);
    let firsts: Vec<_> = (0..4)
        .map(|shard| RoundRobin::new(4, shard).pick(&candidates[..], &Tried::new(), None).unwrap())
        .collect();
    assert_eq!(firsts, [0, 1, 2, 3]);
    // In step they would send 4 requests at once to one endpoint; so each gets one.
}

#[test]
fn round_robin_gives_the_share_of_an_absent_endpoint_to_the_others() {
    let mut candidates = weights(&[2, 1, 1]);
    let balance = RoundRobin::new(3, 0);
    candidates[0].available = false;
    assert_eq!(counts(&balance, &candidates, 100), [0, 50, 50]);
    candidates[0].available = true;
    // It comes back without having saved up turns.
    let after = counts(&balance, &candidates, 8);
    assert!((3..=5).contains(&after[0]), "{after:?}");
}

#[test]
fn nothing_available_is_none() {
    each(3, 1, |pick| {
        let mut candidates = weights(&[1, 1, 1]);
        for candidate in &mut candidates {
            candidate.available = false;
        }
        assert_eq!(pick(&candidates, &Tried::new()), None);
        assert_eq!(pick(&candidates, &tried(&[0, 1, 2])), None);
    });
    each(0, 1, |pick| assert_eq!(pick(&[], &Tried::new()), None));
}

#[test]
fn a_backup_is_picked_only_when_no_primary_can_be() {
    each(3, 2, |pick| {
        let mut candidates = weights(&[1, 1, 100]);
        candidates[2].backup = true;
        for _ in 0..100 {
            assert_ne!(pick(&candidates, &Tried::new()), Some(2));
        }
        candidates[0].available = false;
        for _ in 0..100 {
            assert_eq!(pick(&candidates, &Tried::new()), Some(1));
        }
        candidates[1].available = false;
        assert_eq!(pick(&candidates, &Tried::new()), Some(2));
    });
}

#[test]
fn a_retry_goes_elsewhere_if_it_can() {
    each(3, 3, |pick| {
        let mut candidates = weights(&[1, 1, 1]);
        candidates[2].backup = true;
        for _ in 0..50 {
            assert_eq!(pick(&candidates, &tried(&[0])), Some(1));
            assert_eq!(pick(&candidates, &tried(&[1])), Some(0));
            // Both primaries were tried: the backup is better than a second attempt.
            assert_eq!(pick(&candidates, &tried(&[0, 1])), Some(2));
            // All were tried: primaries again.
            assert_ne!(pick(&candidates, &tried(&[0, 1, 2])).unwrap(), 2);
        }
    });
}

#[test]
fn every_pick_is_available_and_in_the_best_tier() {
    for seed in 0..300 {
        let rng = Rng::new(seed);
        let count = 1 + rng.below(40);
        each(count, seed, |pick| {
            let candidates: Vec<_> = (0..count)
                .map(|_| Candidate {
                    weight: u32::try_from(rng.below(4)).unwrap(),
                    in_flight: u32::try_from(rng.below(5)).unwrap(),
                    available: rng.below(3) > 0,
                    backup: rng.below(4) == 0,
                })
                .collect();
            let used: Vec<_> = (0..rng.below(3)).map(|_| rng.below(count)).collect();
            let tried = tried(&used);
            let tier = |index: usize| {
                let Candidate { available, backup, .. } = candidates.candidate(index);
                available.then_some((used.contains(&index), backup))
            };
            let best = (0..count).filter_map(tier).min();
            let picked = pick(&candidates, &tried);
            assert_eq!(picked.and_then(tier), best, "seed {seed}: {candidates:?}, {used:?}");
        });
    }
}

#[test]
fn least_request_takes_the_one_with_the_least_load_for_its_weight() {
    let mut candidates = weights(&[1, 1, 4]);
    for (candidate, in_flight) in candidates.iter_mut().zip([1, 2, 6]) {
        candidate.in_flight = in_flight;
    }
    // (1 + 1) / 1, (2 + 1) / 1, (6 + 1) / 4: all three are compared, the third wins.
    let balance = LeastRequest::new(3, 7);
    assert_eq!(counts(&balance, &candidates, 100), [0, 0, 100]);
    // (6 + 1) / 1 loses to both.
    candidates[2].weight = 1;
    assert_eq!(counts(&balance, &candidates, 100), [100, 0, 0]);
}

#[test]
fn least_request_settles_ties_by_chance_evenly() {
    for (count, choices) in [(2, 2), (5, 2), (5, 16), (40, 2), (40, 4)] {
        let candidates = weights(&vec![1; count]);
        let balance = LeastRequest::new(choices, 11);
        let expected = 2000;
        for (index, got) in counts(&balance, &candidates, expected * count).into_iter().enumerate()
        {
            // Six standard deviations of a binomial distribution: the seed is fixed anyway.
            let spread = 6 * usize::isqrt(expected);
            assert!(got.abs_diff(expected) < spread, "{count}/{choices}: {index} got {got}");
        }
    }
}

#[test]
fn two_choices_avoid_the_busy_endpoint_in_proportion() {
    // Of 10, the most loaded is picked only when both draws are it, which can't be: never.
    let mut candidates = weights(&[1; 10]);
    candidates[4].in_flight = 50;
    let balance = LeastRequest::new(2, 5);
    assert_eq!(counts(&balance, &candidates, 5000)[4], 0);
    // With one choice it's plain random.
    let balance = LeastRequest::new(1, 5);
    assert!(counts(&balance, &candidates, 5000)[4] > 300);
}

#[test]
fn two_choices_keep_a_long_list_even() {
    // Requests that never end: the classic balls into bins. One choice would leave a maximum
    // near 2 × the average here, two stay within a few of it.
    let mut candidates = weights(&[1; 100]);
    let balance = LeastRequest::new(2, 99);
    for _ in 0..10_000 {
        let index = balance.pick(&candidates[..], &Tried::new(), None).unwrap();
        candidates[index].in_flight += 1;
    }
    let most = candidates.iter().map(|candidate| candidate.in_flight).max().unwrap();
    assert!(most <= 105, "the fullest of 100 has {most} of 10,000");
}

#[test]
fn extreme_loads_and_weights_do_not_overflow() {
    let mut candidates = weights(&[u32::MAX, 0, 1]);
    for candidate in &mut candidates {
        candidate.in_flight = u32::MAX;
    }
    assert_eq!(counts(&LeastRequest::new(3, 1), &candidates, 10), [10, 0, 0]);
    let heavy = weights(&[u32::MAX; 4]);
    assert_eq!(counts(&RoundRobin::new(4, u32::MAX), &heavy, 4000), [1000; 4]);
    assert!(LeastRequest::new(u32::MAX, 1).pick(&candidates[..], &Tried::new(), None).is_some());
    assert!(LeastRequest::new(0, 1).pick(&candidates[..], &Tried::new(), None).is_some());
    const { assert!(CHOICES_MAX <= 16, "config allows 2 to 16") };
}

#[test]
fn tried_forgets_the_oldest_of_too_many() {
    let mut tried = Tried::new();
    for index in 0..=TRIED_MAX {
        tried.insert(index);
    }
    assert!(!tried.contains(0));
    assert!((1..=TRIED_MAX).all(|index| tried.contains(index)));
    assert_eq!(tried.attempts() as usize, TRIED_MAX + 1);
}

#[test]
fn equal_seeds_make_equal_choices() {
    let candidates = weights(&[1; 20]);
    let run = |seed| sequence(&LeastRequest::new(2, seed), &candidates, 100);
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}
