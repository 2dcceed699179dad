//! No secret of a caller is written anywhere in clear.

use crate::harness::*;

const SECRET: &str = "S3cr3t-of-a-caller";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_caller_is_written_anywhere_in_clear() {
    let redis = SingleRedis::start();
    let policy = r#"
        on_error: allow
        verdict_cache: {max_age: 0s}
        identify:
        - {name: token, header: authorization, extract: "Bearer (.+)"}
        - {header: x-api-key}
        - {name: session, cookie: sid}
        - {name: app, query: app_key}
        - {name: pair, all: [{header: x-tenant}, {header: x-user}]}
        limits:
        - {name: log, rate: 2/hour}
        - {name: counter, rate: 1000/hour, enforce: false}
        - {name: shadow, rate: 0/hour, enforce: false}
        - {name: parts, rate: 500/hour, key: ["header:x-api-key", "query:app_key", "cookie:sid"]}
        - {name: beside, rate: 9/hour, key: [client, "header:authorization", "header:x-user"]}
    "#;
    let envoy = Envoy::with(&redis).policy(policy).start();
    let callers = || {
        [
            envoy.get("/").header("authorization", format!("Bearer {SECRET}")),
            envoy.get("/").header("x-api-key", SECRET),
            envoy.get("/").header("cookie", format!("a=b; sid={SECRET}")),
            envoy.get(&format!("/?app_key={SECRET}")),
            envoy.get("/").header("x-tenant", "t").header("x-user", SECRET),
        ]
    };
    let own = ["authorization", "x-api-key", "cookie", "x-user"];
    let mut statuses = Vec::new();
    for _ in 0..3 {
        for request in callers() {
            let response = request.send().await;
            assert!(
                !format!("{:?}", response.headers).contains(SECRET),
                "in a response"
            );
            if response.status == 200 {
                let added: Vec<serde_json::Value> = response.json()["headers"].as_array().unwrap().clone();
                for header in added
                    .iter()
                    .filter(|header| !own.contains(&header[0].as_str().unwrap()))
                {
                    assert!(!header.to_string().contains(SECRET), "the filter adds {header}");
                }
            }
            statuses.push(response.status);
        }
    }
    assert_eq!(statuses, [[200; 5], [200; 5], [429; 5]].concat());
    let keys = redis.keys("*");
    let mut places = vec![keys.join("\n")];
    for key in &keys {
        let dump: Vec<u8> = redis.call(&["DUMP", key]);
        places.push(String::from_utf8_lossy(&dump).into_owned());
    }
    // What cannot be counted is logged.
    redis.kill();
    for request in callers() {
        assert_eq!(request.send().await.status, 200);
    }
    places.push(format!("{:?}", envoy.access_log(20)));
    places.push(envoy.log());
    for path in [
        "/stats",
        "/stats/prometheus",
        "/config_dump",
        "/clusters",
        "/listeners",
        "/server_info",
    ] {
        places.push(envoy.admin(path));
    }
    for place in places {
        let at = place.find(SECRET);
        assert!(
            at.is_none(),
            "in clear: {}",
            &place[at.unwrap_or(0).saturating_sub(200)..][..220]
        );
    }
}
