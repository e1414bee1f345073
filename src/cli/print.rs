//! `ringway print --effective -c FILE`: the configuration with every default written out.
//!
//! The text is TOML that means the same as the file and whatever it includes; warnings come as
//! comments at its head. It can be saved and used in the file's place.

use std::io::Write;
use std::path::Path;

use ringway::config;

use super::check::ConfigVerbError;

/// Writes the effective configuration of the file.
pub(crate) fn print_effective(path: &Path, out: &mut impl Write) -> Result<(), ConfigVerbError> {
    let config = config::load(path)?;
    writeln!(out, "# {} with every default.", path.display())?;
    for warning in &config.warnings {
        writeln!(out, "# warning: {warning}")?;
    }
    out.write_all(config::render(&config).as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_means_the_same() {
        let path = std::env::temp_dir().join(format!("ringway-print-{}.toml", std::process::id()));
        std::fs::write(&path, "version = 1\n[listener.web]\naddress = '127.0.0.1:80'\n").unwrap();
        let mut out = Vec::new();
        let result = print_effective(&path, &mut out);
        let read = config::load(&path);
        std::fs::remove_file(&path).unwrap();
        result.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("# warning: ") && text.contains("header_timeout = \"10s\""),
            "{text}"
        );
        let mut printed = config::parse("printed", &text).unwrap();
        printed.warnings = read.as_ref().unwrap().warnings.clone();
        assert_eq!(printed, read.unwrap());
    }
}
