//! A program's own algorithm, behind a pointer: what [`Balancer`](super::Balancer) has for whatever
//! it doesn't know. The built-in ones stay without a box.

use std::fmt;

use super::{Balance, Candidate, Candidates, Key, Tried};

/// A [`Balance`] behind a pointer. Every balancer is one.
pub trait DynBalance {
    /// See [`Balance::pick`].
    fn pick_dyn(
        &self,
        candidates: &dyn Candidates,
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize>;
}

impl<B: Balance> DynBalance for B {
    fn pick_dyn(
        &self,
        candidates: &dyn Candidates,
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize> {
        self.pick(candidates, tried, key)
    }
}

/// A program's own balancer. What it picks is picked only if it may be: an index that isn't there
/// or isn't available counts as none.
pub struct Own(Box<dyn DynBalance>);

impl Own {
    /// Picks by `balance`.
    #[must_use]
    pub fn new(balance: impl Balance + 'static) -> Self {
        Self(Box::new(balance))
    }
}

impl Balance for Own {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize> {
        let picked = self.0.pick_dyn(&View(candidates), tried, key)?;
        (picked < candidates.len() && candidates.candidate(picked).available).then_some(picked)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

/// Candidates of any kind, with a size, so that they fit behind a pointer.
struct View<'a, C: ?Sized>(&'a C);

impl<C: Candidates + ?Sized> Candidates for View<'_, C> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn candidate(&self, index: usize) -> Candidate {
        self.0.candidate(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Balancer;

    struct Always(usize);

    impl Balance for Always {
        fn pick(
            &self,
            _candidates: &(impl Candidates + ?Sized),
            _tried: &Tried,
            _key: Option<Key>,
        ) -> Option<usize> {
            Some(self.0)
        }
    }

    #[test]
    fn what_may_not_be_picked_is_not() {
        let candidate = |available| Candidate { weight: 1, in_flight: 0, available, backup: false };
        let candidates = [candidate(true), candidate(false)];
        let pick = |index| {
            let balancer = Balancer::Own(Own::new(Always(index)));
            balancer.pick(&candidates[..], &Tried::new(), None)
        };
        assert_eq!([pick(0), pick(1), pick(2)], [Some(0), None, None]);
    }
}
