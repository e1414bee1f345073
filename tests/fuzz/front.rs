//! The seeded run over PROXY headers and ClientHellos: good ones from the grammar, then mutated.

use crate::{codec::run, front_invariants, random::Random};

#[test]
fn proxy_headers_mean_the_same_however_they_arrive() {
    let (cases, accepted) =
        run(|random| (proxy_header(random), Box::new(front_invariants::check_proxy_header)));
    assert!(
        cases < 1000 || (accepted * 10 > cases && accepted * 10 < cases * 9),
        "{accepted} of {cases}"
    );
}

#[test]
fn client_hellos_mean_the_same_however_they_arrive() {
    let (cases, accepted) =
        run(|random| (client_hello(random), Box::new(front_invariants::check_client_hello)));
    assert!(
        cases < 1000 || (accepted * 10 > cases && accepted * 10 < cases * 9),
        "{accepted} of {cases}"
    );
}

fn proxy_header(random: &mut Random) -> Vec<u8> {
    let mut wire = if random.once_in(2) { line(random) } else { binary(random) };
    wire.extend_from_slice(random.pick(&[&b""[..], b"x", b"\r\n", b"GET / HTTP/1.1\r\n"]));
    mutate(&mut wire, random);
    wire
}

fn line(random: &mut Random) -> Vec<u8> {
    let mut words = vec![random.pick(&["TCP4", "TCP4", "TCP6", "UNKNOWN", "UDP4"])];
    let addresses: &[&str] = if words[0] == "TCP6" {
        &["::1", "2001:db8::7", "::ffff:1.2.3.4", "fe80::1%2"]
    } else {
        &["192.0.2.1", "255.255.255.255", "0.0.0.0", "999.1.1.1"]
    };
    words.push(random.pick(addresses));
    words.push(random.pick(addresses));
    let ports: &[&str] = &["0", "1", "443", "65535", "65536", "01"];
    words.push(random.pick(ports));
    words.push(random.pick(ports));
    format!("PROXY {}\r\n", words.join(" ")).into_bytes()
}

fn binary(random: &mut Random) -> Vec<u8> {
    let mut wire = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    wire.push(*random.pick(&[&0x21, &0x21, &0x20, &0x11]));
    let family = *random.pick(&[&0x11, &0x21, &0x12, &0x22, &0x00, &0x31, &0x13]);
    wire.push(family);
    let mut rest = vec![1; [0, 12, 36, 216][usize::from(family >> 4)]];
    for _ in 0..random.below(4) {
        let kind = *random.pick(&[&1, &2, &4, &5, &0x20, &0xea]);
        let length = random.below(20);
        rest.push(kind);
        rest.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        rest.extend(std::iter::repeat_n(b'v', length));
    }
    wire.extend_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
    wire.extend_from_slice(&rest);
    wire
}

fn client_hello(random: &mut Random) -> Vec<u8> {
    let mut extensions = Vec::new();
    for _ in 0..random.below(5) {
        let (kind, content) = match random.below(5) {
            0 => (0, name_list(random)),
            1 => (16, protocol_list(random)),
            2 => (0xfe0d, vec![0; random.below(300)]),
            3 => (51, vec![9; random.below(1500)]),
            _ => (0x1a1a, vec![]),
        };
        extensions.extend_from_slice(&u16::to_be_bytes(kind));
        extensions.extend_from_slice(&block16(&content));
    }
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&block16(&extensions));
    let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message[0] = 1;
    message.extend_from_slice(&body);
    let size = [16_384, 500, 60, 1 + random.below(9)][random.below(4)];
    let mut wire = Vec::new();
    for piece in message.chunks(size) {
        wire.extend_from_slice(&[22, 3, 1]);
        wire.extend_from_slice(&block16(piece));
    }
    mutate(&mut wire, random);
    wire
}

fn name_list(random: &mut Random) -> Vec<u8> {
    let name = random.pick(&[&b"a.test"[..], b"WWW.example.com", b"", b"a b", &[b'x'; 254]]);
    block16(&[&[0][..], &block16(name)].concat())
}

fn protocol_list(random: &mut Random) -> Vec<u8> {
    let list = random.pick(&[&b"\x02h2\x08http/1.1"[..], b"\x02\x1a\x1a\x02h2", b"\0", b"\x05h2"]);
    block16(list)
}

fn block16(content: &[u8]) -> Vec<u8> {
    let mut block = u16::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    block.extend_from_slice(content);
    block
}

fn mutate(wire: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..[0, 0, 0, 1, 2][random.below(5)] {
        let at = random.below(wire.len().max(1));
        match random.below(4) {
            0 if !wire.is_empty() => wire[at] ^= 1 << random.below(8),
            1 if !wire.is_empty() => drop(wire.remove(at)),
            2 => wire.insert(at, u8::try_from(random.below(256)).unwrap()),
            _ => wire.truncate(at),
        }
    }
}
