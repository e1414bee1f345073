//! `ringway cert list`: certificates, of a running ringway or of a config file.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use ringway::{
    config,
    control::{client::AdminClient, status::CertificateStatus},
    runtime, server,
};

use crate::cli::{ADMIN_DEFAULT, Error, parse_admin, table::Table};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringway cert list")]
pub(super) struct CertArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List certificates with their names and how long they are good.
    #[command(
        after_help = "Examples:\n  ringway cert list\n  ringway cert list -c /etc/ringway/ringway.toml\n  \
        ringway cert list --json | jq '.[] | select(.expires_in < 864000) | .file'"
    )]
    List(ListArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The admin socket of the running ringway. Default: unix:/run/ringway/admin.sock.
    #[arg(long, value_name = "unix:PATH", value_parser = parse_admin)]
    admin: Option<PathBuf>,
    /// Read the files that this config file names, and ask nobody.
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

/// Does what is asked about certificates.
pub(super) fn cert(args: &CertArgs, out: &mut impl Write) -> Result<(), Error> {
    let Verb::List(args) = &args.verb;
    let certificates = match &args.config {
        Some(file) => {
            let now = runtime::wall_now_uncached();
            let views = server::list_certificates(&config::load(file)?)?;
            views.iter().map(|view| CertificateStatus::new(view, now)).collect()
        }
        None => {
            let socket = args.admin.clone().unwrap_or_else(|| PathBuf::from(ADMIN_DEFAULT));
            AdminClient::new(socket).status()?.certificates
        }
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &certificates).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write(&certificates, out)?;
    }
    Ok(())
}

fn write(certificates: &[CertificateStatus], out: &mut impl Write) -> io::Result<()> {
    if certificates.is_empty() {
        return writeln!(out, "no listener has certificates");
    }
    let heading = ["listener", "names", "issuer", "expires", "left", "ocsp", "clients", "file"];
    let mut table = Table::new(&heading);
    for certificate in certificates {
        let default = if certificate.default { " (default)" } else { "" };
        table.row([
            certificate.listener.clone(),
            format!("{}{default}", certificate.names.join(", ")),
            certificate.issuer.clone(),
            certificate.not_after.clone(),
            left(certificate.expires_in),
            if certificate.ocsp { "stapled" } else { "no" }.to_owned(),
            certificate.client_auth.clone(),
            certificate.file.clone(),
        ]);
    }
    table.write(out)
}

/// How long a certificate is good, roughly.
fn left(seconds: i64) -> String {
    let hours = seconds.unsigned_abs() / 3_600;
    match (seconds < 0, hours) {
        (true, _) => "expired".to_owned(),
        (false, 0..48) => format!("{hours} h"),
        (false, _) => format!("{} d", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_roughly() {
        assert_eq!(left(-1), "expired");
        assert_eq!(left(3_599), "0 h");
        assert_eq!(left(47 * 3_600), "47 h");
        assert_eq!(left(30 * 86_400 + 5), "30 d");
    }

    #[test]
    fn a_certificate_is_a_row() {
        let certificate = CertificateStatus {
            listener: "web".to_owned(),
            file: "/etc/web.pem".to_owned(),
            names: vec!["a.test".to_owned(), "*.a.test".to_owned()],
            subject: "CN=a.test".to_owned(),
            issuer: "CN=ca".to_owned(),
            serial: "1".to_owned(),
            not_before: "2026-01-01T00:00:00.000Z".to_owned(),
            not_after: "2027-01-01T00:00:00.000Z".to_owned(),
            expires_in: 86_400 * 38,
            default: true,
            ocsp: false,
            client_auth: "off".to_owned(),
        };
        let mut out = Vec::new();
        write(&[certificate], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row = "web       a.test, *.a.test (default)  CN=ca   2027-01-01T00:00:00.000Z  38 d  no    \
                   off      /etc/web.pem";
        assert_eq!(text.lines().nth(2), Some(row), "{text}");
    }
}
