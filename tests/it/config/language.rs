//! What right files mean.

use ringway::config::{
    AccessFormat, Action, BalancePolicy, Config, HostPattern, LogField, LogPiece, PathPattern,
    Piece, RetryCause, Segment, Variable,
};

use super::{LEAST, read};

#[test]
fn the_acceptance_scenarios_load() {
    let basic = scenario("{ body = 'unlimited' }", ONE, BASIC);
    assert_eq!(basic.routes.len(), 2);
    assert!(basic.routes[0].upgrade && !basic.routes[1].upgrade);
    assert_eq!(basic.routes[0].retry.attempts, 0);
    assert_eq!(basic.listeners[0].limits.body, None);
    assert_eq!(basic.runtime.user.as_deref(), Some("root"));
    assert_eq!(basic.runtime.shards.len(), 2);

    scenario("{ body = 'unlimited' }", ONE, WS);
    let limits = "{ body = 'unlimited', header_timeout = '3s', body_timeout = '3s', write_timeout = '3s', idle = '60s' }";
    scenario(limits, ONE, "[[route]]\nname = 'all'\nmatch = { path = '/*' }\nupstream = 'main'");
    let lb = scenario("{ body = 'unlimited' }", POOL, LB);
    assert_eq!(lb.upstreams[0].endpoints.len(), 3);
    assert!(lb.routes[1].retry.on.contains(RetryCause::Status504));
    assert_eq!(lb.routes[1].retry.attempts, 2);
}

#[test]
fn paths_are_exact_prefixes_or_patterns() {
    let route = read(&format!(
        "{LEAST}match = {{ path = ['/a', '/v1/*', '/*', '/users/*/posts', '/t/*/x/*', '/a/'] }}"
    ))
    .unwrap()
    .routes
    .remove(0);
    let literal = |text: &str| Segment::Literal(text.to_owned());
    assert_eq!(
        route.matches.paths,
        [
            PathPattern::Exact("/a".to_owned()),
            PathPattern::Prefix("/v1".to_owned()),
            PathPattern::Prefix(String::new()),
            PathPattern::Pattern {
                segments: vec![literal("users"), Segment::Any, literal("posts")],
                rest: false
            },
            PathPattern::Pattern {
                segments: vec![literal("t"), Segment::Any, literal("x")],
                rest: true
            },
            PathPattern::Exact("/a/".to_owned()),
        ]
    );
}

#[test]
fn hosts_are_exact_or_suffixes_in_lower_case() {
    let text = format!(
        "{LEAST}match = {{ host = ['API.Example.com', '*.example.com', '[::1]', '192.0.2.1'] }}"
    );
    let hosts = read(&text).unwrap().routes.remove(0).matches.hosts;
    assert_eq!(
        hosts,
        [
            HostPattern::Exact("api.example.com".to_owned()),
            HostPattern::Suffix(".example.com".to_owned()),
            HostPattern::Exact("[::1]".to_owned()),
            HostPattern::Exact("192.0.2.1".to_owned()),
        ]
    );
}

#[test]
fn one_string_stands_for_a_list_of_one() {
    let one = "match = { host = 'a.example', path = '/a', method = 'GET' }\nlistener = 'web'";
    let list =
        "match = { host = ['a.example'], path = ['/a'], method = ['GET'] }\nlistener = ['web']";
    assert_eq!(read(&format!("{LEAST}{one}")), read(&format!("{LEAST}{list}")));
}

#[test]
fn names_become_indices() {
    let text = format!(
        "{LEAST}filters = ['b', 'a']\nlistener = ['web', 'admin']\n
        [listener.admin]\naddress = '127.0.0.1:81'
        [filter.a]\ntype = 'request_id'\n[filter.b]\ntype = 'rate_limit'\nrate = '1/s'"
    );
    let config = read(&text).unwrap();
    let names: Vec<&str> =
        config.routes[0].filters.iter().map(|index| config.filters[*index].name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    let names: Vec<&str> = config.routes[0]
        .listeners
        .iter()
        .flatten()
        .map(|index| config.listeners[*index].name.as_str())
        .collect();
    assert_eq!(names, ["web", "admin"]);
    assert_eq!(config.routes[0].action, Action::Upstream(0));
}

#[test]
fn templates_are_literals_and_variables() {
    let pieces = |text: &str| {
        let text = format!("{LEAST}headers.request.set.x = '{text}'");
        read(&text).unwrap().routes.remove(0).request_headers.set.remove(0).1.pieces
    };
    let literal = |text: &str| Piece::Literal(text.to_owned());
    assert_eq!(
        pieces("a${host}${path.rest}b"),
        [
            literal("a"),
            Piece::Variable(Variable::Host),
            Piece::Variable(Variable::PathRest),
            literal("b")
        ]
    );
    assert_eq!(pieces("cost: 5$ or $${host}"), [literal("cost: 5$ or ${host}")]);
    assert_eq!(pieces(""), []);
}

#[test]
fn an_access_log_can_have_a_template() {
    let text = format!(
        "{LEAST}[log]\naccess = {{ path = '/a/b', format = '${{status}} ${{client_ip}}' }}"
    );
    let access = read(&text).unwrap().log.access.unwrap();
    let expected = vec![
        LogPiece::Field(LogField::Status),
        LogPiece::Literal(" ".to_owned()),
        LogPiece::Field(LogField::ClientIp),
    ];
    assert_eq!(access.format, AccessFormat::Template(expected));
}

#[test]
fn a_balancer_can_be_a_word() {
    let text =
        format!("{LEAST}[upstream.b]\nendpoints = ['10.0.0.1:80']\nbalance = 'least_request'");
    let upstream = read(&text).unwrap().upstreams.remove(1);
    assert_eq!(upstream.balance, BalancePolicy::LeastRequest { choices: 2 });
}

#[test]
fn shards_are_a_count_a_list_or_auto() {
    for (shards, expected) in [
        ("'auto'", vec![0, 1, 2, 3]),
        ("2", vec![0, 1]),
        ("6", vec![0, 1, 2, 3, 4, 5]),
        ("10", vec![0, 1, 2, 3, 4, 5, 6, 7, 0, 1]),
        ("'0-2,7'", vec![0, 1, 2, 7]),
    ] {
        let config = read(&format!("{LEAST}[runtime]\nshards = {shards}")).unwrap();
        assert_eq!(config.runtime.shards, expected, "{shards}");
    }
}

#[test]
fn priority_or_another_listener_resolves_a_tie() {
    let second = "[[route]]\nname = 'second'\nupstream = 'api'\n";
    assert!(read(&format!("{LEAST}{second}")).is_err());
    assert!(read(&format!("{LEAST}{second}priority = 1")).is_ok());
    assert!(read(&format!("{LEAST}match.method = 'GET'\n{second}match.method = 'PUT'")).is_ok());
    assert!(read(&format!("{LEAST}match.method = 'GET'\n{second}match.method = 'GET'")).is_err());
    assert!(read(&format!("{LEAST}match.method = 'GET'\n{second}")).is_ok());
    let (one, two) = ("match.header.x = '1'", "match.header.x = '2'");
    assert!(read(&format!("{LEAST}{one}\n{second}{two}")).is_ok());
    assert!(read(&format!("{LEAST}{one}\n{second}{one}")).is_err());
    let other = "[listener.other]\naddress = '127.0.0.1:81'\n";
    assert!(read(&format!("{LEAST}listener = 'web'\n{second}listener = 'other'\n{other}")).is_ok());
    assert!(read(&format!("{LEAST}listener = 'web'\n{second}{other}")).is_err());
}

#[test]
fn ten_thousand_routes_are_read_in_a_moment() {
    let mut text = LEAST.to_owned();
    for index in 0..9_999 {
        text.push_str(&format!(
            "[[route]]\nname = 'r{index}'\nmatch = {{ path = '/r{index}/*', method = 'GET' }}\nupstream = 'u{}'\n",
            index % 1_000
        ));
    }
    for index in 0..1_000 {
        text.push_str(&format!(
            "[upstream.u{index}]\nendpoints = ['10.0.0.1:80', '10.0.0.2:80']\n"
        ));
    }
    let config = read(&text).unwrap();
    assert_eq!(config.routes.len(), 10_000);
    assert!(config.warnings.len() <= 1, "{:?}", config.warnings);
    let more = format!("{text}[[route]]\nname = 'more'\nrespond = {{}}\n");
    assert!(read(&more).unwrap_err().contains("more than 10000 routes"));
}

fn scenario(limits: &str, upstream: &str, routes: &str) -> Config {
    let text = format!(
        "version = 1
[runtime]
shards = 2
max_connections = 18000
drain_timeout = '30s'
user = 'root'
[admin]
listen = 'unix:/run/t/admin.sock'
[log]
access = {{ path = '/run/t/access.log', format = 'combined' }}
error  = {{ path = '/run/t/error.log', level = 'info' }}
[listener.http]
address = '127.0.0.1:18080'
protocol = 'http'
limits = {limits}
{upstream}
{routes}"
    );
    let config = read(&text).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    config
}

const ONE: &str = "[upstream.main]\nendpoints = ['127.0.0.1:19000']";

const POOL: &str = "[upstream.pool]
balance = { policy = 'round_robin' }
endpoints = ['127.0.0.1:19001', '127.0.0.1:19002', '127.0.0.1:19003']
health = { http = '/health', interval = '500ms', timeout = '500ms', rise = 2, fall = 2 }";

const BASIC: &str = "[[route]]
name = 'ws'
match = { path = '/ws/*' }
upstream = 'main'
upgrade = true
retry = { attempts = 0 }
timeouts = { idle = '60s' }
[[route]]
name = 'all'
match = { path = '/*' }
upstream = 'main'
upgrade = false
retry = { attempts = 0 }
timeouts = { first_byte = '5s', idle = '5s' }";

const WS: &str = "[[route]]
name = 'all'
match = { path = '/*' }
upstream = 'main'
upgrade = true
retry = { attempts = 0 }
timeouts = { idle = '60s' }";

const LB: &str = "[[route]]
name = 'long'
match = { path = ['/sse/*', '/sse', '/ws/*', '/ws'] }
upstream = 'pool'
upgrade = true
timeouts = { connect = '500ms', idle = '60s' }
[[route]]
name = 'all'
match = { path = '/*' }
upstream = 'pool'
timeouts = { connect = '500ms', first_byte = '1s', idle = '1s' }
retry = { attempts = 2, on = ['connect_failure', 'no_response', 'timeout', '502', '503', '504'] }";
