//! The fast path in numbers, as its thread has last told them.

use std::net::IpAddr;

use crate::{
    config::XdpConfig,
    control::view::packets::{ForwardedView, PacketsView, Traffic, VipView},
    server::{
        fast_path::Published,
        plane::{Packets, Plane},
    },
    xdp::{EVENTS, EXITS, RealState, Stats},
};

/// What there is to say of the fast path; `None` without one.
pub(super) fn packets(plane: &Plane) -> Option<PacketsView> {
    let interface =
        plane.snapshot.config.xdp.as_ref().map(|XdpConfig { interface, .. }| interface.clone());
    match plane.packets.as_ref()? {
        Packets::Off(reason) => Some(PacketsView {
            interface: interface.unwrap_or_default(),
            mode: "off",
            reason: reason.clone(),
            ..PacketsView::default()
        }),
        Packets::Running { keeper, published } => {
            let news = published.borrow();
            let counts = &news.report.counts;
            Some(PacketsView {
                interface: keeper.interface.clone(),
                mode: keeper.mode,
                reason: keeper.reason.clone().unwrap_or_default(),
                exits: EXITS.into_iter().zip(counts.exits).collect(),
                events: EVENTS.into_iter().zip(counts.events).collect(),
                vips: news.report.vips.iter().map(vip).collect(),
                endpoints: endpoints(&news),
            })
        }
    }
}

fn vip((listener, address, stats): &(String, std::net::SocketAddr, Stats)) -> VipView {
    VipView { listener: listener.clone(), address: *address, traffic: traffic(stats) }
}

fn endpoints(news: &Published) -> Vec<ForwardedView> {
    let each = news.report.reals.iter();
    each.map(|(listener, address, stats)| {
        let mut services = news.services.iter().filter(|service| service.name == *listener);
        let real =
            services.find_map(|service| service.reals.iter().find(|real| real.address == *address));
        let state = match real.map(|real| real.state) {
            Some(RealState::Up) => "up",
            Some(RealState::Draining) => "draining",
            Some(RealState::Down) | None => "down",
        };
        let fault = fault(news, address.ip());
        let traffic = traffic(stats);
        ForwardedView { listener: listener.clone(), address: *address, state, fault, traffic }
    })
    .collect()
}

fn fault(news: &Published, address: IpAddr) -> String {
    let found = news.unresolved.iter().find(|(unknown, _)| *unknown == address);
    let told = |why: &Option<String>| why.as_deref().unwrap_or("no link address yet").to_owned();
    found.map(|(_, why)| told(why)).unwrap_or_default()
}

fn traffic(stats: &Stats) -> Traffic {
    Traffic { packets: stats.packets, bytes: stats.bytes, flows: stats.flows }
}
