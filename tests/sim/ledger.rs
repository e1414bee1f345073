//! What everybody saw, and the rules that it must keep. Clients and endpoints tell it; whatever
//! breaks a rule is kept as a sentence.

use std::{cell::Cell, cell::RefCell, collections::BTreeMap, rc::Rc, time::Instant};

use ringway::runtime;

use crate::{
    exchange::{Delimited, Fault, RequestPlan},
    plan::Plan,
};

/// How much happened, over all runs: a batch that never meets a kind tests nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) attempts: u64,
    pub(crate) whole_answers: u64,
    pub(crate) broken_answers: u64,
    pub(crate) own_pages: u64,
    pub(crate) unanswered: u64,
    pub(crate) repeated: u64,
    pub(crate) broken_uploads: u64,
    pub(crate) bad_gateways: u64,
    pub(crate) gateway_timeouts: u64,
    pub(crate) unavailable: u64,
    pub(crate) too_large: u64,
    pub(crate) client_timeouts: u64,
    pub(crate) reused: u64,
    pub(crate) stolen: u64,
    pub(crate) queued: u64,
    pub(crate) limited: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.attempts += other.attempts;
        self.whole_answers += other.whole_answers;
        self.broken_answers += other.broken_answers;
        self.own_pages += other.own_pages;
        self.unanswered += other.unanswered;
        self.repeated += other.repeated;
        self.broken_uploads += other.broken_uploads;
        self.bad_gateways += other.bad_gateways;
        self.gateway_timeouts += other.gateway_timeouts;
        self.unavailable += other.unavailable;
        self.too_large += other.too_large;
        self.client_timeouts += other.client_timeouts;
        self.reused += other.reused;
        self.stolen += other.stolen;
        self.queued += other.queued;
        self.limited += other.limited;
    }
}

/// The book of one run.
pub(crate) struct Ledger {
    pub(crate) plan: Plan,
    begun: Instant,
    entries: RefCell<BTreeMap<u64, Entry>>,
    attempts: RefCell<Vec<Attempt>>,
    /// Requests that reached an endpoint.
    passed: Cell<u32>,
    violations: RefCell<Vec<String>>,
    tally: RefCell<Tally>,
    body_max: Option<usize>,
    attempts_max: usize,
}

struct Entry {
    plan: Rc<RequestPlan>,
    sightings: usize,
}

/// A request's head at an endpoint.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) request: Rc<RequestPlan>,
    /// Which of the request's attempts: from 0.
    pub(crate) number: usize,
}

impl Ledger {
    pub(crate) fn new(plan: Plan) -> Rc<Self> {
        let bundles = plan.clients.iter().flat_map(|client| client.connections.iter().flatten());
        let requests = bundles.flat_map(|bundle| &bundle.requests);
        let entries = requests
            .map(|request| (request.token, Entry { plan: Rc::clone(request), sightings: 0 }))
            .collect();
        let settings: Vec<_> =
            plan.reloads.iter().map(|(_, settings)| settings).chain([&plan.settings]).collect();
        let body_max = settings
            .iter()
            .map(|settings| settings.body_max)
            .min_by_key(|most| most.unwrap_or(usize::MAX));
        let retries = settings.iter().map(|settings| settings.retries).max().unwrap_or(0) as usize;
        Rc::new(Self {
            begun: runtime::now(),
            entries: RefCell::new(entries),
            attempts: RefCell::default(),
            passed: Cell::new(0),
            violations: RefCell::default(),
            tally: RefCell::default(),
            body_max: body_max.flatten(),
            // Once more when a kept connection turns out to be dead.
            attempts_max: 2 + retries,
            plan,
        })
    }

    /// Notes that a rule is broken.
    pub(crate) fn violate(&self, what: impl AsRef<str>) {
        let at = runtime::now() - self.begun;
        self.violations.borrow_mut().push(format!("at {at:?}: {}", what.as_ref()));
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }

    pub(crate) fn tally(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.borrow_mut());
    }

    pub(crate) fn total(&self) -> Tally {
        *self.tally.borrow()
    }

    /// An endpoint saw a request's head. The attempt and its number, if somebody sent it.
    pub(crate) fn sighted(&self, token: u64) -> Option<(Attempt, u64)> {
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(&token) else {
            self.violate(format!("an endpoint saw request {token}, which nobody sent"));
            return None;
        };
        let number = entry.sightings;
        entry.sightings += 1;
        let request = Rc::clone(&entry.plan);
        drop(entries);
        self.tally(|tally| tally.attempts += 1);
        if number == 0 {
            let passed = self.passed.get() + 1;
            self.passed.set(passed);
            // What a run's longest time gives back is a quarter.
            if self.plan.settings.rate.is_some_and(|rate| passed > rate + rate.div_ceil(4)) {
                self.violate(format!("{passed} requests passed the rate limit"));
            }
        }
        if number > 0 {
            self.tally(|tally| tally.repeated += 1);
            if !request.is_idempotent() {
                self.violate(format!("request {token}, a {}, was sent twice", request.method));
            }
            if number >= self.attempts_max {
                self.violate(format!("request {token} was sent {} times", number + 1));
            }
        }
        if let Some((cut, _)) = request.cut
            && cut < request.encode().1
        {
            self.violate(format!("request {token}, whose head broke off, reached an endpoint"));
        }
        let attempt = Attempt { request, number };
        let mut attempts = self.attempts.borrow_mut();
        attempts.push(attempt.clone());
        Some((attempt, attempts.len() as u64))
    }

    /// An endpoint took a request's body for finished, after `length` bytes.
    pub(crate) fn uploaded(&self, request: &RequestPlan, length: usize) {
        let token = request.token;
        if request.cut.is_some() {
            self.violate(format!("the body of request {token} broke off and was seen as finished"));
        }
        if length != request.length {
            let whole = request.length;
            self.violate(format!("request {token} has {length} body bytes instead of {whole}"));
        }
    }

    /// The attempt of that id, which answered `token`.
    pub(crate) fn attempt(&self, id: u64, token: u64) -> Option<Attempt> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        let attempt = self.attempts.borrow().get(index).cloned();
        attempt.filter(|attempt| attempt.request.token == token)
    }

    /// The proxy answered a request itself.
    pub(crate) fn own_page(&self, request: &RequestPlan, status: u16) {
        let token = request.token;
        self.tally(|tally| {
            tally.own_pages += 1;
            match status {
                408 => tally.client_timeouts += 1,
                413 => tally.too_large += 1,
                429 => tally.limited += 1,
                502 => tally.bad_gateways += 1,
                503 => tally.unavailable += 1,
                504 => tally.gateway_timeouts += 1,
                _ => {}
            }
        });
        let is_calm = self.plan.profile.is_calm();
        let is_slow = self.plan.clients.iter().any(|client| !client.pause.is_zero());
        let may_be = match status {
            400 => request.cut.is_some(),
            408 => request.cut.is_some() || is_slow || !is_calm,
            429 => self.plan.settings.rate.is_some(),
            413 => self.body_max.is_some_and(|most| request.length > most),
            502..=504 => !is_calm,
            _ => false,
        };
        if !may_be {
            self.violate(format!("request {token} was answered {status} for no reason"));
        }
    }

    /// A client saw a whole response to `request`, from the attempt `id`.
    pub(crate) fn answered(&self, request: &RequestPlan, id: u64, seen: &Seen) {
        let token = request.token;
        let Some(attempt) = self.attempt(id, token) else {
            return self.violate(format!("request {token} got the answer {id} of another one"));
        };
        let answer = request.answer(attempt.number);
        if seen.status != answer.status {
            self.violate(format!(
                "request {token} got {} instead of {}",
                seen.status, answer.status
            ));
        }
        match answer.fault(request.method) {
            Fault::None | Fault::Extra => {}
            fault => self.violate(format!(
                "request {token} got a whole response although its endpoint broke off: {fault:?}"
            )),
        }
        let whole = if answer.has_body(request.method) { answer.length } else { 0 };
        if seen.length != whole {
            let length = seen.length;
            self.violate(format!("response {id} has {length} bytes instead of {whole}"));
        }
        let has_trailer = answer.has_body(request.method)
            && answer.delimited == Delimited::Chunked
            && answer.has_trailers;
        if has_trailer && seen.is_chunked && seen.trailers != [answer.trailer(id).unwrap()] {
            self.violate(format!("response {id} has the trailers {:?}", seen.trailers));
        }
        self.tally(|tally| tally.whole_answers += 1);
    }
}

/// A response as a client saw it, to its end.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) length: usize,
    pub(crate) is_chunked: bool,
    pub(crate) trailers: Vec<(String, String)>,
}
