//! What callers may try: values that leave their place in a key or collide with another's, bytes that are not HTTP, sizes,
//! numbers of callers, forged state; and that no secret of theirs is written anywhere in clear.

mod secrets;
mod sizes;
mod state;
mod values;

use crate::harness::*;

async fn left(request: Request) -> Option<i64> {
    let response = request.send().await;
    assert_eq!(response.status, 200, "{:?}", response.text());
    response.number("x-ratelimit-remaining")
}

/// Allows 60 KB in one header.
fn large_headers(config: &mut serde_json::Value) {
    config::hcm(config)["max_request_headers_kb"] = 96.into();
}
