//! Migrations as `docs/migrate-*.md` describe them, in real Envoy: the policy after each, and Envoy's own filter
//! before.

use crate::harness::*;

/// The code blocks of a page that follow a line which begins with this word.
fn blocks(page: &str, word: &str) -> Vec<String> {
    let path = root().join(format!("docs/migrate-{page}.md"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let parts: Vec<_> = text.split("```").collect();
    let pairs = parts
        .chunks(2)
        .filter_map(|pair| Some((pair.first()?, pair.get(1)?)));
    pairs
        .filter(|(said, _)| {
            let last = said.trim_end().lines().last().unwrap_or_default();
            last.starts_with(word)
        })
        .map(|(_, block)| block.split_once('\n').expect("a language").1.to_owned())
        .collect()
}

/// Windows start with the first call, so that no window ends during a test.
fn unaligned(policy: &str) -> String {
    policy.replace(
        "algorithm: fixed_window",
        "algorithm: fixed_window, align: first_call",
    )
}

fn only(page: &str, word: &str) -> String {
    let [block] = blocks(page, word).try_into().expect("one block");
    block
}

/// The passes among this many calls; whatever did not pass is a 429.
async fn passes(count: usize, request: impl Fn(usize) -> Request) -> usize {
    let mut passed = 0;
    for number in 0..count {
        match request(number).send().await.status {
            200 => passed += 1,
            status => assert_eq!(status, 429),
        }
    }
    passed
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_from_local_ratelimit_grants_the_same_in_total() {
    let before = Envoy::local()
        .policy("{store: local, enabled: false, limits: [{rate: 1/hour}]}")
        .after(&only("local-ratelimit", "Before"))
        .start();
    let after = Envoy::local().policy(&only("local-ratelimit", "After")).start();
    for envoy in [before, after] {
        let call = |number: usize| {
            envoy
                .get(&format!("/{number}"))
                .header("x-api-key", number.to_string())
        };
        assert_eq!(passes(8, call).await, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kongs_plugins_limit_by_key_and_search_also_by_address() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(&unaligned(&only("kong", "After")))
        .start();
    assert_eq!(passes(7, |_| envoy.get("/").header("apikey", "a")).await, 5);
    let search = |number: usize| envoy.get("/search/x").header("apikey", number.to_string());
    assert_eq!(passes(5, search).await, 3, "by address, whatever the key");
    assert_eq!(passes(1, |_| envoy.get("/").header("apikey", "b")).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_higress_rule_that_fits_is_the_limit_that_applies() {
    let [cluster, own] = blocks("higress", "After").try_into().expect("two blocks");
    let envoy = Envoy::with(RedisCluster::shared())
        .policy(&unaligned(&cluster))
        .start();
    for (key, granted) in [("102234", 3), ("abc", 4), ("abd", 4), ("other", 6)] {
        assert_eq!(
            passes(8, |_| envoy.get("/").header("x-ca-key", key)).await,
            granted,
            "{key}"
        );
    }
    assert_eq!(passes(8, |_| envoy.get("/")).await, 5, "by address");

    let envoy = Envoy::local().policy(&unaligned(&own)).start();
    for (key, granted) in [("alice", 2), ("bob", 3), ("carol", 5)] {
        let passed = passes(5, |_| envoy.get("/").header("x-app", key)).await;
        assert_eq!(passed, granted, "{key}");
    }
}
