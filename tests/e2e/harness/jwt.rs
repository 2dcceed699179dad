//! Tokens as an issuer would sign them, and the key that Envoy's own filter checks them by.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{json, Value};
use sha2::Sha256;

const KEY: &[u8] = b"a key of the tests, known to all";

/// A token with these claims, signed by HS256.
pub fn token(claims: &Value) -> String {
    let head = base64url(
        json!({"alg": "HS256", "typ": "JWT", "kid": "test"})
            .to_string()
            .as_bytes(),
    );
    let text = format!("{head}.{}", base64url(claims.to_string().as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("a key");
    mac.update(text.as_bytes());
    format!("{text}.{}", base64url(&mac.finalize().into_bytes()))
}

/// The `Authorization` header with such a token.
pub fn bearer(claims: &Value) -> String {
    format!("Bearer {}", token(claims))
}

/// The issuer's keys, as `inline_string`.
pub fn keys() -> String {
    json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "test", "k": base64url(KEY)}]}).to_string()
}

/// Envoy's filter: a token may be missing, but not wrong; its claims go to the metadata `payload`.
pub fn filter() -> String {
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"issuer": {"payload_in_metadata": "payload", "local_jwks": {"inline_string": keys()}}},
            "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements":
                [{"provider_name": "issuer"}, {"allow_missing": {}}]}}}],
        },
    })
    .to_string()
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let all = [bits >> 18, bits >> 12, bits >> 6, bits];
        text.extend(all[..three.len() + 1].iter().map(|bits| digit(*bits)));
    }
    text
}
