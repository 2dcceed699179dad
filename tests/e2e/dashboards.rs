//! The shipped dashboard and alerts, by a real Prometheus that scrapes a real Envoy.

use crate::harness::*;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A running Prometheus that scrapes an Envoy four times a second.
struct Prometheus {
    client: Client,
    _process: Process,
}

impl Prometheus {
    fn scraping(envoy: &Envoy, rules: &str) -> Prometheus {
        let dir = new_dir("prometheus");
        let port = free_port();
        let config = format!(
            "global: {{scrape_interval: 250ms, evaluation_interval: 250ms, scrape_timeout: 250ms}}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n\
             - {{job_name: envoy, metrics_path: /stats/prometheus, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n",
            envoy.admin_port
        );
        std::fs::write(dir.join("rules.yaml"), rules).expect("rules");
        std::fs::write(dir.join("prometheus.yaml"), config).expect("a configuration");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", dir.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Prometheus {
            _process: Process::start(command, &dir),
            client: Client::http1(port),
        }
    }

    async fn ask(&self, path: &str) -> Value {
        match self.client.get(path).try_send().await {
            Ok(response) if response.status == 200 => response.json(),
            _ => Value::Null,
        }
    }

    /// The samples of a query, now.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}")).await;
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

fn rules() -> String {
    std::fs::read_to_string(root().join("dashboards/rules.yaml")).expect("the rules")
}

/// Panel titles and their queries.
fn queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("dashboards/headgate.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"]
                .as_str()
                .expect("a query")
                .replace("$__rate_interval", "30s")
                .replace("$__range", "30s");
            queries.push((panel["title"].to_string(), expression));
        }
    }
    queries
}

fn is_number(sample: &Value) -> bool {
    let number = sample["value"][1]
        .as_str()
        .and_then(|text| text.parse::<f64>().ok());
    number.is_some_and(f64::is_finite)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_has_data() {
    let envoy = Envoy::with(RedisCluster::shared())
        .policy("limits: [{name: few, rate: 5/minute, match: {path: /a}}, {name: shadow, rate: 1/m, enforce: false}]")
        .start();
    let prometheus = Prometheus::scraping(&envoy, &rules());
    let queries = queries();
    assert!(queries.len() >= 10, "{queries:?}");
    let mut missing = Vec::new();
    for _ in 0..60 {
        for n in 0..8 {
            envoy
                .get("/a")
                .header("x-api-key", format!("{}", n % 3))
                .send()
                .await;
        }
        missing.clear();
        for (title, expression) in &queries {
            if !prometheus.query(expression).await.iter().any(is_number) {
                missing.push((title, expression));
            }
        }
        if missing.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("no data: {missing:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alert_of_requests_that_pass_uncounted_fires() {
    let envoy = Envoy::alone()
        .policy("{limits: [{rate: 5/minute}], on_error: allow, redis: {timeout: 20ms}}")
        .start();
    let prometheus = Prometheus::scraping(&envoy, &rules().replace("for: 1m", "for: 1s"));
    for _ in 0..120 {
        envoy.get("/").send().await;
        let alerts = prometheus.ask("/api/v1/alerts").await;
        let fires =
            |alert: &Value| alert["labels"]["alertname"] == "HeadgateFailsOpen" && alert["state"] == "firing";
        if alerts["data"]["alerts"]
            .as_array()
            .is_some_and(|all| all.iter().any(fires))
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("it does not fire; {:#}", prometheus.ask("/api/v1/alerts").await);
}

#[test]
fn the_rules_pass_their_tests() {
    let run = |dir: &Path| {
        Command::new("promtool")
            .args(["test", "rules", "rules_test.yaml"])
            .current_dir(dir)
            .output()
    };
    let output = run(&root().join("dashboards")).expect("promtool");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
