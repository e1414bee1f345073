//! "did you mean": the likeliest word for one that isn't known.

use super::raw::quoted;

/// `; did you mean `x`?`, or nothing if no word is near.
pub(super) fn did_you_mean<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> String {
    nearest(word, words)
        .map_or_else(String::new, |near| format!("; did you mean {}?", quoted(near)))
}

/// "`a`, `b` or `c`".
pub(super) fn one_of(words: &[&str]) -> String {
    enumerated(words, "or")
}

/// "`a`, `b` and `c`".
pub(super) fn all_of(words: &[&str]) -> String {
    enumerated(words, "and")
}

/// The word that takes the fewest slips of the finger to reach: at most one in three letters.
/// Ties go to the first.
pub(super) fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    if word.chars().nth(WORD_MAX).is_some() {
        return None;
    }
    let folded = fold(word);
    words
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(slips, candidate)| *slips <= (candidate.chars().count().max(3)) / 3)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// A longer word isn't a slip; comparing it costs its length squared.
const WORD_MAX: usize = 64;

fn enumerated(words: &[&str], conjunction: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [word] => word.clone(),
        [words @ .., last] => format!("{} {conjunction} {last}", words.join(", ")),
    }
}

fn fold(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

fn distance(word: &str, candidate: &str) -> usize {
    // The plural, or a word that was cut short, is nearer than its letters tell.
    if candidate.trim_end_matches('s') == word.trim_end_matches('s') {
        return usize::from(candidate != word);
    }
    strsim::osa_distance(word, candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_guesses_are_not_made() {
        let words = ["round_robin", "least_request", "idle"];
        assert_eq!(nearest("round_robbin", words), Some("round_robin"));
        assert_eq!(nearest("Round-Robin", words), Some("round_robin"));
        assert_eq!(nearest("least_requests", words), Some("least_request"));
        assert_eq!(nearest("ilde", words), Some("idle"));
        assert_eq!(nearest("magic", words), None);
        assert_eq!(nearest("", words), None);
        assert_eq!(nearest(&"round_robin".repeat(100), words), None);
    }
}
