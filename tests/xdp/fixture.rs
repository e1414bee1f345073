//! Whether the tests can run here, and a balancer with services to run packets through.

use std::net::IpAddr;

use ringway::xdp::{
    Action, Balancer, ProgramDescriptor, RealConfig, RealState, Service, Settings, Sizes,
    Transport, Verdict,
};

/// A balancer on no interface, or `None` where the kernel or the user doesn't allow one.
///
/// # Panics
/// With `XDP_TESTS=require`, instead of skipping.
pub(crate) fn bench() -> Option<Bench> {
    sized(10_000)
}

/// The same with room for so many flows.
pub(crate) fn sized(flows: u32) -> Option<Bench> {
    match Balancer::load(Sizes { flows }, None) {
        Ok(balancer) => Some(Bench::new(balancer)),
        Err(error) => {
            let is_required = std::env::var("XDP_TESTS").is_ok_and(|value| value == "require");
            assert!(!is_required, "XDP_TESTS=require, but {error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

pub(crate) struct Bench {
    pub(crate) balancer: Balancer,
    pub(crate) program: ProgramDescriptor,
    pub(crate) services: Vec<Service>,
}

/// What a packet became: the verdict, the packet, the exit that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) exit: &'static str,
}

impl Bench {
    fn new(mut balancer: Balancer) -> Self {
        let program = balancer.descriptor().unwrap();
        balancer.set_settings(settings()).unwrap();
        Self { balancer, program, services: Vec::new() }
    }

    /// Adds a service at `vip` with these reals, resolved.
    pub(crate) fn service(&mut self, action: Action, vip: &str, reals: &[&str]) -> &mut Self {
        self.service_on(Transport::Tcp, action, vip, reals)
    }

    pub(crate) fn service_on(
        &mut self,
        transport: Transport,
        action: Action,
        vip: &str,
        reals: &[&str],
    ) -> &mut Self {
        let real = |address: &&str| RealConfig {
            address: address.parse().unwrap(),
            weight: 1,
            state: RealState::Up,
        };
        self.services.push(Service {
            name: format!("service-{}", self.services.len()),
            vips: vec![vip.parse().unwrap()],
            transport,
            action,
            by_source: false,
            syn_rate: None,
            reals: reals.iter().map(real).collect(),
        });
        self.apply();
        self
    }

    /// Tells the balancer what `services` say now; every real is resolved.
    pub(crate) fn apply(&mut self) {
        self.balancer.apply(&self.services).unwrap();
        for address in self.balancer.addresses() {
            self.balancer.set_neighbour(address, Some(mac_of(address))).unwrap();
        }
    }

    pub(crate) fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.balancer.settings().unwrap();
        change(&mut settings);
        self.balancer.set_settings(settings).unwrap();
    }

    /// Runs one packet, and finds the one exit that was counted for it.
    pub(crate) fn run(&self, frame: &[u8]) -> Outcome {
        let before = self.balancer.report().unwrap().counts.exits;
        let trial = self.program.try_out(frame, 1).unwrap();
        let after = self.balancer.report().unwrap().counts.exits;
        let mut exit = None;
        for (name, (before, after)) in ringway::xdp::EXITS.iter().zip(before.iter().zip(after)) {
            if after > *before {
                assert_eq!(after - before, 1, "{name} counted twice");
                assert_eq!(exit.replace(*name), None, "two exits for one packet");
            }
        }
        Outcome {
            verdict: trial.verdict,
            frame: trial.packet,
            exit: exit.expect("every packet leaves by an exit"),
        }
    }

    pub(crate) fn event(&self, name: &str) -> u64 {
        let index = ringway::xdp::EVENTS.iter().position(|event| *event == name).unwrap();
        self.balancer.report().unwrap().counts.events[index]
    }

    /// Runs a packet that must go up the stack as it came, by `exit`.
    #[track_caller]
    pub(crate) fn passes(&self, frame: &[u8], exit: &str) {
        let outcome = self.run(frame);
        assert_eq!((outcome.verdict, outcome.exit), (Verdict::PASS, exit));
        assert_eq!(outcome.frame, frame);
    }
}

/// The link address that the fixture gives a real: from its address.
pub(crate) fn mac_of(address: IpAddr) -> [u8; 6] {
    let last = match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    [2, 0, 0, 0, 1, last]
}

pub(crate) fn settings() -> Settings {
    Settings {
        inserts_max: u32::MAX,
        own4: [10, 0, 0, 1],
        own6: "fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets(),
        port_first: 1024,
        port_last: 32_767,
        mtu: 1500,
        idle_tcp: 900,
        idle_udp: 60,
        idle_opening: 10,
        idle_closed: 10,
        ..Settings::default()
    }
}
