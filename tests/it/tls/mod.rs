//! TLS through real sockets: rustls as the client, certificates of an authority made for the test.

mod authority;
mod auto;
mod certificates;
mod clients;
mod files;
mod handshakes;
mod openssl;
mod passing;
mod sessions;
mod swaps;
mod upstreams;
