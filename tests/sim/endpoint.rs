//! A simulated endpoint: reads requests strictly, answers as the plan of each says, and tells the
//! ledger what it saw.

use std::{rc::Rc, time::Duration};

use ringway::runtime::{ListenOptions, Task, TcpListener, TcpStream, sleep, spawn};

use crate::{
    both::both,
    exchange::{Answer, Delimited, Fault, RequestPlan, When},
    ledger::{Attempt, Ledger},
    random::byte,
    wire::{Broken, Framing, Head, Reader},
    world::address,
};

/// Listens on `port` until the task is aborted.
pub(crate) fn start(ledger: &Rc<Ledger>, port: u16) -> Task {
    let listener = TcpListener::bind(address(port), &ListenOptions::default()).unwrap();
    let ledger = Rc::clone(ledger);
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn(serve(Rc::clone(&ledger), Rc::new(stream)));
        }
    })
}

/// What becomes of a connection after an answer.
enum Next {
    Keep,
    Close,
    /// Closed, but not at once.
    CloseAfter(Duration),
}

async fn serve(ledger: Rc<Ledger>, stream: Rc<TcpStream>) {
    let mut reader = Reader::new(&stream);
    loop {
        let head = match reader.head().await {
            Ok(head) => head,
            Err(Broken::Malformed(what)) => {
                return ledger.violate(format!("an endpoint saw {what}"));
            }
            Err(_) => return,
        };
        let Some((attempt, id)) = inspect(&ledger, &head) else { return };
        let framing = match head.framing(Framing::None) {
            Ok(framing) => framing,
            Err(broken) => return ledger.violate(format!("an endpoint saw {broken:?}")),
        };
        let exchange = Exchange { ledger: &ledger, stream: &stream, attempt: &attempt, id };
        match exchange.run(&mut reader, framing).await {
            Next::Keep => {}
            Next::Close => return,
            Next::CloseAfter(wait) => return sleep(wait).await,
        }
    }
}

/// Holds a head against the request that its client sent.
fn inspect(ledger: &Ledger, head: &Head) -> Option<(Attempt, u64)> {
    let token = head.number("x-token");
    let Some(token) = token else {
        ledger.violate(format!("an endpoint saw a request without a token: {head:?}"));
        return None;
    };
    let (attempt, id) = ledger.sighted(token)?;
    let request = &attempt.request;
    let start = format!("{} {} HTTP/1.1", request.method, request.path());
    if head.start != start {
        ledger.violate(format!("an endpoint saw `{}` instead of `{start}`", head.start));
    }
    if head.number("x-length") != Some(request.length as u64)
        || head.get("host") != Some("sim.test")
    {
        ledger.violate(format!("the fields of request {token} changed: {head:?}"));
    }
    if head.has("x-secret") {
        ledger.violate(format!("request {token} came with a field that its Connection names"));
    }
    Some((attempt, id))
}

struct Exchange<'a> {
    ledger: &'a Ledger,
    stream: &'a TcpStream,
    attempt: &'a Attempt,
    id: u64,
}

impl Exchange<'_> {
    async fn run(&self, reader: &mut Reader, framing: Framing) -> Next {
        let request = &*self.attempt.request;
        let answer = request.answer(self.attempt.number);
        let fault = answer.fault(request.method);
        let is_read = match answer.when {
            When::AfterBody => {
                if !self.upload(reader, framing).await {
                    return Next::Close;
                }
                if !self.answer(answer, fault).await {
                    return Next::Close;
                }
                true
            }
            When::Beside => {
                let (is_read, is_sent) =
                    both(self.upload(reader, framing), self.answer(answer, fault)).await;
                if !is_sent {
                    return Next::Close;
                }
                is_read
            }
            When::AtOnce => {
                if !self.answer(answer, fault).await {
                    return Next::Close;
                }
                framing == Framing::None
            }
        };
        match fault {
            Fault::Reset { .. } => {
                self.stream.reset_on_close();
                return Next::Close;
            }
            Fault::Stall { .. } | Fault::Extra => {
                reader.drain().await;
                return Next::Close;
            }
            Fault::None => {}
            _ => return Next::Close,
        }
        let is_until_close = answer.has_body(request.method) && answer.delimited == Delimited::No;
        if !is_read || answer.announces_close || is_until_close {
            return Next::Close;
        }
        answer.closes_after.map_or(Next::Keep, Next::CloseAfter)
    }

    /// Reads the request's body; whether it ended as it should.
    async fn upload(&self, reader: &mut Reader, framing: Framing) -> bool {
        let request: &RequestPlan = &self.attempt.request;
        let mut length = 0;
        let mut is_right = true;
        let read = reader.body(framing, |piece| {
            is_right &= (piece.iter().enumerate())
                .all(|(index, seen)| *seen == byte(request.token, length + index));
            length += piece.len();
        });
        let read = read.await;
        let token = request.token;
        if !is_right {
            self.ledger.violate(format!("the body of request {token} has wrong bytes"));
        }
        match read {
            Ok(trailers) => {
                self.ledger.uploaded(request, length);
                let expected = request.trailer().filter(|_| request.body == Delimited::Chunked);
                if framing == Framing::Chunked && trailers != expected.as_slice() {
                    self.ledger.violate(format!("request {token} has the trailers {trailers:?}"));
                }
                true
            }
            Err(Broken::Malformed(what)) => {
                self.ledger.violate(format!("the body of request {token} is malformed: {what}"));
                false
            }
            Err(_) => {
                self.ledger.tally(|tally| tally.broken_uploads += 1);
                false
            }
        }
    }

    /// Sends the answer, or the part of it that the fault leaves; false when that failed.
    async fn answer(&self, answer: &Answer, fault: Fault) -> bool {
        sleep(answer.think).await;
        if fault == Fault::Silent {
            return false;
        }
        if let Some(status) = answer.interim {
            let token = self.attempt.request.token;
            let interim = format!("HTTP/1.1 {status} Wait\r\nX-Token: {token}\r\n\r\n");
            if self.stream.send_all(interim.into_bytes()).await.0.is_err() {
                return false;
            }
        }
        let mut bytes = answer.encode(&self.attempt.request, self.id);
        if let Fault::Cut { permille } | Fault::Reset { permille } | Fault::Stall { permille } =
            fault
        {
            bytes.truncate(bytes.len() * permille / 1000);
        }
        let size = bytes.len().div_ceil(answer.pieces).max(1);
        for (index, piece) in bytes.chunks(size).enumerate() {
            if index > 0 {
                sleep(answer.think).await;
            }
            if self.stream.send_all(piece.to_vec()).await.0.is_err() {
                return false;
            }
        }
        true
    }
}
