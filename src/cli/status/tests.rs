//! What people see.

use super::*;

const STATUS: &str = r#"{
  "version": "0.1.0", "pid": 42, "phase": "serving",
  "started_at": "2026-11-24T14:56:02.000Z", "uptime": 93784.2,
  "driver": "io_uring", "driver_reason": "io_uring: all features",
  "config": { "source": "/etc/ringway/ringway.toml", "generation": 3,
    "applied_at": "2026-11-24T15:00:00.000Z", "reloads": 2, "reloads_failed": 1,
    "last_error": "ringway.toml:3:16: no\nringway.toml:4:1: nor" },
  "xdp": { "interface": "eth0", "mode": "generic", "reason": "the driver has no XDP",
    "exits": { "nat": 5000, "no_real": 0, "not_vip": 12 }, "events": { "flow_hit": 4000 },
    "vips": [ { "listener": "db", "address": "192.0.2.1:80", "packets": 5000, "bytes": 3145728,
      "flows": 100 } ],
    "endpoints": [
      { "listener": "db", "address": "10.0.0.1:8080", "state": "up", "fault": "",
        "packets": 5000, "bytes": 3145728, "flows": 100 },
      { "listener": "db", "address": "10.0.0.2:8080", "state": "draining",
        "fault": "no link address yet", "packets": 0, "bytes": 0, "flows": 0 } ] },
  "window": 3.2, "requests": 1234567, "requests_per_second": 12345.6,
  "latency": { "p50": 0.314, "p90": 0.9, "p99": 2.5, "p999": 1500.0 },
  "recent_latency": null,
  "shards": [
    { "cpu": 0, "load": 0.423, "requests_per_second": 6000.4, "connections": 12,
      "buffers_in_use": 3, "leases_in_use": 0, "ops_in_flight": 20 },
    { "cpu": null, "load": 1.0, "requests_per_second": 0.25, "connections": 1012,
      "buffers_in_use": 30, "leases_in_use": 1, "ops_in_flight": 2000 } ],
  "listeners": [ { "name": "web", "protocol": "https", "alpn": ["h2", "http/1.1"], "addresses": ["0.0.0.0:80", "[::]:80"], "open": 1024,
    "accepted": 99999, "refused": 0 } ],
  "routes": [
    { "name": "api", "upstream": "app", "requests": 1200000, "client_errors": 17,
      "server_errors": 1, "latency": { "p50": 0.3, "p90": 1.0, "p99": 2.0, "p999": 3.0 } },
    { "name": "ping", "upstream": "", "requests": 5, "client_errors": 0, "server_errors": 0,
      "latency": null },
    { "name": "-", "upstream": "", "requests": 34567, "client_errors": 34567,
      "server_errors": 0, "latency": null } ],
  "upstreams": [ { "name": "app", "protocol": "auto", "policy": "least_request", "available": 1,
    "reuse_ratio": 0.99921, "retries": 12, "retry_budget_exhausted": 3,
    "endpoints": [
      { "address": "10.0.0.1:8080", "spoken": "h2", "state": "healthy", "reason": "status 200", "weight": 2,
        "backup": false, "in_flight": 7, "connections": 20, "idle": 13, "requests": 700000,
        "failures": 0, "ejections": 0 },
      { "address": "10.0.0.2:8080", "state": "unhealthy", "reason": "connect refused",
        "weight": 1, "backup": true, "in_flight": 0, "connections": 0, "idle": 0,
        "requests": 500000, "failures": 12, "ejections": 1 } ] } ],
  "access_log": { "lines": 1234567, "lost": 89 }
}"#;

#[test]
fn the_tables_show_it_all() {
    let status: Status = serde_json::from_str(STATUS).unwrap();
    let mut out = Vec::new();
    write(&status, &mut out).unwrap();
    let expected = "\
ringway 0.1.0, pid 42, serving, up 1 d 2 h
driver    io_uring (all features)
xdp       generic on eth0 (the driver has no XDP)
config    /etc/ringway/ringway.toml, generation 3 since 2026-11-24T15:00:00.000Z
          the last reload failed: ringway.toml:3:16: no
          ringway.toml:4:1: nor
traffic   12,346/s over the last 3 s, 1,234,567 in all
latency   p50 0.31 ms  p90 0.90 ms  p99 2.50 ms  p99.9 1.50 s  since the start
access log: 89 of 1,234,567 lines lost

SHARD  CPU   LOAD  REQUESTS/S  CONNECTIONS  BUFFERS  LEASES
    0    0   42 %       6,000           12        3       0
    1    -  100 %         0.2        1,012       30       1

LISTENER  PROTOCOL            OPEN  ACCEPTED  REFUSED  ADDRESS
web       https h2 http/1.1  1,024    99,999        0  0.0.0.0:80 [::]:80

ROUTE           UPSTREAM   REQUESTS     4XX  5XX      P50      P99
api             app       1,200,000      17    1  0.30 ms  2.00 ms
ping            -                 5       0    0        -        -
(none matched)  -            34,567  34,567    0        -        -

PACKETS TO    LISTENER  FLOWS  PACKETS  BYTES
192.0.2.1:80  db          100    5,000   3MiB

FORWARDED TO   LISTENER  STATE     FLOWS  PACKETS  BYTES  FAULT
10.0.0.1:8080  db        up          100    5,000   3MiB  -
10.0.0.2:8080  db        draining      0        0      0  no link address yet

EXIT     PACKETS
nat        5,000
not_vip       12

upstream app: auto, least_request, 1 of 2 available, 99.92 % of requests on a kept connection, 12 retries \
(3 more over budget)
ENDPOINT                STATE      IN FLIGHT  OPEN  IDLE  REQUESTS  FAILED  EJECTED  REASON
10.0.0.1:8080 x2 h2     healthy            7    20    13   700,000       0        0  status 200
10.0.0.2:8080 (backup)  unhealthy          0     0     0   500,000      12        1  connect refused
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn numbers_read_well() {
    assert_eq!(
        [0, 999, 1_000, 1_234_567].map(count),
        ["0", "999", "1,000", "1,234,567"].map(str::to_owned)
    );
    assert_eq!([0.0, 0.04, 9.94, 12_345.6].map(rate), ["0.0", "0.0", "9.9", "12,346"]);
    assert_eq!(
        [59.0, 61.0, 3_700.0, 90_000.0].map(ago),
        ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
    );
}
