//! Signals between tasks, and the end of a turn.

use std::{cell::Cell, cell::RefCell, future::poll_fn, rc::Rc, task::Poll};

use super::on_each;
use crate::runtime::{Options, Signal, settled, spawn, usage, yield_now};

#[test]
fn a_signal_wakes_the_task_that_listened_last() {
    on_each(&Options::default(), async || {
        let (signal, value) = (Rc::new(Signal::new()), Rc::new(Cell::new(0)));
        let woken = Rc::new(Cell::new(0));
        let task = {
            let (signal, value, woken) = (signal.clone(), value.clone(), woken.clone());
            spawn(async move {
                poll_fn(|_| {
                    woken.set(woken.get() + 1);
                    if value.get() == 2 {
                        return Poll::Ready(());
                    }
                    signal.listen();
                    Poll::Pending
                })
                .await;
            })
        };
        yield_now().await;
        assert!(signal.is_heard());
        for round in 1..=2 {
            value.set(round);
            signal.notify();
            // Nobody has listened again yet: nothing happens.
            signal.notify();
            yield_now().await;
        }
        assert!(task.is_finished());
        assert_eq!(woken.get(), 3);
    });
}

#[test]
fn what_settles_runs_behind_all_that_is_ready_and_within_the_turn() {
    on_each(&Options::default(), async || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let note = |word: &'static str| {
            let order = order.clone();
            move || order.borrow_mut().push(word)
        };
        let (last, child, first) = (note("settled"), note("child"), note("first"));
        spawn(async move {
            settled().await;
            last();
        });
        spawn(async move {
            first();
            spawn(async move { child() });
        });
        // Twice: one turn for the tasks, and the look at what they did.
        yield_now().await;
        assert_eq!(*order.borrow(), ["first", "child", "settled"]);
    });
}

#[test]
fn a_poll_for_another_reason_does_not_end_settling() {
    on_each(&Options::default(), async || {
        let (signal, order) = (Rc::new(Signal::new()), Rc::new(RefCell::new(Vec::new())));
        {
            let (signal, order) = (signal.clone(), order.clone());
            spawn(async move {
                signal.listen();
                settled().await;
                order.borrow_mut().push("settled");
            });
        }
        {
            let (signal, order) = (signal.clone(), order.clone());
            spawn(async move {
                signal.notify();
                spawn(async move { order.borrow_mut().push("other") });
            });
        }
        yield_now().await;
        assert_eq!(*order.borrow(), ["other", "settled"]);
    });
}

#[test]
fn a_poll_for_another_reason_does_not_end_a_yield() {
    on_each(&Options::default(), async || {
        let (signal, turns) = (Rc::new(Signal::new()), Rc::new(RefCell::new(Vec::new())));
        for is_woken in [false, true] {
            let (signal, turns) = (signal.clone(), turns.clone());
            spawn(async move {
                let before = usage().turns;
                if is_woken {
                    signal.listen();
                }
                yield_now().await;
                turns.borrow_mut().push(usage().turns - before);
            });
        }
        spawn(async move { signal.notify() });
        yield_now().await;
        yield_now().await;
        assert_eq!(*turns.borrow(), [1, 1]);
    });
}
