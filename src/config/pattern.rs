//! Host and path patterns of a route, and which of two is more specific.
//!
//! The router compiles them into something faster; [`PathPattern::matches`] is the meaning it has
//! to keep, and [`Specificity`] the order.

use std::cmp::Ordering;
use std::fmt;

/// Hosts that a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host, in lower case, without a port.
    Exact(String),
    /// `*.example.com`, kept as `.example.com` in lower case: any host that ends so and has at
    /// least one character before it.
    Suffix(String),
}

/// Paths that a route takes. Compared byte by byte with the path as it came (no decoding).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `/a`: this path alone.
    Exact(String),
    /// `/v1/*`, kept as `/v1`: `/v1` and everything below `/v1/`. `/*` is kept as the empty
    /// string and takes every path.
    Prefix(String),
    /// `/users/*/posts`: `*` stands for one segment that isn't empty.
    Pattern {
        /// The segments between the slashes.
        segments: Vec<Segment>,
        /// Whether it ends in `/*`: everything below matches too, and so does the path without it.
        rest: bool,
    },
}

/// A segment of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// `*`: any text but the empty one.
    Any,
}

/// How specific one way to match a route is; the greatest that matches wins.
///
/// Host first (exact, longer suffix, shorter suffix, any), then the path segment by segment from
/// the left (text before `*` before a final `/*`), then a method, then the number of headers, then
/// `priority`. Two ways that are equal and can match the same request are an error in a config.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Specificity {
    host: (u8, usize),
    path: Vec<u8>,
    method: bool,
    headers: usize,
    priority: i32,
}

impl HostPattern {
    /// Whether `host` (without port, any case) is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(host),
            Self::Suffix(suffix) => {
                host.len() > suffix.len()
                    && host.as_bytes()[host.len() - suffix.len()..]
                        .eq_ignore_ascii_case(suffix.as_bytes())
            }
        }
    }
}

impl PathPattern {
    /// Whether `path` (without query) is meant.
    pub fn matches(&self, path: &str) -> bool {
        self.rest(path).is_some()
    }

    /// What the final `/*` takes of `path`, without its leading `/`; empty for patterns without
    /// one. `None` if the pattern doesn't match.
    pub fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self {
            Self::Exact(exact) => (exact == path).then_some(""),
            Self::Prefix(prefix) => {
                // A catch-all compares nothing, not even by a call that waits for the path's bytes.
                let rest =
                    if prefix.is_empty() { path } else { path.strip_prefix(prefix.as_str())? };
                if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
            }
            Self::Pattern { segments, rest } => pattern_rest(segments, *rest, path),
        }
    }

    /// Whether the pattern ends in `/*`.
    pub fn has_rest(&self) -> bool {
        match self {
            Self::Exact(_) => false,
            Self::Prefix(_) => true,
            Self::Pattern { rest, .. } => *rest,
        }
    }

    /// One rank per segment and one for the end, so that vectors compare as patterns do.
    fn ranks(&self) -> Vec<u8> {
        match self {
            Self::Exact(path) => {
                let mut ranks = vec![LITERAL; path.split('/').skip(1).count()];
                ranks.push(END);
                ranks
            }
            Self::Prefix(path) => {
                let mut ranks = vec![LITERAL; path.split('/').skip(1).count()];
                ranks.push(REST);
                ranks
            }
            Self::Pattern { segments, rest } => {
                let mut ranks: Vec<u8> = segments
                    .iter()
                    .map(|segment| match segment {
                        Segment::Literal(_) => LITERAL,
                        Segment::Any => ANY,
                    })
                    .collect();
                ranks.push(if *rest { REST } else { END });
                ranks
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}/*"),
            Self::Pattern { segments, rest } => {
                for segment in segments {
                    match segment {
                        Segment::Literal(text) => write!(f, "/{text}")?,
                        Segment::Any => f.write_str("/*")?,
                    }
                }
                f.write_str(if *rest { "/*" } else { "" })
            }
        }
    }
}

impl Specificity {
    /// The rank of a route when `host` and `path` are what matched (`None`: it takes any).
    pub fn new(
        host: Option<&HostPattern>,
        path: Option<&PathPattern>,
        has_methods: bool,
        headers: usize,
        priority: i32,
    ) -> Self {
        let host = match host {
            Some(HostPattern::Exact(_)) => (2, 0),
            Some(HostPattern::Suffix(suffix)) => (1, suffix.len()),
            None => (0, 0),
        };
        let path = path.map_or_else(|| vec![REST], PathPattern::ranks);
        Self { host, path, method: has_methods, headers, priority }
    }

    /// The same without `priority`, for those who want to know whether it decided.
    pub fn cmp_without_priority(&self, other: &Self) -> Ordering {
        (self.host, &self.path, self.method, self.headers).cmp(&(
            other.host,
            &other.path,
            other.method,
            other.headers,
        ))
    }
}

fn pattern_rest<'p>(segments: &[Segment], rest: bool, path: &'p str) -> Option<&'p str> {
    let mut left = path;
    for segment in segments {
        let after = left.strip_prefix('/')?;
        let (name, remaining) = match after.find('/') {
            Some(slash) => after.split_at(slash),
            None => (after, ""),
        };
        match segment {
            Segment::Literal(text) if text != name => return None,
            Segment::Any if name.is_empty() => return None,
            Segment::Literal(_) | Segment::Any => left = remaining,
        }
    }
    match (left.is_empty(), rest) {
        (true, _) => Some(""),
        (false, true) => left.strip_prefix('/'),
        (false, false) => None,
    }
}

/// Ranks of [`PathPattern::ranks`]; a path that ends beats one that goes on.
const REST: u8 = 0;
const ANY: u8 = 1;
const LITERAL: u8 = 2;
const END: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(pattern: &PathPattern) -> Specificity {
        Specificity::new(None, Some(pattern), false, 0, 0)
    }

    fn users_posts(rest: bool) -> PathPattern {
        let literal = |text: &str| Segment::Literal(text.to_owned());
        PathPattern::Pattern {
            segments: vec![literal("users"), Segment::Any, literal("posts")],
            rest,
        }
    }

    #[test]
    fn prefixes_end_where_a_segment_ends() {
        let prefix = PathPattern::Prefix("/v1".to_owned());
        assert_eq!(prefix.rest("/v1"), Some(""));
        assert_eq!(prefix.rest("/v1/"), Some(""));
        assert_eq!(prefix.rest("/v1/a/b"), Some("a/b"));
        assert_eq!(prefix.rest("/v10"), None);
        assert_eq!(prefix.rest("/"), None);
        assert_eq!(PathPattern::Prefix(String::new()).rest("/a"), Some("a"));
        assert_eq!(PathPattern::Prefix(String::new()).rest("/"), Some(""));
    }

    #[test]
    fn a_star_is_one_segment_that_is_not_empty() {
        let pattern = users_posts(false);
        assert!(pattern.matches("/users/7/posts"));
        assert!(!pattern.matches("/users//posts"));
        assert!(!pattern.matches("/users/7/8/posts"));
        assert!(!pattern.matches("/users/7/posts/"));
        assert!(!pattern.matches("/users/7"));
        let pattern = users_posts(true);
        assert_eq!(pattern.rest("/users/7/posts"), Some(""));
        assert_eq!(pattern.rest("/users/7/posts/9/x"), Some("9/x"));
        assert_eq!(pattern.rest("/users/7/postscript"), None);
    }

    #[test]
    fn a_suffix_needs_something_before_it() {
        let suffix = HostPattern::Suffix(".example.com".to_owned());
        assert!(suffix.matches("api.EXAMPLE.com"));
        assert!(suffix.matches("a.b.example.com"));
        assert!(!suffix.matches("example.com"));
        assert!(!suffix.matches(".example.com"));
        assert!(!suffix.matches("notexample.com"));
        assert!(!suffix.matches("é.example.co"));
    }

    #[test]
    fn the_more_specific_path_is_greater() {
        let exact = |path: &str| PathPattern::Exact(path.to_owned());
        let prefix = |path: &str| PathPattern::Prefix(path.to_owned());
        let order = [
            prefix(""),
            prefix("/users"),
            PathPattern::Pattern {
                segments: vec![Segment::Literal("users".to_owned()), Segment::Any],
                rest: true,
            },
            users_posts(true),
            users_posts(false),
            prefix("/users/7"),
            prefix("/users/7/posts"),
            exact("/users/7/posts"),
        ];
        for pair in order.windows(2) {
            assert!(rank(&pair[0]) < rank(&pair[1]), "{} < {}", pair[0], pair[1]);
        }
        assert_eq!(rank(&prefix("")), Specificity::new(None, None, false, 0, 0));
    }

    #[test]
    fn host_beats_path_and_priority_decides_last() {
        let host = HostPattern::Exact("a.example.com".to_owned());
        let long = HostPattern::Suffix(".b.example.com".to_owned());
        let short = HostPattern::Suffix(".example.com".to_owned());
        let path = PathPattern::Exact("/a".to_owned());
        let rank = |host, path, methods, headers, priority| {
            Specificity::new(host, path, methods, headers, priority)
        };
        assert!(rank(Some(&host), None, false, 0, 0) > rank(Some(&long), Some(&path), true, 9, 9));
        assert!(rank(Some(&long), None, false, 0, 0) > rank(Some(&short), Some(&path), true, 9, 9));
        assert!(rank(Some(&short), None, false, 0, 0) > rank(None, Some(&path), true, 9, 9));
        assert!(rank(None, Some(&path), false, 0, 0) > rank(None, None, true, 9, 9));
        assert!(rank(None, None, true, 0, 0) > rank(None, None, false, 9, 9));
        assert!(rank(None, None, false, 1, 0) > rank(None, None, false, 0, 9));
        assert!(rank(None, None, false, 0, 1) > rank(None, None, false, 0, 0));
        let (high, low) = (rank(None, None, false, 0, 1), rank(None, None, false, 0, 0));
        assert_eq!(high.cmp_without_priority(&low), Ordering::Equal);
    }
}
