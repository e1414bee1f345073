//! Control frames in: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM, PRIORITY.
//!
//! Each is cheap to send and makes us work or answer, so each is metered (`abuse`).

use super::close::{DRAIN_PING, KEEP_ALIVE_PING};
use super::{Connection, Event, Ping, ResetCause};
use crate::protocol::h2::error::{ConnectionError, ErrorCode, Violation};
use crate::protocol::h2::frame::{
    ACK, FrameHead, Kind, StreamId, WINDOW_MAX, dependency, put_head, put_ping, read_u32,
};
use crate::protocol::h2::settings::entries;
use crate::protocol::h2::streams::Ending;
use crate::protocol::h2::{Abuse, Role};

impl Connection {
    /// §6.5.
    pub(super) fn settings(
        &mut self,
        head: &FrameHead,
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        if head.has(ACK) {
            return self.settings_ack();
        }
        self.charge(
            Abuse::Settings,
            1 + u32::try_from(head.len / SETTINGS_BYTES_USUAL).unwrap_or(0),
        )?;
        let sender = match self.role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let before = self.theirs;
        for (id, value) in entries(payload) {
            self.theirs.apply(id, value, sender)?;
        }
        self.encoder.set_size_max(self.theirs.header_table_bytes as usize);
        let delta = i64::from(self.theirs.window) - i64::from(before.window);
        if delta != 0 {
            // §6.9.2: windows of open streams change along, and may become negative.
            for stream in self.streams.iter_mut() {
                stream.send_window += delta;
                if stream.send_window > i64::from(WINDOW_MAX) {
                    return Err(Violation::WindowOverflow.into());
                }
            }
        }
        self.is_settings_received = true;
        let start = self.out.len();
        put_head(0, Kind::Settings, ACK, 0, &mut self.out);
        self.charge_output(start)?;
        self.events.push_back(Event::Settings);
        if delta > 0 {
            self.wake();
        }
        Ok(())
    }

    /// Ours are in force from here on (§6.5.3).
    fn settings_ack(&mut self) -> Result<(), ConnectionError> {
        if self.is_settings_acked {
            return self.charge(Abuse::Settings, 1);
        }
        self.is_settings_acked = true;
        self.decoder.set_size_max(self.limits.header_table_bytes);
        let delta = i64::from(self.limits.stream_window) - i64::from(self.recv_initial);
        self.recv_initial = self.limits.stream_window;
        for stream in self.streams.iter_mut() {
            stream.recv_window += delta;
            // What wasn't worth a frame of the old window may be half of the new one.
            stream.announce(self.recv_initial, &mut self.out);
        }
        Ok(())
    }

    /// §6.7.
    pub(super) fn ping(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), ConnectionError> {
        let Some(&data) = payload.first_chunk::<8>() else {
            return Err(Violation::FrameSize.into());
        };
        if !head.has(ACK) {
            self.charge(Abuse::Ping, 1)?;
            let start = self.out.len();
            put_ping(data, ACK, &mut self.out);
            return self.charge_output(start);
        }
        match data {
            DRAIN_PING if self.is_warned() => self.drain_last(),
            KEEP_ALIVE_PING if self.ping != Ping::Idle => self.ping = Ping::Idle,
            // Nobody asked.
            _ => return self.charge(Abuse::Ping, 1),
        }
        Ok(())
    }

    /// §6.8.
    pub(super) fn go_away_frame(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        let last = read_u32(payload) & WINDOW_MAX;
        let code = ErrorCode::from_wire(read_u32(payload.get(4..).unwrap_or(&[])));
        self.charge(Abuse::Settings, 1)?;
        self.set_going_away();
        if self.role == Role::Client {
            let above = |id: &u32| *id > last;
            let mut lost: Vec<u32> =
                self.streams.iter().map(|stream| stream.id).filter(above).collect();
            lost.sort_unstable();
            for id in lost {
                self.forget(id, Ending::Ours);
                let cause = ResetCause::Unprocessed;
                self.events.push_back(Event::Reset { stream: StreamId(id), code, cause });
            }
        }
        self.events.push_back(Event::GoAway { code });
        Ok(())
    }

    /// §6.9.
    pub(super) fn window_update(&mut self, id: u32, payload: &[u8]) -> Result<(), ConnectionError> {
        let increment = read_u32(payload) & WINDOW_MAX;
        self.charge(Abuse::WindowUpdate, 1)?;
        if id == 0 {
            if increment == 0 {
                return Err(Violation::ZeroIncrement.into());
            }
            self.send_window += i64::from(increment);
            if self.send_window > i64::from(WINDOW_MAX) {
                return Err(Violation::WindowOverflow.into());
            }
            self.wake();
            return Ok(());
        }
        let Some(stream) = self.streams.find_mut(id) else {
            if self.is_idle(id) {
                return Err(Violation::StreamIdle.into());
            }
            // §5.1: may come for a while after the end.
            return Ok(());
        };
        stream.send_window += i64::from(increment);
        if increment == 0 {
            return self.stream_error(id, Violation::ZeroIncrement);
        }
        if stream.send_window > i64::from(WINDOW_MAX) {
            return self.stream_error(id, Violation::WindowOverflow);
        }
        if stream.is_waiting && stream.send_window > 0 && self.has_room() {
            self.wake_one(id);
        }
        Ok(())
    }

    /// §6.4.
    pub(super) fn reset_frame(&mut self, id: u32, payload: &[u8]) -> Result<(), ConnectionError> {
        let code = ErrorCode::from_wire(read_u32(payload));
        let Some(stream) = self.forget(id, Ending::Theirs) else {
            if self.is_idle(id) {
                return Err(Violation::StreamIdle.into());
            }
            return self.charge(Abuse::StrayFrames, 1);
        };
        let is_unprocessed = self.role == Role::Client && code == ErrorCode::RefusedStream;
        let cause = if is_unprocessed { ResetCause::Unprocessed } else { ResetCause::Theirs };
        self.events.push_back(Event::Reset { stream: StreamId(id), code, cause });
        if self.role == Role::Server && stream.state.we_may_send() {
            self.charge(Abuse::RapidReset, 1)?;
        }
        Ok(())
    }

    /// §6.3: its size is the stream's matter, and its content nobody's (§5.3.2).
    pub(super) fn priority(&mut self, id: u32, payload: &[u8]) -> Result<(), ConnectionError> {
        self.charge(Abuse::Priority, 1)?;
        let violation = match payload.as_array::<5>() {
            None => Violation::FrameSize,
            Some(priority) if dependency(priority) == id => Violation::SelfDependency,
            Some(_) => return Ok(()),
        };
        if self.streams.find(id).is_some() {
            return self.stream_error(id, violation);
        }
        // RST_STREAM may not go to an idle stream (§6.4).
        Err(violation.into())
    }

    /// RFC 9218 §7.1: from clients, and it names a stream.
    pub(super) fn priority_update(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        self.charge(Abuse::Priority, 1)?;
        if self.role == Role::Client || read_u32(payload) & WINDOW_MAX == 0 {
            return Err(Violation::StreamZero.into());
        }
        Ok(())
    }

    /// §5.5: ignored.
    pub(super) fn unknown(&mut self) -> Result<(), ConnectionError> {
        self.charge(Abuse::UnknownFrames, 1)
    }
}

/// A SETTINGS frame up to this counts as one.
const SETTINGS_BYTES_USUAL: usize = 96;
