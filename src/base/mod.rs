//! Words that every layer uses: quantities with units, blocks of addresses. Knows of nothing else.

pub mod cidr;
pub mod units;
