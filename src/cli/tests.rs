//! The command line as it is typed.

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn refusal(line: &str) -> String {
    let error = parse(line).unwrap_err();
    assert!(error.use_stderr(), "{line}");
    error.to_string()
}

#[test]
fn clap_finds_no_contradiction() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_an_example_in_its_help() {
    for verb in Cli::command().get_subcommands_mut() {
        let name = verb.get_name().to_owned();
        let help = verb.render_long_help().to_string();
        assert!(help.contains(&format!("ringway {name}")), "{name}: {help}");
        if name != "demo" {
            assert!(help.contains("Example"), "{name}: {help}");
        }
    }
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("Exit codes:") && help.contains("ringway demo"), "{help}");
}

#[test]
fn run_takes_a_file_or_two_arguments() {
    assert!(parse("ringway run -c a.toml").is_ok());
    assert!(parse("ringway run --listen :8080 --to 10.0.0.1:80,10.0.0.2:80 --shards 2").is_ok());
    for (line, why) in [
        ("ringway run", "<--config <FILE>|--listen <ADDR>>"),
        ("ringway run --listen :80", "--to <ADDR,ADDR>"),
        ("ringway run --to 1.2.3.4:5", "--listen <ADDR>"),
        ("ringway run --to 1.2.3.4:5 -c a.toml", "cannot be used with"),
        ("ringway run -c a.toml --listen :80 --to :81", "cannot be used with"),
        ("ringway run -c a.toml --shards 2", "cannot be used with"),
        ("ringway run --listen :80 --to :81 --shards 0", "0 is not in 1..=1024"),
        ("ringway run --listen web:80 --to :81", "`web` is a name"),
        ("ringway print -c a.toml", "--effective"),
        ("ringway check", "--config <FILE>"),
        ("ringway reload --admin run/admin.sock", "isn't a unix socket"),
        ("ringway reload --admin unix:/a -c b", "cannot be used with"),
        ("ringway stop --drain=soon", "soon"),
        ("ringway xdp detach", "--interface <NAME>|--config <FILE>"),
        ("ringway", "Usage"),
        ("ringway rum", "run"),
    ] {
        let text = refusal(line);
        assert!(text.contains(why), "{line}: {text}");
    }
}

#[test]
fn addresses_are_numbers_and_a_bare_port_means_everywhere() {
    for right in [":80", "[::1]:80", "10.0.0.1:80"] {
        let line = format!("ringway run --listen {right} --to {right}");
        assert!(parse(&line).is_ok(), "{right}");
    }
    for wrong in ["80", "1.2.3.4", ":", ":65536", "[::1]", "1.2.3.4:-1"] {
        let text = refusal(&format!("ringway run --listen {wrong} --to :1"));
        assert!(text.contains(&format!("`{wrong}` isn't an address and port")), "{text}");
    }
    let text = refusal("ringway run --listen :80 --to app-1.example.com:80");
    assert!(
        text.contains("`app-1.example.com` is a name, and names aren't supported yet"),
        "{text}"
    );
}

#[test]
fn the_socket_comes_from_the_argument_the_file_or_the_default() {
    let socket = |line: &str| match parse(line).unwrap().verb {
        Verb::Reload(args) => args.socket(),
        _ => unreachable!("only reload is asked"),
    };
    assert_eq!(socket("ringway reload").unwrap(), PathBuf::from(ADMIN_DEFAULT));
    let given = PathBuf::from("/tmp/a.sock");
    assert_eq!(socket("ringway reload --admin unix:/tmp/a.sock").unwrap(), given);
    assert_eq!(socket("ringway reload --admin /tmp/a.sock").unwrap(), given);
    let file = env::temp_dir().join(format!("ringway-cli-{}.toml", std::process::id()));
    let line = format!("ringway reload -c {}", file.display());
    let base = "version = 1\n[listener.web]\naddress = '127.0.0.1:80'\n";
    std::fs::write(&file, format!("{base}[admin]\nlisten = 'unix:/tmp/b.sock'\n")).unwrap();
    let found = socket(&line);
    std::fs::write(&file, base).unwrap();
    let none = socket(&line).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    let missing = socket(&line).unwrap_err();
    assert_eq!(found.unwrap(), PathBuf::from("/tmp/b.sock"));
    assert_eq!(none.exit_code(), 2);
    assert!(none.to_string().contains("has no [admin] listen"), "{none}");
    assert_eq!(missing.exit_code(), 3);
}

#[test]
fn verbs_fail_with_their_exit_code() {
    let run = |line: &str| {
        let arguments = line.split_whitespace().map(OsString::from);
        match dispatch(arguments, &mut Vec::new()).unwrap_err() {
            Failure::Verb(error) => error,
            Failure::Arguments(error) => unreachable!("{error}"),
        }
    };
    for verb in ["status", "reload", "stop", "stop --drain", "stop --drain=1s"] {
        let error = run(&format!("ringway {verb} --admin unix:/nonexistent/admin.sock"));
        assert_eq!(error.exit_code(), 4, "{error}");
        assert!(error.to_string().contains("is it running?"), "{error}");
    }
    for verb in ["check", "run", "print --effective", "status", "doctor"] {
        let error = run(&format!("ringway {verb} -c /nonexistent.toml"));
        assert_eq!(error.exit_code(), 3, "{error}");
    }
    let error = run("ringway run --listen 127.0.0.1:80 --to 127.0.0.1:81,127.0.0.1:81");
    assert_eq!(error.exit_code(), 2, "{error}");
}
