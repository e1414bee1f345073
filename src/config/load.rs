//! From files to a [`Config`]: reading, including, joining.
//!
//! A main file may include others by pattern; their trees are joined into its own before anything
//! is read from them, and every node still points into the file it came from. Included files
//! include nothing themselves.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Config;
use super::conflict;
use super::cpus::Cpus;
use super::place::{ConfigErrors, Place, Problems, Sources};
use super::raw::{self, Entry, Kind, Table, quoted};
use super::read;

/// Reads the file and whatever it includes. Relative includes are relative to the file.
///
/// # Errors
/// Everything that is wrong, each with its place, up to [`ConfigErrors::PROBLEMS_MAX`].
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    let text = read_file(path).map_err(|why| ConfigErrors::of_file(&name, why))?;
    build(name, text, path.parent(), &Cpus::of_this_process())
}

/// Parses a text that messages call `name`. It can't include files.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigErrors> {
    build(name.to_owned(), text.to_owned(), None, &Cpus::of_this_process())
}

/// As [`parse`], on a machine with these CPUs.
///
/// # Errors
/// As [`load`].
pub fn parse_on(cpus: &Cpus, name: &str, text: &str) -> Result<Config, ConfigErrors> {
    build(name.to_owned(), text.to_owned(), None, cpus)
}

fn build(
    name: String,
    text: String,
    folder: Option<&Path>,
    cpus: &Cpus,
) -> Result<Config, ConfigErrors> {
    let problems = Problems::default();
    let mut sources = Sources::default();
    let main = sources.add(name, text);
    let mut table = raw::parse(&sources, main, &problems);
    if !problems.has_errors() {
        for file in included(&table, folder, &problems) {
            include(&file, &mut table, &mut sources, &problems);
        }
    }
    // What is read from a text with holes would only be noise beside the faults of syntax.
    let config = (!problems.has_errors()).then(|| {
        let (mut config, places) = read::root(&table, cpus, &problems);
        config.locate(&sources);
        conflict::check(&config, &places, &sources, &problems);
        config
    });
    let warnings = problems.finish(&sources)?;
    let mut config = config.expect("without it there is an error, and finish gave that");
    config.warnings = warnings;
    Ok(config)
}

/// The files that `include` means, in the order of its patterns and sorted within each.
fn included(table: &Table, folder: Option<&Path>, problems: &Problems) -> Vec<(PathBuf, Place)> {
    let Some(entry) = table.find("include") else { return Vec::new() };
    let error = |place: Place, message: String| problems.error(place, message);
    let nodes = match &entry.node.kind {
        Kind::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(&entry.node),
    };
    let mut files: Vec<(PathBuf, Place)> = Vec::new();
    for node in nodes {
        let Kind::Text(pattern) = &node.kind else {
            error(
                node.place,
                format!("include {} isn't a pattern, such as `conf.d/*.toml`", node.describe()),
            );
            continue;
        };
        let Some(folder) = folder else {
            error(node.place, "include needs a file that it is relative to".to_owned());
            continue;
        };
        match expand(folder, pattern) {
            Ok(found) => {
                let fresh = |file: &PathBuf| !files.iter().any(|(known, _)| known == file);
                let found: Vec<_> = found.into_iter().filter(fresh).collect();
                files.extend(found.into_iter().map(|file| (file, node.place)));
            }
            Err(why) => error(node.place, format!("include {} {why}", quoted(pattern))),
        }
    }
    if files.len() > INCLUDES_MAX {
        error(
            entry.node.place,
            format!("include means {} files; at most {INCLUDES_MAX}", files.len()),
        );
        files.clear();
    }
    files
}

/// Files that a pattern means: `*` and `?` in the last part of the path, nowhere else. A pattern
/// may mean nothing, a plain path must exist.
fn expand(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let (parent, last) = pattern.rsplit_once('/').map_or(("", pattern), |(parent, last)| {
        (if parent.is_empty() { "/" } else { parent }, last)
    });
    if parent.contains(['*', '?']) {
        return Err("has `*` or `?` before the last `/`".to_owned());
    }
    if last.is_empty() {
        return Err("isn't a file or a pattern, such as `conf.d/*.toml`".to_owned());
    }
    let parent = folder.join(parent);
    if !last.contains(['*', '?']) {
        return Ok(vec![parent.join(last)]);
    }
    let entries = match fs::read_dir(&parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("can't be listed: {error}")),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && is_like(name, last))
        .collect();
    names.sort();
    Ok(names.into_iter().map(|name| parent.join(name)).collect())
}

/// Whether `name` fits a pattern of `*` (anything) and `?` (one character).
fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) =
        (name.chars().collect(), pattern.chars().collect());
    let (mut at, mut want) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(want) {
            Some('*') => {
                star = Some((at, want));
                want += 1;
            }
            Some(c) if *c == '?' || *c == name[at] => {
                at += 1;
                want += 1;
            }
            _ => {
                // Let the last star take one character more.
                let Some((from, back)) = star else { return false };
                star = Some((from + 1, back));
                (at, want) = (from + 1, back + 1);
            }
        }
    }
    pattern[want..].iter().all(|c| *c == '*')
}

fn include(
    (path, place): &(PathBuf, Place),
    main: &mut Table,
    sources: &mut Sources,
    problems: &Problems,
) {
    let name = path.display().to_string();
    match read_file(path) {
        Ok(text) => {
            let file = sources.add(name, text);
            let table = raw::parse(sources, file, problems);
            join(main, table, sources, problems);
        }
        Err(why) => problems.error(*place, format!("include {}: {why}", quoted(&name))),
    }
}

/// Joins an included file's tables into the main one's.
fn join(main: &mut Table, included: Table, sources: &Sources, problems: &Problems) {
    for entry in included.entries {
        let Some(known) = main.entries.iter_mut().find(|known| known.key == entry.key) else {
            if entry.key == "include" {
                problems.error(entry.place, "include works in the main file only".to_owned());
            } else {
                main.entries.push(entry);
            }
            continue;
        };
        match (entry.key.as_str(), &mut known.node.kind, entry.node.kind) {
            ("version", Kind::Integer(ours), Kind::Integer(theirs)) if *ours == theirs => {}
            ("route", Kind::Array(ours), Kind::Array(theirs)) => ours.extend(theirs),
            ("listener" | "upstream" | "filter", Kind::Table(ours), Kind::Table(theirs)) => {
                join_named(&entry.key, ours, theirs, sources, problems);
            }
            ("include", ..) => {
                problems.error(entry.place, "include works in the main file only".to_owned());
            }
            _ => {
                let first = sources.locate(known.place);
                problems
                    .error(entry.place, format!("{} is already at {first}", quoted(&entry.key)));
            }
        }
    }
}

fn join_named(kind: &str, ours: &mut Table, theirs: Table, sources: &Sources, problems: &Problems) {
    for entry in theirs.entries {
        if let Some(Entry { place, .. }) = ours.find(&entry.key) {
            let first = sources.locate(*place);
            problems.error(
                entry.place,
                format!("{kind} {}: is already at {first}", quoted(&entry.key)),
            );
        } else {
            ours.entries.push(entry);
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("can't be read: {error}"))?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long from one that just fits.
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("can't be read: {error}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(format!("is longer than {} MiB", FILE_BYTES_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("isn't UTF-8 text: byte {} is wrong", error.utf8_error().valid_up_to())
    })
}

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Most files that one configuration includes.
const INCLUDES_MAX: usize = 1_024;
