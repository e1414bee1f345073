//! Configurations of several files.

use std::fs;
use std::path::{Path, PathBuf};

use ringway::config::{self, Config};

use super::LEAST;

#[test]
fn tables_of_included_files_join_the_main_ones() {
    let folder = Folder::new("join");
    folder.write("ringway.toml", &format!("include = ['conf.d/*.toml', 'more.toml']\n{LEAST}"));
    folder.write("conf.d/10-b.toml", "[listener.b]\naddress = '127.0.0.1:81'\n");
    folder.write("conf.d/20-c.toml", "version = 1\n[upstream.c]\nendpoints = ['10.0.0.3:80']\n");
    folder.write("conf.d/notes.txt", "no TOML");
    folder.write(
        "more.toml",
        "[[route]]\nname = 'c'\nmatch.path = '/c'\nupstream = 'c'\n[log]\nerror.level = 'warn'\n",
    );
    let config = folder.load().unwrap();
    let names: Vec<&str> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["web", "b"]);
    assert_eq!(config.routes.len(), 2);
    assert_eq!(config.upstreams.len(), 2);
    assert_eq!(config.log.error.level, config::LogLevel::Warn);
}

#[test]
fn messages_point_into_the_file_they_are_about() {
    let folder = Folder::new("places");
    folder.write("ringway.toml", &format!("include = '*.conf'\n{LEAST}"));
    folder.write("a.conf", "[upstream.api]\nendpoints = []\n[runtime]\n\npin = 1\n");
    folder.write("b.conf", "[runtime]\npin = true\n[upstream.b]\nendpoints = ['10.0.0.1']\n");
    folder.write("c.conf", "include = 'd.conf'\nversion = 2\n");
    assert_eq!(
        folder.load().unwrap_err(),
        "a.conf:1:11: upstream `api`: is already at ringway.toml:5:11
b.conf:1:2: `runtime` is already at a.conf:3:2
c.conf:1:1: include works in the main file only
c.conf:2:1: `version` is already at ringway.toml:2:1"
    );
    folder.write("a.conf", "[runtime]\n\npin = 1\n");
    folder.write("b.conf", "[upstream.b]\nendpoints = ['10.0.0.1']\n");
    folder.write("c.conf", "");
    assert_eq!(
        folder.load().unwrap_err(),
        "a.conf:3:7: runtime: pin `1` isn't `true` or `false`
b.conf:2:14: upstream `b`: endpoints `10.0.0.1` has no port; did you mean `10.0.0.1:80`?"
    );
}

#[test]
fn a_pattern_may_mean_nothing_but_a_file_must_exist() {
    let folder = Folder::new("missing");
    folder.write("ringway.toml", &format!("include = ['conf.d/*.toml']\n{LEAST}"));
    assert!(folder.load().is_ok());
    folder.write("ringway.toml", &format!("include = ['x.toml', '*/x.toml', '', 3]\n{LEAST}"));
    assert_eq!(
        folder.load().unwrap_err(),
        "ringway.toml:1:12: include `x.toml`: can't be read: No such file or directory (os error 2)
ringway.toml:1:22: include `*/x.toml` has `*` or `?` before the last `/`
ringway.toml:1:34: include `` isn't a file or a pattern, such as `conf.d/*.toml`
ringway.toml:1:38: include `3` isn't a pattern, such as `conf.d/*.toml`"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_name() {
    let folder = Folder::new("unreadable");
    let error = folder.load().unwrap_err();
    assert_eq!(error, "ringway.toml:1:1: can't be read: No such file or directory (os error 2)");
    fs::write(folder.0.join("ringway.toml"), b"version = 1\n\xff").unwrap();
    assert_eq!(folder.load().unwrap_err(), "ringway.toml:1:1: isn't UTF-8 text: byte 12 is wrong");
}

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("config-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("conf.d")).unwrap();
        fs::remove_dir(folder.join("conf.d")).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Loads `ringway.toml`; messages name files relative to the folder.
    fn load(&self) -> Result<Config, String> {
        let here = format!("{}/", self.0.display());
        config::load(&self.0.join("ringway.toml"))
            .map_err(|errors| errors.to_string().replace(&here, ""))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}
