//! The findings of `check` about Envoy's `redis_proxy`.

use super::*;

#[test]
fn redirections_that_cannot_be_followed_are_a_warning() {
    for file in ["envoy", "single-redis", "istio/redis-call", "gateway/redis-call"] {
        let shipped = shipped(file);
        let line = "dns_cache_config: {name: headgate_redis, dns_lookup_family: V4_PREFERRED}";
        for (what, with, piece) in [
            (line, "", "without dns_cache_config"),
            (
                "enable_redirection: true",
                "enable_redirection: false",
                "without enable_redirection",
            ),
        ] {
            let text = shipped.replacen(what, with, 1);
            assert_ne!(text, shipped, "{file}: {what}");
            let (list, status) = findings(&text);
            let [warning] = list.as_slice() else {
                panic!("{file}: {list:?}")
            };
            assert_eq!((status, &warning["severity"]), (0, &"warning".into()), "{file}");
            let message = warning["message"].as_str().expect("text");
            assert!(message.contains(piece), "{file}: {message}");
        }
        let camel = shipped
            .replace("enable_redirection", "enableRedirection")
            .replace("dns_cache_config", "dnsCacheConfig");
        assert!(findings(&camel).0.is_empty(), "{file}");
    }
}
