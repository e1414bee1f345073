//! Words that every layer uses: quantities with units, addresses and blocks of them, paths, counters, the access
//! record. Knows of nothing else.

pub mod access;
pub mod address;
pub mod cidr;
pub mod civil;
pub mod crc;
pub mod histogram;
pub mod metrics;
pub mod name;
pub mod path;
pub mod random;
pub mod units;
