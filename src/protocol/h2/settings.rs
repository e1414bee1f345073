//! SETTINGS (RFC 9113 §6.5): the other side's, checked, and ours, written.

use super::error::Violation;
use super::frame::{FRAME_BYTES_MAX, Kind, WINDOW_DEFAULT, WINDOW_MAX, put_head};
use super::hpack::TABLE_BYTES_MAX;
use super::{Limits, Role};

/// What the other side has said of itself; initial values until then (§6.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) header_table_bytes: u32,
    pub(crate) streams: u32,
    pub(crate) window: u32,
    pub(crate) frame_bytes: u32,
    pub(crate) header_list_bytes: u32,
    pub(crate) connect_protocol: bool,
}

impl Settings {
    pub(crate) const INITIAL: Self = Self {
        header_table_bytes: 4096,
        streams: u32::MAX,
        window: WINDOW_DEFAULT,
        frame_bytes: 16_384,
        header_list_bytes: u32::MAX,
        connect_protocol: false,
    };

    /// Takes one setting over; `sender` is the role of who sent it.
    ///
    /// # Errors
    /// [`Violation::Setting`] or [`Violation::WindowOverflow`]; unknown settings are ignored.
    pub(crate) fn apply(&mut self, id: u16, value: u32, sender: Role) -> Result<(), Violation> {
        match id {
            HEADER_TABLE_SIZE => self.header_table_bytes = value,
            // §6.5.2: a server must not send 1, and a client may send either.
            ENABLE_PUSH if value > 1 || value == 1 && sender == Role::Server => {
                return Err(Violation::Setting);
            }
            MAX_CONCURRENT_STREAMS => self.streams = value,
            INITIAL_WINDOW_SIZE if value > WINDOW_MAX => return Err(Violation::WindowOverflow),
            INITIAL_WINDOW_SIZE => self.window = value,
            MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                return Err(Violation::Setting);
            }
            MAX_FRAME_SIZE => self.frame_bytes = value,
            MAX_HEADER_LIST_SIZE => self.header_list_bytes = value,
            // RFC 8441 §3: 0 or 1, and never back to 0.
            ENABLE_CONNECT_PROTOCOL if value > 1 || value == 0 && self.connect_protocol => {
                return Err(Violation::Setting);
            }
            ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
            _ => {}
        }
        Ok(())
    }
}

/// The settings of a payload whose length is a multiple of six.
pub(crate) fn entries(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    let (entries, _) = payload.as_chunks::<6>();
    entries
        .iter()
        .map(|&[a, b, c, d, e, f]| (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f])))
}

/// Appends our SETTINGS: only what differs from the initial values.
pub(crate) fn put_settings(limits: &Limits, role: Role, out: &mut Vec<u8>) {
    let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let all = [
        (
            HEADER_TABLE_SIZE,
            narrow(limits.header_table_bytes),
            limits.header_table_bytes != TABLE_BYTES_MAX,
        ),
        (ENABLE_PUSH, 0, role == Role::Client),
        (MAX_CONCURRENT_STREAMS, limits.streams, role == Role::Server),
        (INITIAL_WINDOW_SIZE, limits.stream_window, limits.stream_window != WINDOW_DEFAULT),
        (MAX_HEADER_LIST_SIZE, narrow(limits.header_list_bytes), true),
        (ENABLE_CONNECT_PROTOCOL, 1, role == Role::Server && limits.connect_protocol),
    ];
    let sent = all.iter().filter(|(.., is_sent)| *is_sent);
    put_head(6 * sent.clone().count(), Kind::Settings, 0, 0, out);
    for (id, value, _) in sent {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

const _: () = assert!(FRAME_BYTES_MAX == 16_384, "SETTINGS_MAX_FRAME_SIZE isn't sent");
