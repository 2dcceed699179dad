//! The burst: far more at once than the limits allow, over HTTP/1.1 and over HTTP/2.

use crate::faults::Lab;
use crate::harness::{Client, RawConnection};
use std::time::{Duration, Instant};

/// Ten times the limit from 1,000 clients at once: each gets exactly its limit.
pub async fn burst(lab: &Lab, http2: bool, failures: &mut Vec<String>) -> String {
    const CLIENTS: usize = 1_000;
    const LIMIT: usize = 1;
    let port = lab.envoys[1].port;
    let start = Instant::now();
    let answers = match http2 {
        false => burst_http1(port, CLIENTS, LIMIT * 10).await,
        true => burst_http2(port, CLIENTS, LIMIT * 10).await,
    };
    let mut passed = vec![0; CLIENTS];
    let (mut refused, mut errors, mut first_error) = (0, 0, None);
    for (client, answer) in answers {
        match answer {
            Ok(200) => passed[client] += 1,
            Ok(429) => {}
            Ok(503) => refused += 1,
            other => {
                errors += 1;
                first_error.get_or_insert(format!("{other:?}"));
            }
        }
    }
    let over: usize = passed
        .iter()
        .map(|passed: &usize| passed.saturating_sub(LIMIT))
        .sum();
    let under: usize = passed.iter().map(|passed| LIMIT.saturating_sub(*passed)).sum();
    if over > 0 || errors > 0 || under > refused {
        failures.push(format!(
            "burst: {over} too many, {under} too few, {refused} refused, {errors} errors: {first_error:?}"
        ));
    }
    let way = match http2 {
        true => "over 4 HTTP/2 connections",
        false => "a connection each",
    };
    format!(
        "| 10 × the limit from 1,000 clients at once, {way} | deny | {} | {} | {over} | 0 | {refused} | 0 | {errors} | | {:.0} ms in all | | |\n",
        CLIENTS * LIMIT * 10, under.saturating_sub(refused), start.elapsed().as_secs_f64() * 1e3
    )
}

/// A client's number, and the status of one of its answers.
type Answers = Vec<(usize, Result<u16, String>)>;

const BURST_ENDS: Duration = Duration::from_secs(60);

/// A connection for each client, on which its requests follow each other.
async fn burst_http1(port: u16, clients: usize, each: usize) -> Answers {
    let one = |client: usize| async move {
        let mut raw = RawConnection::open(port).await;
        let request = format!("GET /tiny HTTP/1.1\r\nhost: test\r\nx-api-key: burst-{client}\r\n\r\n");
        let mut answers = Answers::new();
        for _ in 0..each {
            let sent = raw.write(&request).await;
            let received = tokio::time::timeout(BURST_ENDS, raw.receive()).await;
            let status = match (sent, received) {
                (Ok(()), Ok(Ok((status, ..)))) => Ok(status),
                other => Err(format!("{other:?}")),
            };
            answers.push((client, status));
        }
        answers
    };
    let tasks: Vec<_> = (0..clients).map(|client| tokio::spawn(one(client))).collect();
    let mut all = Answers::new();
    for task in tasks {
        all.extend(task.await.expect("a client's task"));
    }
    all
}

/// All requests at once, as many streams as Envoy allows on each of four connections.
async fn burst_http2(port: u16, clients: usize, each: usize) -> Answers {
    let connections: Vec<Client> = (0..4).map(|_| Client::http2(port)).collect();
    let tasks: Vec<_> = (0..clients * each)
        .map(|n| {
            let request = connections[n % 4].get("/tiny");
            let request = request.header("x-api-key", format!("burst-http2-{}", n % clients));
            let answer = tokio::spawn(tokio::time::timeout(BURST_ENDS, request.try_send()));
            (n % clients, answer)
        })
        .collect();
    let mut all = Answers::new();
    for (client, task) in tasks {
        let status = match task.await.expect("a request's task") {
            Ok(answer) => answer.map(|response| response.status),
            Err(_) => Err("hung".to_owned()),
        };
        all.push((client, status));
    }
    all
}
