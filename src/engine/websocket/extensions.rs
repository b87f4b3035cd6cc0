//! Which WebSocket extension an opening handshake negotiates: permessage-deflate (RFC 7692) without context takeover on either side,
//! or none. What we cannot do or do not understand is declined, offer by offer; it is never a reason to refuse the client.

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};

const NAME: &str = "permessage-deflate";
const PLAIN: HeaderValue =
    HeaderValue::from_static("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
/// An offer that bounds our window has to be answered by the window that we use.
const WITH_WINDOW: HeaderValue = HeaderValue::from_static(
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
);
/// A frame is deflated once for all who get it, by a window of this size. An offer of a smaller one is declined.
const WINDOW_BITS: u8 = 15;

/// The answer to the first acceptable offer of these headers; `None` when there is none.
pub(super) fn negotiate(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    let lists = values.filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| outside_quotes(list, ',')).find_map(accept)
}

/// The answer to one offer.
fn accept(offer: &str) -> Option<HeaderValue> {
    let mut parts = outside_quotes(offer, ';');
    if parts.next()? != NAME {
        return None;
    }
    let mut seen = Seen::default();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_ascii(), Some(unquoted(value.trim_ascii())?)),
            None => (part, None),
        };
        let first_time = match (name, value) {
            ("server_no_context_takeover", None) => &mut seen.server_takeover,
            ("client_no_context_takeover", None) => &mut seen.client_takeover,
            // It may keep its whole window: we always have one of that size.
            ("client_max_window_bits", None) => &mut seen.client_window,
            ("client_max_window_bits", Some(bits)) if window_bits(bits).is_some() => &mut seen.client_window,
            ("server_max_window_bits", Some(bits)) if window_bits(bits) == Some(WINDOW_BITS) => &mut seen.server_window,
            _ => return None,
        };
        if std::mem::replace(first_time, true) {
            return None;
        }
    }
    Some(if seen.server_window { WITH_WINDOW } else { PLAIN })
}

/// The parameters that an offer has had; each may come once.
#[derive(Default)]
struct Seen {
    server_takeover: bool,
    client_takeover: bool,
    server_window: bool,
    client_window: bool,
}

/// 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        _ => {
            let digit = value.strip_prefix('1').filter(|rest| rest.len() == 1)?;
            matches!(digit, "0" | "1" | "2" | "3" | "4" | "5").then(|| 10 + digit.as_bytes()[0] - b'0')
        }
    }
}

/// A value may stand in quotes; then it is a token as well.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let parts = text.split(move |char| {
        is_quoted ^= char == '"';
        char == separator && !is_quoted
    });
    parts.map(str::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(values: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, value.parse().unwrap());
        }
        negotiate(&headers).map(|answer| match answer {
            answer if answer == PLAIN => "plain",
            answer if answer == WITH_WINDOW => "with window",
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn what_browsers_and_stock_clients_offer_is_accepted() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=15",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            " permessage-deflate ; client_max_window_bits = \"8\" ",
            "x-webkit-deflate-frame, permessage-deflate",
            ", permessage-deflate,",
        ] {
            assert_eq!(negotiated(&[offer]), Some("plain"), "{offer}");
        }
        for offer in [
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate;server_max_window_bits=\"15\"",
        ] {
            assert_eq!(negotiated(&[offer]), Some("with window"), "{offer}");
        }
    }

    #[test]
    fn what_cannot_be_done_or_understood_is_declined() {
        for offer in [
            "",
            "permessage-bzip2",
            "Permessage-Deflate",
            "permessage-deflate=1",
            "permessage-deflate;",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=\"8",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=+15",
            "other; x=\"a, permessage-deflate, b\"",
        ] {
            assert_eq!(negotiated(&[offer]), None, "{offer}");
        }
        assert_eq!(negotiated(&[]), None);
    }

    #[test]
    fn the_first_acceptable_offer_counts_over_all_headers() {
        let small = "permessage-deflate; server_max_window_bits=10";
        let fallback = format!("{small}, permessage-deflate; server_max_window_bits=15, permessage-deflate");
        assert_eq!(negotiated(&[&fallback]), Some("with window"));
        assert_eq!(negotiated(&[small, "permessage-deflate"]), Some("plain"));
        assert_eq!(negotiated(&["é", "permessage-deflate"]), Some("plain"));
    }
}
