//! A simulated client: sends its bundles, reads what comes back, and holds every byte against what
//! it asked for.

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use ringway::runtime::{Either, TcpStream, Timer, now, race, sleep, yield_now};

use crate::{
    exchange::{Delimited, End, RequestPlan, When},
    ledger::{Ledger, Seen},
    plan::{Bundle, ClientPlan},
    random::byte,
    settings::LISTENER_PORT,
    wire::{Broken, Framing, Head, Reader},
    world::address,
};

/// Lives a client's life.
pub(crate) async fn run(ledger: Rc<Ledger>, index: usize) {
    let plan = &ledger.plan.clients[index];
    sleep(plan.starts_at).await;
    let life = async {
        for bundles in &plan.connections {
            connection(&ledger, plan, bundles).await;
        }
    };
    match plan.vanishes_at {
        None => life.await,
        // Whatever it was doing is dropped where it stands.
        Some(after) => match race(life, sleep(after)).await {
            Either::First(()) | Either::Second(()) => {}
        },
    }
}

/// Whether the connection can carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

/// What the reading half tells the sending half.
#[derive(Default)]
struct Signals {
    /// Set when nothing more is to be sent: whether all of it could be.
    sent: Cell<Option<bool>>,
    may_go_on: Cell<bool>,
    is_answered: Cell<bool>,
}

async fn connection(ledger: &Ledger, plan: &ClientPlan, bundles: &[Bundle]) {
    let is_calm = ledger.plan.profile.is_calm();
    let stream = match TcpStream::connect(address(LISTENER_PORT)).await {
        Ok(stream) => Rc::new(stream),
        Err(error) if is_calm => return ledger.violate(format!("cannot connect: {error}")),
        Err(_) => return,
    };
    let mut reader = Reader::new(&stream);
    reader.pause = plan.pause;
    // Whether the proxy may close the connection without saying so.
    let mut may_end = false;
    for bundle in bundles {
        sleep(bundle.think).await;
        ledger.tally(|tally| tally.requests += bundle.requests.len() as u64);
        let signals = Signals::default();
        let sending = async {
            if send(&stream, bundle, &signals).await == Sent::Gone {
                return;
            }
            // The reading half was polled before; it may wait for this.
            yield_now().await;
            pending::<()>().await;
        };
        let reading = read(ledger, &mut reader, bundle, &signals, &mut may_end);
        match race(reading, sending).await {
            Either::First(Next::Keep) => {}
            Either::First(Next::Close) | Either::Second(()) => return,
        }
    }
}

/// How sending ended. What fails here shows at the reading half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// The answers are awaited.
    Waits,
    /// The client leaves at once.
    Gone,
}

/// Sends a bundle as its requests' plans say.
async fn send(stream: &TcpStream, bundle: &Bundle, signals: &Signals) -> Sent {
    let mut bytes = Vec::new();
    for request in &bundle.requests {
        let (encoded, head) = request.encode();
        if let Some((at, end)) = request.cut {
            bytes.extend_from_slice(&encoded[..at]);
            let sent = stream.send_all(bytes).await.0;
            signals.sent.set(Some(sent.is_ok()));
            return break_off(stream, end);
        }
        if !request.expects_continue {
            bytes.extend(encoded);
            continue;
        }
        bytes.extend_from_slice(&encoded[..head]);
        drop(stream.send_all(std::mem::take(&mut bytes)).await);
        if !signals.wait().await {
            signals.sent.set(Some(true));
            return Sent::Waits;
        }
        bytes.extend_from_slice(&encoded[head..]);
    }
    let sent = stream.send_all(bytes).await.0;
    signals.sent.set(Some(sent.is_ok()));
    Sent::Waits
}

fn break_off(stream: &TcpStream, end: End) -> Sent {
    match end {
        End::Close => Sent::Gone,
        End::Reset => {
            stream.reset_on_close();
            Sent::Gone
        }
        End::Stall => Sent::Waits,
        End::HalfClose => {
            // A connection that is dead already has nothing to end.
            drop(stream.shutdown_write());
            Sent::Waits
        }
    }
}

impl Signals {
    /// Waits until everything is sent; false when that failed. A reset is told once, so after a
    /// send was told of it the stream seems to end well.
    async fn all_sent(&self) -> bool {
        poll_fn(|_| self.sent.get().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Waits until the body may be sent; false when it needn't be, because the answer is here.
    async fn wait(&self) -> bool {
        let timer = Timer::new();
        timer.set(now() + CONTINUE_WAIT);
        poll_fn(|cx| {
            if self.is_answered.get() {
                Poll::Ready(false)
            } else if self.may_go_on.get() {
                Poll::Ready(true)
            } else {
                timer.poll_expired(cx).map(|()| true)
            }
        })
        .await
    }
}

/// Reads the responses to a bundle.
async fn read(
    ledger: &Ledger,
    reader: &mut Reader,
    bundle: &Bundle,
    signals: &Signals,
    may_end: &mut bool,
) -> Next {
    let is_calm = ledger.plan.profile.is_calm();
    for (index, request) in bundle.requests.iter().enumerate() {
        let is_last = index + 1 == bundle.requests.len();
        match response(ledger, reader, request, signals).await {
            Ok(Next::Keep) => {
                // An answer that comes before the whole request may be the connection's last.
                *may_end |= request.body != Delimited::No
                    && request.answers.iter().any(|answer| answer.when == When::Beside);
                if is_last && signals.is_answered.get() && request.expects_continue {
                    // The body may not have been sent.
                    return Next::Close;
                }
            }
            Ok(Next::Close) => return Next::Close,
            Err(broken) => {
                let token = request.token;
                ledger.tally(|tally| tally.unanswered += 1);
                if is_calm && !*may_end {
                    ledger.violate(format!("request {token} got no answer: {broken:?}"));
                }
                if let Broken::Malformed(what) = broken {
                    ledger.violate(format!("the response to request {token} is malformed: {what}"));
                }
                return Next::Close;
            }
        }
    }
    if reader.has_more() && !*may_end {
        ledger.violate("a client got bytes behind its last response");
    }
    Next::Keep
}

/// Reads the response to `request`, interim ones before it included.
async fn response(
    ledger: &Ledger,
    reader: &mut Reader,
    request: &RequestPlan,
    signals: &Signals,
) -> Result<Next, Broken> {
    let token = request.token;
    let (head, status) = loop {
        let head = reader.head().await?;
        let Some(status) = head.status() else {
            return Err(Broken::Malformed(format!("status line {:?}", head.start)));
        };
        match status {
            100 if request.expects_continue => signals.may_go_on.set(true),
            103 if !request.is_http10 => {}
            100..200 => ledger.violate(format!("request {token} got an unasked {status}")),
            _ => break (head, status),
        }
        if status == 103 && head.number("x-token") != Some(token) {
            ledger.violate(format!("request {token} got the interim response of another one"));
        }
    };
    // Only the last request of a bundle waits.
    signals.is_answered.set(request.expects_continue);
    let attempt = head.number("x-attempt");
    check_head(ledger, request, &head, attempt);
    let is_bare = request.method == "HEAD" || status == 204 || status == 304;
    let framing = if is_bare { Framing::None } else { head.framing(Framing::UntilClose)? };
    let mut length = 0;
    let mut is_right = true;
    let read = reader.body(framing, |piece| {
        if let Some(id) = attempt {
            is_right &=
                piece.iter().enumerate().all(|(index, seen)| *seen == byte(id, length + index));
        }
        length += piece.len();
    });
    let read = read.await;
    if !is_right {
        ledger.violate(format!("the response to request {token} has wrong bytes"));
    }
    let read = match read {
        Ok(_) if framing == Framing::UntilClose && !signals.all_sent().await => {
            Err(Broken::Failed("a send was told of it".to_owned()))
        }
        read => read,
    };
    let trailers = read.inspect_err(|_| ledger.tally(|tally| tally.broken_answers += 1))?;
    match attempt {
        Some(id) => {
            let is_chunked = framing == Framing::Chunked;
            ledger.answered(request, id, &Seen { status, length, is_chunked, trailers });
        }
        None => ledger.own_page(request, status),
    }
    let is_over = request.is_http10
        || framing == Framing::UntilClose
        || head.get("connection").is_some_and(|value| value.contains("close"));
    Ok(if is_over { Next::Close } else { Next::Keep })
}

fn check_head(ledger: &Ledger, request: &RequestPlan, head: &Head, attempt: Option<u64>) {
    let token = request.token;
    let named = head.number("x-token");
    if named != attempt.map(|_| token) {
        ledger.violate(format!("request {token} got the response of {named:?}: {head:?}"));
    }
    if head.has("x-secret") {
        ledger.violate(format!("the response to {token} has a field that its Connection names"));
    }
}

/// How long a client waits to be told to go on.
const CONTINUE_WAIT: Duration = Duration::from_millis(1500);
