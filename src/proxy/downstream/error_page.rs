//! The pages that we write ourselves when an exchange fails: text or JSON, with the request's id.

use crate::{
    config::ErrorFormat,
    protocol::http::{Headers, Name},
    proxy::{Body, Error, Response, grpc, recycle},
};

/// The response for `error`. `accept` decides between text and JSON when the listener leaves it
/// to the client.
pub(in crate::proxy) fn error_page(
    error: &Error,
    id: &str,
    format: ErrorFormat,
    headers: Option<&Headers>,
) -> Response {
    if headers.is_some_and(grpc::is_grpc) {
        return grpc::page(error, id);
    }
    let status = error.status();
    let is_json = match format {
        ErrorFormat::Json => true,
        ErrorFormat::Text => false,
        ErrorFormat::Auto => headers.is_some_and(prefers_json),
    };
    let text = error.public_text();
    let mut body = recycle::take_bytes();
    let content_type = if is_json {
        let page = serde_json::json!({
            "status": status.code(),
            "error": status.phrase(),
            "detail": text,
            "request_id": id,
        });
        body.extend_from_slice(page.to_string().as_bytes());
        body.push(b'\n');
        "application/json"
    } else {
        let page = format!("{} {}\n{text}\nrequest id: {}\n", status.code(), status.phrase(), id);
        body.extend_from_slice(page.as_bytes());
        "text/plain; charset=utf-8"
    };
    let mut response = Response::new(status)
        .with("content-type", content_type)
        .with("cache-control", "no-store")
        .with_body(Body::from(body));
    if status.code() == 405 {
        response = response.with("allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    }
    response
}

/// Whether `Accept` names JSON before any HTML, text or `*/*`.
fn prefers_json(headers: &Headers) -> bool {
    for value in headers.get_all_known(Name::Accept) {
        for range in value.split(|&byte| byte == b',') {
            let range = range.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
            if range.eq_ignore_ascii_case(b"application/json")
                || range.to_ascii_lowercase().ends_with(b"+json")
            {
                return true;
            }
            if range == b"*/*" || range.get(..5).is_some_and(|t| t.eq_ignore_ascii_case(b"text/")) {
                return false;
            }
        }
    }
    false
}
