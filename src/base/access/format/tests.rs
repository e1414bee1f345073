//! What a line looks like, and that no client's byte gets out of its place.

use std::time::UNIX_EPOCH;

use super::*;

pub(in crate::base::access) fn record() -> AccessRecord<'static> {
    AccessRecord {
        time: UNIX_EPOCH + Duration::from_millis(1_795_532_162_123),
        client_ip: "192.0.2.7".parse().unwrap(),
        method: b"GET",
        scheme: "http",
        host: Some(b"example.com"),
        path: Some(b"/a"),
        query: Some(b"b=c"),
        version: "HTTP/1.1",
        status: 200,
        bytes_in: 0,
        bytes_out: 1024,
        duration: Duration::from_micros(1_000_042),
        upstream_duration: Some(Duration::from_micros(905)),
        listener: "web",
        route: Some("api"),
        upstream: Some("app"),
        endpoint: Some("[::1]:8080".parse().unwrap()),
        attempts: 1,
        request_id: Some(b"0001-2a"),
        referer: None,
        user_agent: Some(b"curl/8.5"),
        tls: None,
        error: None,
    }
}

fn facts() -> TlsFacts<'static> {
    TlsFacts {
        version: "1.3",
        cipher: "TLS13_AES_256_GCM_SHA384",
        sni: Some("a.test"),
        alpn: Some(b"h2"),
        is_resumed: true,
        client_subject: None,
    }
}

fn line(record: &AccessRecord<'_>, format: &AccessFormat) -> String {
    let mut out = Vec::new();
    format_line(record, format, &mut out);
    String::from_utf8(out).unwrap()
}

fn template_of(fields: &[LogField]) -> AccessFormat {
    AccessFormat::Template(fields.iter().map(|field| LogPiece::Field(*field)).collect())
}

#[test]
fn json_has_the_documented_keys_in_order() {
    let text = line(&record(), &AccessFormat::Json);
    assert_eq!(
        text,
        concat!(
            r#"{"time":"2026-11-24T14:56:02.123Z","client_ip":"192.0.2.7","method":"GET","#,
            r#""scheme":"http","host":"example.com","path":"/a","query":"b=c","#,
            r#""version":"HTTP/1.1","status":200,"bytes_in":0,"bytes_out":1024,"#,
            r#""duration":1000.042,"upstream_duration":0.905,"listener":"web","route":"api","#,
            r#""upstream":"app","endpoint":"[::1]:8080","attempts":1,"request_id":"0001-2a","#,
            r#""referer":null,"user_agent":"curl/8.5","tls":null,"error":null}"#,
            "\n"
        )
    );
    let mut encrypted = record();
    encrypted.tls = Some(facts());
    let text = line(&encrypted, &AccessFormat::Json);
    assert!(text.contains(concat!(
        r#""user_agent":"curl/8.5","tls":{"version":"1.3","cipher":"TLS13_AES_256_GCM_SHA384","#,
        r#""sni":"a.test","alpn":"h2","resumed":true,"client_subject":null},"error":null}"#
    )));
    let mut from = 0;
    for field in LogField::ALL {
        let key = format!("\"{}\":", field.name().trim_start_matches("tls."));
        from += text[from..].find(&key).expect("every field, in the order of ALL") + key.len();
    }
}

#[test]
fn combined_is_what_nginx_writes() {
    assert_eq!(
        line(&record(), &AccessFormat::Combined),
        "192.0.2.7 - - [24/Nov/2026:14:56:02 +0000] \"GET /a?b=c HTTP/1.1\" 200 1024 \"-\" \
         \"curl/8.5\"\n"
    );
}

#[test]
fn combined_of_an_unreadable_request_has_an_empty_request_and_three_digits() {
    let mut unread = record();
    (unread.method, unread.path, unread.query, unread.version) = (b"", None, None, "");
    (unread.status, unread.user_agent) = (0, None);
    assert_eq!(
        line(&unread, &AccessFormat::Combined),
        "192.0.2.7 - - [24/Nov/2026:14:56:02 +0000] \"\" 000 1024 \"-\" \"-\"\n"
    );
}

#[test]
fn a_template_may_name_every_field() {
    let mut pieces = Vec::new();
    for field in LogField::ALL {
        pieces.push(LogPiece::Field(field));
        pieces.push(LogPiece::Literal("|".to_owned()));
    }
    assert_eq!(
        line(&record(), &AccessFormat::Template(pieces)),
        "2026-11-24T14:56:02.123Z|192.0.2.7|GET|http|example.com|/a|b=c|HTTP/1.1|200|0|1024|\
         1000.042|0.905|web|api|app|[::1]:8080|1|0001-2a|-|curl/8.5|-|-|-|-|-|-|-|\n"
    );
}

#[test]
fn json_escapes_by_rfc_8259_and_mends_what_is_not_utf_8() {
    let mut hostile = record();
    hostile.path = Some(b"/\"\\\n\r\t\x00\x1f\x7f\xff\xc3\xa9\xe2\x82");
    let text = line(&hostile, &AccessFormat::Json);
    assert!(text.contains("\"/\\\"\\\\\\n\\r\\t\\u0000\\u001F\u{7f}\u{fffd}é\u{fffd}\""), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["path"], "/\"\\\n\r\t\0\u{1f}\u{7f}\u{fffd}é\u{fffd}");
}

#[test]
fn combined_and_templates_escape_as_nginx_does() {
    let mut hostile = record();
    hostile.path = Some(b"/\"\\\n\x7f\xc3\xa9~");
    assert_eq!(
        line(&hostile, &template_of(&[LogField::Path])),
        "/\\x22\\x5C\\x0A\\x7F\\xC3\\xA9~\n"
    );
}

#[test]
fn no_byte_of_a_client_ends_a_line() {
    let all: Vec<u8> = (0..=255).collect();
    let mut hostile = record();
    hostile.method = &all;
    hostile.path = Some(&all);
    hostile.query = Some(&all);
    hostile.host = Some(&all);
    hostile.request_id = Some(&all);
    hostile.user_agent = Some(&all);
    hostile.referer = Some(&all);
    let every = template_of(&LogField::ALL);
    for format in [AccessFormat::Json, AccessFormat::Combined, every] {
        let text = line(&hostile, &format);
        assert_eq!(text.find('\n'), Some(text.len() - 1), "{format:?}");
    }
}

#[test]
fn a_long_value_is_cut_and_shows_it() {
    let long = vec![b'a'; VALUE_BYTES_MAX + 1];
    let mut big = record();
    big.user_agent = Some(&long);
    let text = line(&big, &template_of(&[LogField::UserAgent]));
    assert_eq!(text.len(), VALUE_BYTES_MAX + 4);
    assert!(text.ends_with("a...\n"));
    big.user_agent = Some(&long[1..]);
    assert_eq!(line(&big, &template_of(&[LogField::UserAgent])).len(), VALUE_BYTES_MAX + 1);
    big.user_agent = Some(&long);
    let value: serde_json::Value = serde_json::from_str(&line(&big, &AccessFormat::Json)).unwrap();
    assert!(value["user_agent"].as_str().unwrap().ends_with("a..."));
}

#[test]
fn an_address_is_spelt_as_the_standard_library_does() {
    for text in ["0.0.0.0:0", "255.255.255.255:65535", "10.0.1.200:80", "[2001:db8::1]:443"] {
        let mut out = Vec::new();
        address(text.parse().unwrap(), &mut out);
        assert_eq!(out, text.as_bytes());
    }
}

#[test]
fn what_is_plain_is_found_eight_bytes_at_a_time() {
    for byte in 0..=255 {
        for place in 0..19 {
            let mut text = *b"0123456789abcdef~ z";
            text[place] = byte;
            assert_eq!(is_plain(&text), is_plain_byte(byte), "{byte} at {place}");
        }
    }
    assert!(is_plain(b""));
}
