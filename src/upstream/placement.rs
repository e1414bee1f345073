//! From the configured policy to a shard's balancer.
//!
//! What only depends on the configuration and is large (a maglev table is 128 KiB, a ketama circle
//! 8 bytes a point) is made once per snapshot, shared by all shards and carried over a reload that
//! doesn't change it.

use crate::{
    balance::{
        Balancer, First, Ketama, LeastConn, LeastRequest, Maglev, Member, Modulo, Random,
        Rendezvous, RoundRobin,
    },
    config::{BalancePolicy, UpstreamConfig},
};

/// The tables of one upstream.
#[derive(Debug, Clone)]
pub(super) enum Placement {
    /// Its policy needs none.
    Plain,
    Maglev(Maglev),
    Ketama(Ketama),
}

impl Placement {
    /// The tables of `config`; those of the snapshot before if nothing has changed for them.
    pub(super) fn new(config: &UpstreamConfig, before: Option<(&UpstreamConfig, &Self)>) -> Self {
        if let Some((old, kept)) = before
            && old.endpoints == config.endpoints
            && old.balance.name() == config.balance.name()
        {
            return kept.clone();
        }
        let names = names(config);
        match config.balance {
            BalancePolicy::Maglev(_) => Self::Maglev(Maglev::new(&members(config, &names))),
            BalancePolicy::Ketama(_) => Self::Ketama(Ketama::new(&members(config, &names))),
            _ => Self::Plain,
        }
    }

    /// The balancer of one shard.
    pub(super) fn balancer(&self, config: &UpstreamConfig, shard: usize, seed: u64) -> Balancer {
        let names = names(config);
        let members = members(config, &names);
        match (self, &config.balance) {
            (Self::Maglev(maglev), _) => Balancer::Maglev(maglev.clone()),
            (Self::Ketama(ketama), _) => Balancer::Ketama(ketama.clone()),
            (Self::Plain, BalancePolicy::LeastRequest { choices }) => {
                Balancer::LeastRequest(LeastRequest::new(*choices, seed))
            }
            (Self::Plain, BalancePolicy::LeastConn) => Balancer::LeastConn(LeastConn::new(seed)),
            (Self::Plain, BalancePolicy::Random) => Balancer::Random(Random::new(seed)),
            (Self::Plain, BalancePolicy::First) => Balancer::First(First),
            (Self::Plain, BalancePolicy::Hash(_)) => Balancer::Hash(Modulo::new(&members)),
            (Self::Plain, BalancePolicy::Rendezvous(_)) => {
                Balancer::Rendezvous(Rendezvous::new(&members))
            }
            // `new` makes a table for each policy that has one.
            (
                Self::Plain,
                BalancePolicy::RoundRobin | BalancePolicy::Maglev(_) | BalancePolicy::Ketama(_),
            ) => {
                let phase = u32::try_from(shard).unwrap_or(0);
                Balancer::RoundRobin(RoundRobin::new(members.len(), phase))
            }
        }
    }
}

fn names(config: &UpstreamConfig) -> Vec<String> {
    config.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
}

fn members<'n>(config: &UpstreamConfig, names: &'n [String]) -> Vec<Member<'n>> {
    let each = names.iter().zip(&config.endpoints);
    each.map(|(name, endpoint)| Member { name, weight: endpoint.weight, backup: endpoint.backup })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::HashKey,
        upstream::{Upstream, testing},
    };

    #[test]
    fn a_table_is_carried_over_while_its_endpoints_stay() {
        let addresses = [1, 2, 3].map(|port| std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        let mut config = testing::config(addresses);
        config.balance = BalancePolicy::Maglev(HashKey::SourceIp);
        let first = Upstream::build(&config, 1, testing::start(), None);
        config.limits.pending = 7;
        let second = Upstream::build(&config, 1, testing::start(), Some(&first));
        config.endpoints.pop();
        let third = Upstream::build(&config, 1, testing::start(), Some(&second));
        let table = |upstream: &Upstream| match &upstream.placement {
            Placement::Maglev(maglev) => maglev.identity(),
            _ => panic!("a table was asked for"),
        };
        assert_eq!(table(&first), table(&second));
        assert_ne!(table(&second), table(&third));
    }
}
