//! What the codec costs a message, beside httparse on the same bytes.
//!
//! `cargo bench --bench codec`. httparse only finds the pieces and borrows them; ours also checks
//! Host, target form and name ids and owns its bytes afterwards, which is what a proxy needs, so
//! equal times are a win. Not here: I/O, routing (bench/micro/relay, bench/load).

#[path = "codec_h2.rs"]
mod codec_h2;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::protocol::{
    h1::{
        BodyDecoder, ConnectionHeader, HeadLimits, encode_request, encode_response, parse_request,
        parse_response, request_keeps_alive, upgrade_requested,
    },
    http::{
        Framing, Method, Name, RequestHead, ResponseHead, forwarded::AddressText, request_framing,
        response_framing, strip_request_hops, strip_response_hops, uri::normalized_path,
    },
};
use std::{hint::black_box, net::IpAddr};

const WRK: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

const CURL: &[u8] =
    b"GET /api/v1/things?limit=10 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /products/42?ref=home HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Referer: https://www.example.com/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\r\n";

const NGINX: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 1024\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Connection: keep-alive\r\nETag: \"2ebcd1-400\"\r\nAccept-Ranges: bytes\r\n\r\n";

fn heads(c: &mut Criterion) {
    let limits = HeadLimits::default();
    for (name, wire) in [("wrk", WRK), ("curl", CURL), ("browser", BROWSER)] {
        let mut group = c.benchmark_group(format!("request-{name}"));
        group.throughput(Throughput::Bytes(wire.len() as u64));
        let mut head = RequestHead::new();
        group.bench_function("ringway", |b| {
            b.iter(|| {
                parse_request(black_box(wire), &limits, &mut head)
                    .map(|_| black_box(head.headers.len()))
            });
        });
        group.bench_function("httparse", |b| {
            b.iter(|| {
                let mut fields = [httparse::EMPTY_HEADER; 64];
                let mut request = httparse::Request::new(&mut fields);
                request.parse(black_box(wire)).map(|_| black_box(request.headers.len()))
            });
        });
        group.finish();
    }
    let mut group = c.benchmark_group("response-nginx");
    group.throughput(Throughput::Bytes(NGINX.len() as u64));
    let mut head = ResponseHead::new();
    group.bench_function("ringway", |b| {
        b.iter(|| {
            parse_response(black_box(NGINX), &limits, &mut head)
                .map(|_| black_box(head.headers.len()))
        });
    });
    group.bench_function("httparse", |b| {
        b.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut fields);
            response.parse(black_box(NGINX)).map(|_| black_box(response.headers.len()))
        });
    });
    group.finish();
}

/// Everything that the codec does for one exchange without bodies.
fn exchanges(c: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut group = c.benchmark_group("exchange");
    for (name, wire) in [("wrk", WRK), ("browser", BROWSER)] {
        let (mut request, mut response) = (RequestHead::new(), ResponseHead::new());
        let client = IpAddr::from([192, 0, 2, 1]);
        let (mut to_upstream, mut to_client) = (Vec::new(), Vec::new());
        group.bench_function(name, |b| {
            b.iter(|| {
                to_upstream.clear();
                to_client.clear();
                parse_request(black_box(wire), &limits, &mut request).ok();
                let framing = request_framing(&request).unwrap_or_default();
                black_box((request_keeps_alive(&request), upgrade_requested(&request)));
                strip_request_hops(&mut request.headers).ok();
                forward(&mut request, black_box(client));
                encode_request(&request, framing, &mut to_upstream);
                parse_response(black_box(NGINX), &limits, &mut response).ok();
                let framing = response_framing(&response, Method::Get).unwrap_or_default();
                strip_response_hops(&mut response.headers);
                encode_response(
                    &response,
                    framing,
                    ConnectionHeader::Implied,
                    None,
                    &mut to_client,
                );
                black_box((to_upstream.len(), to_client.len()))
            });
        });
    }
    group.finish();
}

/// The forwarding fields that every request gets.
fn forward(request: &mut RequestHead, client: IpAddr) {
    let headers = &mut request.headers;
    headers.append_known(Name::XForwardedFor, AddressText::new(client)).ok();
    headers.append_known(Name::XForwardedProto, "http").ok();
    headers.append_copy(Name::XForwardedHost, Name::Host).ok();
}

fn bodies(c: &mut Criterion) {
    let mut chunked = Vec::new();
    for _ in 0..16 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.resize(chunked.len() + 4096, b'x');
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    c.bench_function("body-16-chunks-of-4096", |b| {
        b.iter(|| {
            let mut decoder = BodyDecoder::new(Framing::Chunked);
            let (mut at, mut data) = (0, 0);
            while let Ok(decoded) = decoder.decode(black_box(&chunked[at..])) {
                at += decoded.consumed;
                data += decoded.data.len();
                if decoded.done {
                    break;
                }
            }
            black_box(data)
        });
    });
    let mut scratch = String::new();
    c.bench_function("path-normal", |b| {
        b.iter(|| normalized_path(black_box("/products/42/reviews"), &mut scratch).map(str::len));
    });
}

criterion_group!(benches, heads, exchanges, bodies, codec_h2::exchanges);
criterion_main!(benches);
