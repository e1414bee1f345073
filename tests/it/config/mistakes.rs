//! Mistakes and exactly what is said about them: a table in mistakes.txt, whole files here.

use super::{FRAME, LEAST, read};

#[test]
fn every_mistake_gets_its_message() {
    let mut cases = 0;
    for case in include_str!("mistakes.txt").split("\n----\n").skip(1) {
        let (mistake, messages) = case.split_once("\n=>\n").unwrap();
        let text = FRAME.replacen('\n', &format!("\n{mistake}\n\n"), 1);
        let got = read(&text).expect_err(mistake);
        assert_eq!(got, messages.trim_end(), "{mistake}");
        cases += 1;
    }
    assert!(cases >= 100, "{cases}");
}

#[test]
fn a_file_needs_a_version_that_this_build_reads() {
    for (text, expected) in [
        ("", "t.toml:1:1: version is missing; write `version = 1`"),
        (
            "version = 2",
            "t.toml:1:11: version `2` is not supported yet; this build reads version 1",
        ),
        ("version = '1'", "t.toml:1:11: version `1` isn't a version; write `version = 1`"),
    ] {
        let got = read(text).unwrap_err();
        assert!(got.lines().any(|line| line == expected), "{text}: {got}");
    }
}

#[test]
fn a_file_needs_a_listener() {
    assert_eq!(
        read("version = 1").unwrap_err(),
        "t.toml:1:1: there is no listener, such as `[listener.web]` with `address = \"0.0.0.0:80\"`"
    );
    let got = read("version = 1\nlistener = 'web'\nroute = 1\nupstream = []").unwrap_err();
    assert_eq!(
        got,
        "t.toml:1:1: there is no listener, such as `[listener.web]` with `address = \"0.0.0.0:80\"`
t.toml:2:12: listener `web` isn't a table of tables, such as `[listener.NAME]`
t.toml:3:9: route `1` isn't a list of tables, such as `[[route]]`
t.toml:4:12: upstream (a list) isn't a table of tables, such as `[upstream.NAME]`"
    );
}

#[test]
fn a_route_is_an_entry_of_a_list() {
    let got = read(&LEAST.replace("[[route]]", "[route]")).unwrap_err();
    assert_eq!(got, "t.toml:6:1: route (a table) isn't a list of tables, such as `[[route]]`");
}

#[test]
fn every_fault_of_syntax_is_told_at_once() {
    let text = "version = 1\na = = 3\n[listener.web\nb = \"x\n[runtime]\npin = true\npin = false\n";
    assert_eq!(
        read(text).unwrap_err(),
        "t.toml:2:5: not TOML at `=`: extra `=`, expected nothing
t.toml:2:7: not TOML: unexpected key or value, expected newline, `#`
t.toml:3:14: not TOML: unclosed table, expected `]`
t.toml:7:1: not TOML at `pin`: duplicate key"
    );
}

#[test]
fn more_than_twenty_problems_are_counted() {
    let mistakes: String = (0..30).map(|index| format!("key{index} = 1\n")).collect();
    let got = read(&format!("version = 1\n{mistakes}{LEAST}").replacen("version = 1\n[", "[", 1))
        .unwrap_err();
    assert_eq!(got.lines().count(), 21, "{got}");
    assert!(got.ends_with("\nand 10 more"), "{got}");
}

#[test]
fn the_program_has_so_many_rows_and_no_more() {
    let mut text = format!("{LEAST}[xdp]\nmode = 'auto'\ninterface = 'eth0'\n");
    for listener in 0..65 {
        let addresses: Vec<_> = (1..9).map(|port| format!("192.0.2.{listener}:{port}")).collect();
        text += &format!(
            "[listener.l{listener}]\naddress = {addresses:?}\nprotocol = 'tcp'\nforward = 'nat'\n\
             [[route]]\nname = 'r{listener}'\nlistener = 'l{listener}'\nupstream = 'many'\n"
        );
    }
    let many: Vec<_> = (0..16).map(|last| format!("10.1.0.{last}:80")).collect();
    text += &format!("[upstream.many]\nendpoints = {many:?}\n");
    let with = "that it forwards, counts or steers; the program has room for";
    assert_eq!(
        read(&text).unwrap_err(),
        format!(
            "t.toml:9:1: xdp: there are 1040 endpoints of listeners {with} 1023\n\
             t.toml:9:1: xdp: there are 520 addresses of listeners {with} 512\n\
             t.toml:9:1: xdp: there are 65 listeners and families {with} 64"
        )
    );
}

#[test]
fn columns_count_characters() {
    let got = read(&format!("{LEAST}match = {{ host = \"\u{fc}\u{fc}.example\", path = 'x' }}"))
        .unwrap_err();
    assert_eq!(got, "t.toml:9:18: route `all`: match.host `üü.example` isn't a host, such as `api.example.com` or `*.example.com`
t.toml:9:39: route `all`: match.path `x` isn't a path, such as `/login`, `/v1/*` or `/users/*/posts`");
}

#[test]
fn what_is_likely_not_meant_is_a_warning() {
    let text = format!(
        "{LEAST}listener = 'web'
[upstream.spare]
endpoints = ['10.0.0.1:80']
[filter.id]
type = 'request_id'
[listener.idle]
address = '127.0.0.1:81'
[runtime]
shards = '0,9'
"
    );
    let warnings = read(&text).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "t.toml:10:11: upstream `spare`: no route uses it",
            "t.toml:12:9: filter `id`: no route uses it",
            "t.toml:14:11: listener `idle`: no route serves it; every request gets 404",
            "t.toml:17:10: runtime: shards `0,9` names CPU 9; this process may use `0-7`",
        ]
    );
    let text = format!("{LEAST}[runtime]\nshards = 9");
    assert_eq!(
        read(&text).unwrap().warnings,
        ["t.toml:10:10: runtime: shards `9` is more than the 8 CPUs of this process"]
    );
    let text = LEAST.split_once("[[route]]").unwrap().0;
    assert_eq!(
        read(text).unwrap().warnings[0],
        "t.toml:1:1: there is no route; every request gets 404"
    );
}
