//! Contexts that the host uses for the wrong role, and callbacks for unknown contexts.

use crate::gateway::{Gateway, Request};

const CONTINUE: Option<u32> = Some(0);
const STOP: Option<u32> = Some(1);

/// A gateway that needs no Redis and allows two requests per hour.
fn start() -> Gateway {
    let gateway = Gateway::builder().start("{store: local, limits: [{name: a, rate: 2/hour}]}");
    gateway.expect("an accepted configuration")
}

/// Two requests pass, the third is denied.
fn assert_limits(gateway: &mut Gateway) {
    let statuses = [(); 3].map(|()| gateway.send(Request::get("/").header("x-api-key", "a")).status);
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn callbacks_for_unknown_contexts_do_nothing() {
    let mut gateway = start();
    let callbacks = gateway.callbacks();
    assert!(callbacks.len() > 10, "{callbacks:?}");
    for (name, count) in callbacks {
        for context in [0, 77, u32::MAX] {
            let numbers: Vec<u32> = std::iter::once(context).chain([5; 3]).take(count).collect();
            let expected = match name.as_str() {
                // No data reaches Redis without a guard.
                "proxy_on_downstream_data" => STOP,
                _ => CONTINUE,
            };
            let status = gateway.callback(&name, &numbers);
            assert!(
                status.is_none() || status == expected,
                "{name} of {context}: {status:?}"
            );
        }
    }
    assert_limits(&mut gateway);
}

#[test]
fn a_root_context_created_again_keeps_its_counters() {
    let mut gateway = start();
    assert_eq!(
        gateway.send(Request::get("/").header("x-api-key", "a")).status,
        200
    );
    gateway.callback("proxy_on_context_create", &[1, 0]);
    assert_eq!(
        gateway.callback("proxy_on_configure", &[1, 0]),
        Some(1),
        "it is configured already"
    );
    let statuses = [(); 2].map(|()| gateway.send(Request::get("/").header("x-api-key", "a")).status);
    assert_eq!(statuses, [200, 429]);
}

#[test]
fn a_connection_is_closed_and_deleted_within_its_callback() {
    let mut gateway = start();
    for number in 1..=3 {
        let (context, status) = gateway.connect();
        assert_eq!(status, STOP);
        assert_eq!(gateway.state().closed.len(), number);
        assert_eq!(gateway.state().closed.last(), Some(&context));
        let data = gateway.callback("proxy_on_downstream_data", &[context, 9, 0]);
        assert_eq!(data, STOP, "its context is deleted, and its bytes are dropped");
    }
    let log = gateway.log();
    let why = "headgate: connection closed: a network filter has the configuration of an HTTP filter";
    assert_eq!(log.matches(why).count(), 1, "one line a second: {log}");
    assert_limits(&mut gateway);
}

#[test]
fn a_request_without_headers_is_not_counted() {
    let mut gateway = start();
    gateway.callback("proxy_on_context_create", &[500, 1]);
    for (name, count) in gateway.callbacks() {
        let is_early = ["trailers", "response_headers", "delete"]
            .iter()
            .any(|part| name.ends_with(part));
        if is_early {
            let numbers: Vec<u32> = std::iter::once(500).chain([0; 3]).take(count).collect();
            assert!(
                [None, CONTINUE].contains(&gateway.callback(&name, &numbers)),
                "{name}"
            );
        }
    }
    assert_limits(&mut gateway);
}
