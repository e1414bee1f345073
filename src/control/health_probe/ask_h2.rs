//! Asks one endpoint once over HTTP/2: a GET, or gRPC's health check (`grpc.health.v1`).
//!
//! The library's own codec over the probe's connection, encrypted or not, which serves one question.

use std::mem;

use crate::{
    control::health_probe::ask::Line,
    protocol::{
        h2::{Connection, EndStream, Event, Limits, StreamId},
        http::{Framing, Headers, RequestHead, ResponseHead, Scheme, Status},
    },
    runtime::now_uncached,
};

/// Asks for `path` and reads up to the final status.
pub(super) async fn get(line: Line, path: &str, host: &str) -> Result<Status, String> {
    let mut head = request("GET", path, host)?;
    let accept = head.headers.append("accept", "*/*");
    accept.map_err(|error| format!("request can't be sent: {error}"))?;
    let mut asked = Asked::new(line, &head, None)?;
    asked.answer(|answer| answer.status.is_some()).await?;
    asked.heard.status.ok_or_else(|| "closed before a response".to_owned())
}

/// Asks whether `service` serves; the empty name is the server as a whole.
pub(super) async fn grpc(line: Line, service: &str, host: &str) -> Result<String, String> {
    let mut head = request("POST", "/grpc.health.v1.Health/Check", host)?;
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        let added = head.headers.append(name, value);
        added.map_err(|error| format!("request can't be sent: {error}"))?;
    }
    let mut asked = Asked::new(line, &head, Some(&check_request(service)))?;
    asked.answer(|answer| answer.is_over).await?;
    judge(&asked.heard)
}

/// What an answer of `grpc.health.v1` says.
fn judge(heard: &Heard) -> Result<String, String> {
    let status = heard.status.map_or(0, Status::code);
    if status != 200 {
        return Err(format!("status {status}, expected 200 from gRPC"));
    }
    match heard.grpc_status.as_deref() {
        Some(b"0") => {}
        Some(code) => return Err(format!("grpc-status {}", String::from_utf8_lossy(code))),
        None => return Err("no grpc-status".to_owned()),
    }
    // One message, uncompressed, whose field 1 is the serving status.
    match heard.body.as_slice() {
        [0, 0, 0, 0, 2, 8, 1] => Ok("SERVING".to_owned()),
        [0, 0, 0, 0, 2, 8, 2] => Err("NOT_SERVING".to_owned()),
        [0, 0, 0, 0, 2, 8, 3] => Err("SERVICE_UNKNOWN".to_owned()),
        _ => Err("serving status unknown".to_owned()),
    }
}

/// `HealthCheckRequest` as a gRPC message. The name's length fits one octet (see the schema).
fn check_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if let Ok(length @ 1..=SERVICE_LENGTH_MAX) = u8::try_from(service.len()) {
        message.extend_from_slice(&[0x0a, length]);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(0);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.append(&mut message);
    framed
}

fn request(method: &str, path: &str, host: &str) -> Result<RequestHead, String> {
    let mut head = RequestHead::new();
    let fails = |error: &dyn std::fmt::Display| format!("request can't be sent: {error}");
    head.set_method(method).map_err(|error| fails(&error))?;
    let (path, query) =
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    head.set_path(path).map_err(|error| fails(&error))?;
    head.set_query(query).map_err(|error| fails(&error))?;
    let agent = concat!("ringway-health/", env!("CARGO_PKG_VERSION"));
    for (name, value) in [("host", host), ("user-agent", agent)] {
        head.headers.append(name, value).map_err(|error| fails(&error))?;
    }
    Ok(head)
}

/// What has come.
#[derive(Debug, Default)]
struct Heard {
    status: Option<Status>,
    body: Vec<u8>,
    grpc_status: Option<Vec<u8>>,
    is_over: bool,
}

/// A question under way.
struct Asked {
    line: Line,
    codec: Connection,
    id: StreamId,
    heard: Heard,
}

impl Asked {
    fn new(line: Line, head: &RequestHead, body: Option<&[u8]>) -> Result<Self, String> {
        let scheme = if line.is_secure() { Scheme::Https } else { Scheme::Http };
        let mut codec = Connection::client(Limits::default(), scheme, now_uncached());
        let framing = body.map_or(Framing::None, |body| Framing::Length(body.len() as u64));
        let fails = |error| format!("request can't be sent: {error}");
        let end = EndStream::when(body.is_none());
        let id = codec.send_request(head, framing, end).map_err(fails)?;
        if let Some(body) = body {
            // Far below the first window.
            codec.send_data(id, body, EndStream::Yes).map_err(fails)?;
        }
        Ok(Self { line, codec, id, heard: Heard::default() })
    }

    /// Goes on until `is_enough`.
    async fn answer(&mut self, is_enough: impl Fn(&Heard) -> bool) -> Result<(), String> {
        let mut received = Vec::with_capacity(4096);
        let mut output = Vec::new();
        while !is_enough(&self.heard) {
            self.codec.transmit(now_uncached(), &mut output);
            self.line.send(&mem::take(&mut output)).await?;
            received.clear();
            if !self.line.receive(&mut received).await? {
                return Err("closed before a response".to_owned());
            }
            let mut rest = received.as_slice();
            while !rest.is_empty() {
                let used = self.codec.receive(now_uncached(), rest);
                let used = used.map_err(|error| format!("response isn't HTTP/2: {error}"))?;
                while let Some(event) = self.codec.poll_event() {
                    self.note(event, rest)?;
                }
                rest = rest.get(used..).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn note(&mut self, event: Event, bytes: &[u8]) -> Result<(), String> {
        match event {
            Event::Response { end, .. } => {
                let mut head = ResponseHead::new();
                self.codec.take_response(&mut head);
                self.heard.status = Some(head.status);
                self.heard.grpc_status = head.headers.get("grpc-status").map(<[u8]>::to_vec);
                self.heard.is_over = end;
            }
            Event::Data { range, end, .. } => {
                let data = bytes.get(range).unwrap_or_default();
                let room = BODY_BYTES_MAX.saturating_sub(self.heard.body.len());
                self.heard.body.extend(data.iter().take(room));
                self.codec.release(self.id, data.len());
                self.heard.is_over = end;
            }
            Event::Trailers { .. } => {
                let mut trailers = Headers::new();
                self.codec.take_trailers(&mut trailers);
                let status = trailers.get("grpc-status").map(<[u8]>::to_vec);
                self.heard.grpc_status = status.or_else(|| self.heard.grpc_status.take());
                self.heard.is_over = true;
            }
            Event::Reset { code, .. } => return Err(format!("stream was reset: {code}")),
            Event::Interim { .. } => {
                let mut head = ResponseHead::new();
                self.codec.take_response(&mut head);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Longest name of a service; longer ones are no valid configuration.
const SERVICE_LENGTH_MAX: u8 = 127;
/// Of a body no more is kept.
const BODY_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_message_of_grpc() {
        assert_eq!(check_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(check_request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
    }

    #[test]
    fn only_serving_is_good() {
        let told = |status: u8, grpc_status: &str| {
            judge(&Heard {
                status: Some(Status::OK),
                body: vec![0, 0, 0, 0, 2, 8, status],
                grpc_status: Some(grpc_status.into()),
                is_over: true,
            })
        };
        assert_eq!(told(1, "0"), Ok("SERVING".to_owned()));
        assert_eq!(told(2, "0"), Err("NOT_SERVING".to_owned()));
        assert_eq!(told(1, "5"), Err("grpc-status 5".to_owned()));
        assert!(told(9, "0").is_err());
        assert!(judge(&Heard::default()).is_err());
    }
}
