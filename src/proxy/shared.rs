//! What the shards of one server have in common besides the configuration: values by name, made
//! by whichever shard asks first.
//!
//! A list that only grows, since it is asked while handlers are built and never while requests
//! are answered. No lock: the place behind the last entry is filled once, and whoever comes late
//! finds it filled.
//!
//! ```text
//!   first ─▶ "limit 0" ─▶ "requests-seen" ─▶ (empty: the next name goes here)
//! ```

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

/// Values by name and type, one each for all shards.
#[derive(Default)]
pub struct Shared {
    first: OnceLock<Box<Entry>>,
}

struct Entry {
    name: String,
    value: Arc<dyn Any + Send + Sync>,
    next: OnceLock<Box<Self>>,
}

impl Shared {
    /// The value of that name and type; `make` makes it when there is none. Others that ask for a
    /// new name wait for `make`'s end.
    pub fn get<T: Send + Sync + 'static>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut make = Some(make);
        let mut place = &self.first;
        loop {
            let entry = place.get_or_init(|| {
                let make = make.take().expect("a place is filled once, and then the loop ends");
                let value: Arc<dyn Any + Send + Sync> = Arc::new(make());
                Box::new(Entry { name: name.to_owned(), value, next: OnceLock::new() })
            });
            if entry.name == name
                && let Ok(value) = Arc::clone(&entry.value).downcast()
            {
                return value;
            }
            place = &entry.next;
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_name_and_type_is_one_value() {
        let shared = Shared::default();
        let first = shared.get("a", || AtomicU64::new(7));
        let other = shared.get("b", || AtomicU64::new(8));
        let again = shared.get("a", || AtomicU64::new(9));
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &other));
        assert_eq!(again.load(Ordering::Relaxed), 7);
        assert_eq!(*shared.get("a", || "another type".to_owned()), "another type");
    }

    #[test]
    fn threads_that_ask_at_the_same_time_get_one_value() {
        let shared = Shared::default();
        let made = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (shared, made) = (&shared, &made);
                scope.spawn(move || {
                    for round in 0..100 {
                        let name = format!("value {}", (round + thread * 25) % 100);
                        let value = shared.get(&name, || {
                            made.fetch_add(1, Ordering::Relaxed);
                            AtomicU64::new(0)
                        });
                        value.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 100);
        for index in 0..100 {
            let value = shared.get(&format!("value {index}"), || AtomicU64::new(0));
            assert_eq!(value.load(Ordering::Relaxed), 4);
        }
    }
}
