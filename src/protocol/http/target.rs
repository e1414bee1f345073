//! Takes a request target apart (RFC 9112 §3.2) and checks that its form fits the method.
//!
//! Knows nothing of routes or of path normalisation (`uri`): spans into the line come out.

use super::chars::find_either;
use super::request::Parts;
use super::span::Span;
use super::{Form, Method, RequestError, Scheme, authority};

/// The parts of `line`'s `target`; its bytes are known to be visible ASCII, and the first `?` or
/// `#` of it, or its end, to be at `question`.
pub(crate) fn read(
    line: &str,
    verb: Method,
    method: Span,
    target: Span,
    question: usize,
) -> Result<Parts, RequestError> {
    let text = target.of_str(line);
    let fragment = match text.as_bytes().get(question) {
        Some(b'?') => memchr::memchr(b'#', text.as_bytes()).is_some(),
        found => found.is_some(),
    };
    if fragment {
        return Err(RequestError::TargetFragment);
    }
    let mut parts = Parts { method, target, ..Parts::default() };
    if verb == Method::Connect {
        // RFC 9112 §3.2.3: CONNECT takes authority-form and nothing else does.
        if !authority::is_connect_authority(text.as_bytes()) {
            return Err(if text.contains('@') {
                RequestError::Userinfo
            } else {
                RequestError::TargetForm
            });
        }
        parts.form = Form::Authority;
        parts.authority = Some(target);
        return Ok(parts);
    }
    if text.starts_with('/') {
        set_path(&mut parts, text, target.start(), question);
        return Ok(parts);
    }
    if text == "*" {
        if verb != Method::Options {
            return Err(RequestError::TargetForm);
        }
        parts.form = Form::Asterisk;
        parts.path = target;
        return Ok(parts);
    }
    absolute(parts, text, verb)
}

fn absolute(mut parts: Parts, text: &str, verb: Method) -> Result<Parts, RequestError> {
    let Some(colon) = text.find("://") else { return Err(RequestError::TargetForm) };
    let (scheme, rest) = text.split_at_checked(colon).unwrap_or((text, ""));
    parts.scheme = Some(match scheme {
        s if s.eq_ignore_ascii_case("http") => Scheme::Http,
        s if s.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(RequestError::SchemeUnknown),
    });
    let rest = rest.strip_prefix("://").unwrap_or(rest);
    let start = parts.target.start() + text.len() - rest.len();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if name.contains('@') {
        // RFC 9110 §4.2.4: userinfo from an untrusted source is an error, "likely to obscure
        // the authority for phishing".
        return Err(RequestError::Userinfo);
    }
    if !authority::is_authority(name.as_bytes()) {
        return Err(RequestError::HostInvalid);
    }
    parts.form = Form::Absolute;
    parts.authority = Some(Span::new(start, start + end));
    let question = find_either(after.as_bytes(), b'?', b'?');
    set_path(&mut parts, after, start + end, question);
    if verb == Method::Options && after.is_empty() {
        // RFC 9112 §3.2.4: OPTIONS with an empty path goes on as `*`.
        parts.form = Form::Asterisk;
        parts.path = Span::ZERO;
    }
    Ok(parts)
}

/// Splits `text`, which stands at `start` in the line, at its byte `question`, the question mark
/// or the end.
fn set_path(parts: &mut Parts, text: &str, start: usize, question: usize) {
    let end = start + text.len();
    parts.path = Span::new(start, start + question);
    parts.query = (question < text.len()).then(|| Span::new(start + question + 1, end));
}
