//! Mail by curl: a protocol in which the server speaks first.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::Command,
    sync::mpsc,
};

use crate::{
    l4::{L4, PATIENCE, endpoint},
    proxy::rig::on_both,
    real::{is_there, missing, said},
};

#[test]
fn a_mail_arrives() {
    if !is_there("curl") {
        return missing("curl");
    }
    on_both(|driver| {
        let (tell, told) = mpsc::channel();
        let server = endpoint(move |stream| tell.send(take_mail(stream)).unwrap());
        // A PROXY header may come, and doesn't: the server's word has to wait for that.
        let optional = "proxy_protocol = { from = ['127.0.0.0/8'], required = false }\n\
                        limits.header_timeout = '100ms'";
        for lines in ["", optional] {
            let l4 = L4::new("tcp", &[server], lines, "", "");
            let _rig = l4.start(driver);
            let mail: String = (0..2_000).map(|line| format!("line {line}\r\n")).collect();
            let url = format!("smtp://{}/client.test", l4.address);
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--max-time", "20", &url, "-T", "-"]);
            curl.args(["--mail-from", "a@a.test", "--mail-rcpt", "b@b.test"]);
            said(&mut curl, mail.as_bytes());
            assert!(told.recv_timeout(PATIENCE).unwrap() == mail);
        }
    });
}

/// As much of RFC 5321 as one mail needs.
fn take_mail(stream: TcpStream) -> String {
    let mut to = stream.try_clone().unwrap();
    let mut say = |line: &str| to.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream);
    let mut next = || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    };
    say("220 own.test");
    let mut mail = String::new();
    loop {
        let line = next();
        match line.get(..4).unwrap_or("") {
            "DATA" => {
                say("354 go on");
                loop {
                    let line = next();
                    if line == ".\r\n" {
                        break;
                    }
                    mail += &line;
                }
                say("250 taken");
            }
            "QUIT" => {
                say("221 bye");
                return mail;
            }
            "" => return mail,
            _ => say("250 ok"),
        }
    }
}
