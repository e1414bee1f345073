//! Text with `${variables}`, as pieces.

use crate::config::fields::Value;
use crate::config::raw::quoted;
use crate::config::suggest::{nearest, one_of};
use crate::config::template::{Piece, Template, Variable};

/// A piece of a text; `V` is what its variables mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<V> {
    Literal(String),
    Variable(V),
}

/// A template over the request's variables.
pub(super) fn read(value: &Value<'_>, text: &str) -> Option<Template> {
    let piece = |piece| match piece {
        Found::Literal(text) => Piece::Literal(text),
        Found::Variable(variable) => Piece::Variable(variable),
    };
    let pieces = pieces(value, text, &Variable::WORDS)?;
    Some(Template { pieces: pieces.into_iter().map(piece).collect() })
}

/// Splits `text`; adjacent literals come as one. `$${` is a literal `${`.
pub(super) fn pieces<V: Copy>(
    value: &Value<'_>,
    text: &str,
    words: &[(&'static str, V)],
) -> Option<Vec<Found<V>>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, after) = rest.split_at(dollar);
        literal.push_str(before);
        if let Some(escaped) = after.strip_prefix("$${") {
            literal.push_str("${");
            rest = escaped;
        } else if let Some(inside) = after.strip_prefix("${") {
            let Some((name, behind)) = inside.split_once('}') else {
                value.problem("has `${` without `}`; write `$${` for the text `${`");
                return None;
            };
            let variable = variable(value, name, words)?;
            if !literal.is_empty() {
                pieces.push(Found::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Found::Variable(variable));
            rest = behind;
        } else {
            literal.push('$');
            rest = &after[1..];
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Found::Literal(literal));
    }
    Some(pieces)
}

fn variable<V: Copy>(value: &Value<'_>, name: &str, words: &[(&'static str, V)]) -> Option<V> {
    if let Some((_, variable)) = words.iter().find(|(word, _)| *word == name) {
        return Some(*variable);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let shown = quoted(&format!("${{{name}}}"));
    match nearest(name, names.iter().copied()) {
        Some(near) => value.problem(format!(
            "has {shown}, which isn't a variable; did you mean {}?",
            quoted(&format!("${{{near}}}"))
        )),
        None => value.problem(format!("has {shown}, which isn't one of {}", one_of(&names))),
    }
    None
}
