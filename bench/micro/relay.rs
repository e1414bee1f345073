//! Holds our runtime beside monoio, tokio-uring and tokio on the same small TCP relay: 64
//! connections, 1 KiB bounced. What counts is the CPU time of the relay's process for a round trip
//! (two messages relayed). Each relay is a process of its own, pinned to CPU 0; the load spins on
//! CPU 1; rounds are interleaved, since machines change speed under us.
//!
//! `scripts/bench micro relay`, or `cargo bench --bench relay -- [--rounds N] [NAME…]`.

#[path = "relay/load.rs"]
mod load;
#[path = "relay/relays.rs"]
mod relays;
#[path = "../load/parts/usage.rs"]
mod usage;

use std::{
    env,
    error::Error,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{load::Load, usage::Usage};

const WARMUP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(2);
const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let mut rounds = ROUNDS;
    let mut names = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--relay" => {
                pin(0);
                let (name, echo) = (
                    arguments.next().ok_or("--relay NAME ECHO")?,
                    arguments.next().ok_or("no ECHO")?,
                );
                return Ok(relays::serve(&name, echo.parse()?)?);
            }
            "--rounds" => rounds = arguments.next().ok_or("--rounds N")?.parse()?,
            _ => names.push(argument),
        }
    }
    if names.is_empty() {
        names = relays::NAMES.iter().map(|name| (*name).to_owned()).collect();
    }
    pin(1);
    compare(&names, rounds)
}

fn pin(cpu: usize) {
    // On a machine with one core both share it, and the numbers say less.
    let _pinned = core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
}

fn compare(names: &[String], rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for round in 0..rounds {
        for step in 0..names.len() {
            let index = (round + step) % names.len();
            costs[index].push(measure(&names[index])?);
        }
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "CPU µs a round trip ({} connections, 1 KiB, two messages relayed), {rounds} rounds",
        load::CLIENTS
    )?;
    writeln!(
        out,
        "{:14} {:>14} {:>8} {:>8} {:>8}",
        "relay", "lower quartile", "median", "min", "max"
    )?;
    for (name, costs) in names.iter().zip(&mut costs) {
        costs.sort_by(f64::total_cmp);
        let at = |share: usize| costs[(costs.len() - 1) * share / 4];
        writeln!(out, "{name:14} {:14.2} {:8.2} {:8.2} {:8.2}", at(1), at(2), at(0), at(4))?;
    }
    Ok(())
}

/// One measurement of one relay: microseconds of its CPU for a round trip.
fn measure(name: &str) -> Result<f64, Box<dyn Error>> {
    let mut load = Load::bind()?;
    let relay = Relay::start(name, load.echo_address()?)?;
    load.connect(relay.address)?;
    load.run(WARMUP)?;
    let before = Usage::of(&[relay.process.id()]);
    let trips = load.run(WINDOW)?;
    let used = Usage::of(&[relay.process.id()]).since(before);
    if trips == 0 {
        return Err(format!("{name}: no message came back").into());
    }
    Ok(Duration::from_nanos(used.total).as_secs_f64() * 1e6 / trips as f64)
}

/// A relay in a process of its own; dropping it kills it.
struct Relay {
    process: Child,
    address: SocketAddr,
}

impl Relay {
    fn start(name: &str, echo: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["--relay", name, &echo.to_string()]).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("the relay `{name}` didn't start"));
        if address.is_err() {
            process.kill()?;
        }
        Ok(Self { process, address: address? })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
