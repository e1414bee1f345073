//! Tests of the fields of a message.

use super::*;

fn lines(headers: &Headers) -> Vec<String> {
    headers
        .iter()
        .map(|(n, v)| format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
        .collect()
}

#[test]
fn names_compare_ignoring_case_and_keep_their_spelling() {
    let mut h = Headers::new();
    h.append("hOST", "a").unwrap();
    h.append("X-My", " 1 ").unwrap();
    assert_eq!(h.get("Host"), Some(&b"a"[..]));
    assert_eq!(h.get_known(Name::Host), Some(&b"a"[..]));
    assert_eq!(h.get("x-mY"), Some(&b"1"[..]));
    assert_eq!(lines(&h), ["hOST: a", "X-My: 1"]);
}

#[test]
fn set_keeps_the_place_of_the_first_and_drops_the_rest() {
    let mut h = Headers::new();
    for (n, v) in [("A", "1"), ("B", "2"), ("a", "3"), ("C", "4")] {
        h.append(n, v).unwrap();
    }
    h.set("a", "longer").unwrap();
    assert_eq!(lines(&h), ["A: longer", "B: 2", "C: 4"]);
    h.set("a", "x").unwrap();
    h.set("D", "5").unwrap();
    assert_eq!(lines(&h), ["A: x", "B: 2", "C: 4", "D: 5"]);
    assert_eq!(h.len(), 4);
}

#[test]
fn setting_again_and_again_stays_within_the_arena() {
    let mut h = Headers::new();
    for n in 0..100_000u32 {
        h.set("x-request-id", format!("{n:08}")).unwrap();
    }
    assert_eq!(h.get("x-request-id"), Some(&b"00099999"[..]));
    assert!(h.arena.len() < 64);
}

#[test]
fn what_could_split_a_message_is_refused() {
    let mut h = Headers::new();
    for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\x7f"] {
        assert_eq!(h.append("X", value), Err(FieldError::ValueInvalid), "{value:?}");
    }
    for name in ["", " X", "X ", "X:", "X\r\n", "X\0", "ä"] {
        assert_eq!(h.append(name, "v"), Err(FieldError::NameInvalid), "{name:?}");
    }
    h.append("X", "1").unwrap();
    assert_eq!(h.set("X", "a\r\nb"), Err(FieldError::ValueInvalid));
    assert_eq!(lines(&h), ["X: 1"]);
}

#[test]
fn limits_hold_and_dead_fields_make_room() {
    let mut h = Headers::new();
    for _ in 0..FIELDS_MAX {
        h.append("X", "1").unwrap();
    }
    assert_eq!(h.append("Y", "1"), Err(FieldError::TooMany));
    assert_eq!(h.remove("x"), FIELDS_MAX);
    h.append("Y", "1").unwrap();
    assert_eq!(lines(&h), ["Y: 1"]);
    assert_eq!(h.append("Y", vec![b'a'; HEADERS_BYTES_MAX]), Err(FieldError::TooLarge));
}

/// The index of known names holds through removals, repeats and the room that is made.
#[test]
fn known_names_are_found_whatever_happened_before() {
    let mut h = Headers::new();
    let known = |h: &Headers| {
        let values = h.get_all_known(Name::Via).map(|v| String::from_utf8_lossy(v).into_owned());
        values.collect::<Vec<_>>()
    };
    h.append("X", "0").unwrap();
    h.append_known(Name::Via, "1").unwrap();
    assert_eq!((known(&h), h.get_known(Name::Date)), (vec!["1".to_owned()], None));
    assert_eq!(h.remove_known(Name::Via), 1);
    assert!(known(&h).is_empty());
    for value in ["2", "3"] {
        h.append("VIA", value).unwrap();
    }
    assert_eq!(known(&h), ["2", "3"]);
    for _ in h.fields.len()..FIELDS_MAX {
        h.append("X", "1").unwrap();
    }
    h.append_known(Name::Date, "now").unwrap();
    assert_eq!(
        (known(&h), h.get_known(Name::Date)),
        (vec!["2".into(), "3".into()], Some(&b"now"[..]))
    );
    h.set_known(Name::Via, "4").unwrap();
    assert_eq!(known(&h), ["4"]);
    assert_eq!(h.append_known(Name::Other, "4"), Err(FieldError::NameInvalid));
    assert_eq!(h.append_copy(Name::XForwardedHost, Name::Host), Ok(false));
    assert_eq!(h.append_copy(Name::XForwardedHost, Name::Via), Ok(true));
    assert_eq!(h.get("x-forwarded-host"), Some(&b"4"[..]));
}

/// What is written is what iterating gives, line for line, whether copied in one piece or not.
#[test]
fn lines_are_written_as_they_are() {
    let mut h = Headers::new();
    for (n, v) in [("A", "1"), ("Cookie", ""), ("b", "3"), ("Via", "4"), ("c", "5"), ("d", "6")] {
        h.append(n, v).unwrap();
    }
    let written = |h: &Headers, except| {
        let mut out = Vec::new();
        h.write_lines(except, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(&h, 0), "A: 1\r\nCookie: \r\nb: 3\r\nVia: 4\r\nc: 5\r\nd: 6\r\n");
    h.set("a", "longer").unwrap();
    h.set("b", "").unwrap();
    h.set("d", "7").unwrap();
    h.remove("c");
    h.append("e", "8").unwrap();
    assert_eq!(written(&h, Name::Via.bit()), "A: longer\r\nCookie: \r\nb: \r\nd: 7\r\ne: 8\r\n");
    assert_eq!(written(&h, !0), "");
}

#[test]
fn retain_and_remove_count_what_they_took() {
    let mut h = Headers::new();
    for (n, v) in [("A", "1"), ("Cookie", "2"), ("a", "3")] {
        h.append(n, v).unwrap();
    }
    h.retain(|_, v| v != b"3");
    assert_eq!(lines(&h), ["A: 1", "Cookie: 2"]);
    assert_eq!(h.remove_known(Name::Cookie), 1);
    assert_eq!(h.remove("Cookie"), 0);
    assert_eq!(h.len(), 1);
    h.clear();
    assert!(h.is_empty());
}
