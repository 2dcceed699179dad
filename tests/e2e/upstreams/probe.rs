//! Sends request targets byte for byte and reads who answered, and under which limits.

use crate::harness::*;

/// Connections at once: the servers have one process each, on few cores.
const CONNECTIONS: usize = 4;

/// The result of one request.
#[derive(Debug)]
pub struct ProbeOutcome {
    pub status: u16,
    /// The handler that ran; `None` where Envoy or the server itself answered.
    pub handler: Option<String>,
    /// The limits that were applied; none for an exempt request.
    pub applied: Vec<String>,
}

/// One after the other on one connection, which is opened again if it was closed. The headers end with CRLF each.
pub async fn get(port: u16, targets: &[String], headers: &str) -> Vec<ProbeOutcome> {
    let mut connection = RawConnection::open(port).await;
    let mut outcomes = Vec::with_capacity(targets.len());
    for target in targets {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        let sent = connection.write(&request).await;
        let received = sent.and(connection.receive().await);
        let (status, head, _) = received.unwrap_or_else(|error| panic!("{target}: {error}"));
        assert!((200..500).contains(&status), "{target}: {head}");
        // The body of an error page that has no length is left behind.
        if field(&head, "connection") == Some("close") || field(&head, "transfer-encoding").is_some() {
            connection = RawConnection::open(port).await;
        }
        outcomes.push(ProbeOutcome {
            status,
            handler: field(&head, "x-handler").map(str::to_owned),
            applied: limits_named_in(field(&head, "ratelimit-policy").unwrap_or_default()),
        });
    }
    outcomes
}

/// The same on several connections.
pub async fn get_all(port: u16, targets: &[String]) -> Vec<ProbeOutcome> {
    let parts = targets.chunks(targets.len().div_ceil(CONNECTIONS));
    let tasks: Vec<_> = parts
        .map(|part| {
            let part = part.to_vec();
            tokio::spawn(async move { get(port, &part, "").await })
        })
        .collect();
    let mut outcomes = Vec::with_capacity(targets.len());
    for task in tasks {
        outcomes.extend(task.await.expect("a connection's task"));
    }
    outcomes
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value)
}
