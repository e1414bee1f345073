//! What the loop makes of each signal. The signals themselves are sent in tests/it, to a process.

use super::*;
use crate::control::{Probed, view::ConfigView};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::UNIX_EPOCH,
};

/// Notes what it is told.
struct Note {
    stops: Rc<RefCell<Vec<Stop>>>,
    reloads: Rc<Cell<u32>>,
    phase: watch::Sender<Phase>,
}

impl Node for Note {
    fn view(&self) -> View {
        View {
            driver: String::new(),
            driver_reason: String::new(),
            started_at: UNIX_EPOCH,
            config: ConfigView {
                source: String::new(),
                generation: 1,
                applied_at: UNIX_EPOCH,
                reloads: 0,
                reloads_failed: 0,
                last_error: None,
            },
            packets: None,
            listeners: Vec::new(),
            certificates: Vec::new(),
            h2: Vec::new(),
            shards: Vec::new(),
            routes: Vec::new(),
            upstreams: Vec::new(),
            flows: Vec::new(),
            filters: Vec::new(),
        }
    }

    fn probes(&self) -> Vec<Probed> {
        Vec::new()
    }

    fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        self.reloads.set(self.reloads.get() + 1);
        Err(ReloadError { problems: vec!["a.toml:1:1: no".to_owned()] })
    }

    fn look_at_files(&mut self) {}

    fn stop(&mut self, how: Stop) {
        self.stops.borrow_mut().push(how);
        if how == Stop::Now {
            self.phase.send_replace(Phase::Stopped);
        }
    }

    fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

/// Runs a control thread that is sent these signals, and gives what the node was told.
fn after(signals: &[Signal]) -> (Vec<Stop>, u32) {
    let (stops, reloads) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    let phase = watch::Sender::new(Phase::Serving);
    let node = Note { stops: Rc::clone(&stops), reloads: Rc::clone(&reloads), phase };
    let (control, _sinks) =
        Control::bind(&AdminConfig::default(), &LogConfig::default(), 1, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let mut core = Core::new(control, Box::new(node), commands.clone()).unwrap();
        for signal in signals {
            commands.send(Command::Signal(*signal)).await.unwrap();
        }
        // Behind the signals in the queue.
        commands.send(Command::Phase(Phase::Stopped)).await.unwrap();
        core.run(inbox).await;
    });
    let told = stops.borrow().clone();
    (told, reloads.get())
}

#[test]
fn hangup_reloads_and_a_refused_reload_stops_nothing() {
    assert_eq!(after(&[Signal::Reload, Signal::Reload]), (Vec::new(), 2));
}

#[test]
fn terminate_drains_as_long_as_configured() {
    assert_eq!(after(&[Signal::Drain]).0, [Stop::Drain(None)]);
}

#[test]
fn interrupt_drains_quickly_and_a_second_one_stops_at_once() {
    assert_eq!(after(&[Signal::Interrupt]).0, [Stop::Drain(Some(INTERRUPT_DRAIN))]);
    let both = [Stop::Drain(Some(INTERRUPT_DRAIN)), Stop::Now];
    assert_eq!(after(&[Signal::Interrupt, Signal::Interrupt]).0, both);
}

#[test]
fn user_signal_reopens_logs_and_tells_the_node_nothing() {
    assert_eq!(after(&[Signal::ReopenLogs]), (Vec::new(), 0));
}
