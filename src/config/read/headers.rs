//! Header edits: `{ set = { … }, add = { … }, remove = [ … ] }`, of routes and filters.

use crate::config::fields::{Schema, Value};
use crate::config::route::HeaderEdits;
use crate::config::template::{Piece, Template};

use super::template;
use super::text::{header_name, is_field_value};

/// Which way the edited message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Request,
    Response,
}

/// Reads the edits under `schema`, one of the tables with these three keys.
pub(super) fn edits(value: &Value<'_>, schema: &'static Schema, way: Way) -> HeaderEdits {
    let Some(fields) = value.table(schema) else { return HeaderEdits::default() };
    let mut edits = HeaderEdits::default();
    if let Some(value) = fields.value("set") {
        edits.set = pairs(&value, Edit::Set, way);
    }
    if let Some(value) = fields.value("add") {
        edits.add = pairs(&value, Edit::Add, way);
    }
    if let Some(value) = fields.value("remove") {
        for value in value.list().iter().take(EDITS_MAX) {
            let Some(text) = value.text("the name of a header") else { continue };
            let Some(name) = header_name(value, value.place(), text) else { continue };
            if name == "host" && way == Way::Request {
                value.complain("header `host` can be set, but not removed: every request has one");
            } else if edits.remove.contains(&name) {
                value.problem("is there twice");
            } else {
                edits.remove.push(name);
            }
        }
    }
    edits
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Set,
    Add,
}

fn pairs(value: &Value<'_>, edit: Edit, way: Way) -> Vec<(String, Template)> {
    let entries = value.entries("a table of headers, such as `{ x-env = \"prod\" }`");
    if entries.len() > EDITS_MAX {
        value.complain(format!("more than {EDITS_MAX} header edits"));
    }
    let mut pairs: Vec<(String, Template)> = Vec::new();
    for (key, place, value) in entries.into_iter().take(EDITS_MAX) {
        let Some(name) = header_name(&value, place, key) else { continue };
        if pairs.iter().any(|(other, _)| *other == name) {
            value.complain_at(place, format!("header `{name}` is there twice"));
        }
        if edit == Edit::Add && name == "host" && way == Way::Request {
            value.complain("header `host` can be set, but not added: a request has one");
            continue;
        }
        // Only a field that is added may have several values.
        let values = if edit == Edit::Add { value.list() } else { vec![value] };
        for value in values.iter().take(EDITS_MAX) {
            pairs.extend(field_template(value).map(|template| (name.clone(), template)));
        }
    }
    pairs
}

/// A template whose literals may stand in a header.
fn field_template(value: &Value<'_>) -> Option<Template> {
    let text = value.text("the value of a header, in quotes")?;
    let template = template::read(value, text)?;
    let is_fine = |piece: &Piece| match piece {
        Piece::Literal(text) => !text.contains(|c: char| c.is_control() && c != '\t'),
        Piece::Variable(_) => true,
    };
    if !is_field_value(text) || !template.pieces.iter().all(is_fine) {
        value.problem("isn't the value of a header: no control characters, no blanks around it");
        return None;
    }
    Some(template)
}

/// Most edits of one kind in one table.
const EDITS_MAX: usize = 64;
