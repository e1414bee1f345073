//! The binary as a shell sees it: what goes where, and with which exit code.

use std::process::{Command, Output, Stdio};

use crate::scratch::Scratch;

fn ringway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn help_and_version_go_to_stdout_with_zero() {
    for (arguments, part) in [
        (&["--help"][..], "Exit codes:"),
        (&["run", "--help"], "ringway run --listen 0.0.0.0:8080 --to 10.0.0.1:80,10.0.0.2:80"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = ringway(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(part), "{arguments:?}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn wrong_arguments_are_two_and_on_stderr() {
    let output = ringway(&["run", "--listen", "web"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("`web` isn't an address and port"));
}

#[test]
fn a_wrong_config_is_three_and_names_the_place() {
    let scratch = Scratch::new();
    let path = scratch.path("ringway.toml");
    std::fs::write(&path, "version = 1\n[listener.web]\nadress = '127.0.0.1:80'\n").unwrap();
    let path = path.to_str().unwrap();
    for arguments in [&["check", "-c", path][..], &["run", "-c", path], &["doctor", "-c", path]] {
        let output = ringway(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        let place = format!("error: {path}:3:1: ");
        assert!(text(&output.stderr).starts_with(&place), "{}", text(&output.stderr));
    }
}

#[test]
fn a_right_config_is_checked_and_printed() {
    let scratch = Scratch::new();
    let path = scratch.path("ringway.toml");
    let config = "version = 1\n[listener.web]\naddress = '127.0.0.1:80'\n\
                  [[route]]\nname = 'ping'\nmatch = { path = '/ping' }\nrespond = { body = 'pong' }\n";
    std::fs::write(&path, config).unwrap();
    let path = path.to_str().unwrap();
    let output = ringway(&["check", "-c", path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ok, 1 listener, 1 route"), "{}", text(&output.stdout));
    let output = ringway(&["print", "--effective", "-c", path]);
    assert_eq!(output.status.code(), Some(0));
    let effective = scratch.path("effective.toml");
    std::fs::write(&effective, &output.stdout).unwrap();
    let output = ringway(&["check", "-c", effective.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn nobody_at_the_admin_socket_is_four_and_says_what_to_do() {
    for verb in ["status", "reload", "stop"] {
        let output = ringway(&[verb, "--admin", "unix:/nonexistent/admin.sock"]);
        assert_eq!(output.status.code(), Some(4), "{verb}");
        let error = text(&output.stderr);
        assert!(error.starts_with("error: no ringway answers at unix:/nonexistent/admin.sock"));
        assert!(error.contains("is it running?"), "{error}");
    }
}

#[test]
fn the_doctor_speaks_json_and_its_exit_code_follows_the_worst_finding() {
    let output = ringway(&["doctor", "--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let fails = findings.iter().any(|finding| finding["level"] == "fail");
    assert_eq!(output.status.code(), Some(if fails { 5 } else { 0 }));
    let subjects: Vec<_> = findings.iter().filter_map(|f| f["subject"].as_str()).collect();
    for subject in ["kernel", "io_uring", "open files"] {
        assert!(subjects.contains(&subject), "{subjects:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["doctor"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}
