//! Real software through us: TLS, databases, DNS, mail.

mod databases;
mod dns;
mod mail;
mod openssl;
