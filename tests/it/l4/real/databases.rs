//! Sessions of Redis and PostgreSQL.

use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    l4::L4,
    proxy::rig::{on_both, own_address},
    real::{Server, is_there, missing, ran, said},
    scratch::Scratch,
};

#[test]
fn redis_answers_big_values_and_pipelines() {
    for program in ["redis-server", "redis-cli"] {
        if !is_there(program) {
            return missing(program);
        }
    }
    on_both(|driver| {
        let (scratch, address) = (Scratch::new(), own_address());
        let _server = Server::start(
            Command::new("redis-server")
                .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
                .args(["--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir"])
                .arg(scratch.directory()),
            address,
        );
        let l4 = L4::tcp(&[address]);
        let _rig = l4.start(driver);
        let cli = |args: &[&str], input: &[u8]| {
            let (host, port) = (l4.address.ip().to_string(), l4.address.port().to_string());
            said(Command::new("redis-cli").args(["-h", &host, "-p", &port]).args(args), input)
        };
        let big = "0123456789abcdef".repeat(512 << 10);
        assert_eq!(cli(&["-x", "SET", "big"], big.as_bytes()), "OK\n");
        assert!(cli(&["GET", "big"], b"").trim_end() == big, "8 MiB come back");
        let many: String = (0..20_000).map(|n| format!("SET key:{n} {n}\r\n")).collect();
        let told = cli(&["--pipe"], many.as_bytes());
        assert!(told.contains("errors: 0, replies: 20000"), "{told}");
        assert_eq!(cli(&["DBSIZE"], b""), "20001\n");
    });
}

#[test]
fn postgresql_answers_queries_and_copies_both_ways() {
    let Some(programs) = postgresql() else { return missing("postgresql") };
    if !is_there("psql") {
        return missing("psql");
    }
    let (scratch, address) = (Scratch::new(), own_address());
    let mut server = database(&programs, &scratch, address);
    on_both(|driver| {
        let l4 = L4::tcp(&[address]);
        let _rig = l4.start(driver);
        let psql = |sql: &str, input: &[u8]| said(&mut client(l4.address, sql), input);
        let table = format!("rows_{driver}");
        psql(&format!("create table {table} (n int, words text)"), b"");
        let rows: String = (0..20_000).map(|n| format!("{n}\t{}\n", "word ".repeat(20))).collect();
        psql(&format!("copy {table} from stdin"), rows.as_bytes());
        assert_eq!(
            psql(&format!("select count(*), sum(n) from {table}"), b""),
            "20000|199990000\n"
        );
        assert!(psql(&format!("copy (select * from {table} order by n) to stdout"), b"") == rows);
    });
    // At once, and its children with it (immediate shutdown).
    server.signal("QUIT");
    server.wait();
}

/// One query by psql.
fn client(address: SocketAddr, sql: &str) -> Command {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new("psql");
    command.args(["-h", &host, "-p", &port, "-U", "tester", "-d", "postgres", "-XqAt"]);
    command.args(["-v", "ON_ERROR_STOP=1", "-c", sql]);
    command
}

/// A new database that answers at `address`.
fn database(programs: &Path, scratch: &Scratch, address: SocketAddr) -> Server {
    let data = scratch.path("data");
    fs::create_dir(&data).unwrap();
    let owner = unprivileged(&data);
    let as_owner = |program: &str| {
        let mut command = Command::new(programs.join(program));
        command.current_dir("/").env("LC_ALL", "C");
        if let Some((user, group)) = owner {
            command.uid(user).gid(group);
        }
        command
    };
    let mut initdb = as_owner("initdb");
    said(initdb.args(["--no-sync", "-A", "trust", "-U", "tester", "-D"]).arg(&data), b"");
    let hosts = "host all all 127.0.0.0/8 trust\n";
    fs::write(data.join("pg_hba.conf"), hosts).unwrap();
    let server = Server::start(
        as_owner("postgres")
            .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()])
            .args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-D"])
            .arg(&data),
        address,
    );
    // It listens before it has started up, and refuses queries until then.
    let is_ready = |_| ran(&mut client(address, "select 1"), b"").status.success();
    assert!((0..500).any(is_ready), "the database doesn't start up");
    server
}

/// Where the server's programs are: in the path, or where Debian puts them.
fn postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let is_it =
        |place: &PathBuf| ["initdb", "postgres"].iter().all(|name| place.join(name).exists());
    places.into_iter().find(is_it)
}

/// The server refuses to be root: makes `data` the property of user `postgres`, and says who that is.
fn unprivileged(data: &Path) -> Option<(u32, u32)> {
    let id =
        |args: &[&str]| -> u32 { said(Command::new("id").args(args), b"").trim().parse().unwrap() };
    if id(&["-u"]) != 0 {
        return None;
    }
    let owner = (id(&["-u", "postgres"]), id(&["-g", "postgres"]));
    chown(data, Some(owner.0), Some(owner.1)).unwrap();
    Some(owner)
}
