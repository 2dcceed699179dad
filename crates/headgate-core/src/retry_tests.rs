use super::*;
use crate::decision::Outcome;
use prost::Message;

/// `google.rpc.Status`, as its .proto has it.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

fn denial(retry_after_ms: u64, never: bool) -> Decision {
    Decision {
        retry_after_ms,
        never,
        ..Decision::uncounted(Outcome::Denied)
    }
}

fn wait(retry_after_ms: u64) -> RetryDelay {
    RetryDelay::of_denial(&denial(retry_after_ms, false), Percent::NONE, 0.0)
}

fn texts(list: &[Header]) -> Vec<(&str, String)> {
    list.iter()
        .map(|(name, value)| (*name, value.to_string()))
        .collect()
}

fn http(wait: RetryDelay) -> String {
    let mut list = Vec::new();
    wait.headers(&mut list);
    let lines = texts(&list)
        .into_iter()
        .map(|(name, value)| format!("{name}: {value}"));
    lines.collect::<Vec<_>>().join(", ")
}

fn grpc(wait: RetryDelay, timeout_ms: Option<u64>) -> (String, Option<Status>) {
    let mut list = Vec::new();
    wait.grpc_headers(timeout_ms, 8, "Rate limit exceeded", &mut list);
    let list = texts(&list);
    let find = |wanted: &str| {
        list.iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.clone())
    };
    let details = find(STATUS_DETAILS).map(|text| Base64Unpadded::decode_vec(&text).unwrap());
    (
        find(PUSHBACK).unwrap(),
        details.map(|bytes| Status::decode(&bytes[..]).unwrap()),
    )
}

#[test]
fn a_wait_under_a_second_is_also_sent_in_ms() {
    assert_eq!(http(wait(0)), "retry-after: 1, retry-after-ms: 1");
    assert_eq!(http(wait(140)), "retry-after: 1, retry-after-ms: 140");
    assert_eq!(http(wait(999)), "retry-after: 1, retry-after-ms: 999");
    assert_eq!(http(wait(1_000)), "retry-after: 1");
    assert_eq!(http(wait(1_001)), "retry-after: 2");
    assert_eq!(http(RetryDelay::OF_ERROR), "retry-after: 1");
}

#[test]
fn jitter_only_adds_and_decides_whether_ms_are_sent() {
    let full = Percent::FULL;
    let half = RetryDelay::of_denial(&denial(600, false), full, 0.5);
    assert_eq!((half.seconds, half.millis), (2, 900));
    let most = RetryDelay::of_denial(&denial(600, false), full, 0.99);
    assert_eq!(
        http(most),
        "retry-after: 2",
        "1,194 ms are no longer under a second"
    );
}

#[test]
fn a_call_that_can_never_pass_is_not_to_be_repeated() {
    let never = RetryDelay::of_denial(&denial(60_000, true), Percent::NONE, 0.0);
    assert_eq!(http(never), "retry-after: 60, x-should-retry: false");
    assert_eq!(grpc(never, None), ("-1".to_owned(), None));
}

#[test]
fn grpc_callers_get_a_pushback_in_ms_or_minus_one() {
    for (millis, timeout, pushback) in [
        (2_500, None, "2500"),
        (2_500, Some(2_500), "2500"),
        (2_500, Some(2_499), "-1"),
        (2_500, Some(0), "-1"),
    ] {
        let (found, status) = grpc(wait(millis), timeout);
        assert_eq!(found, pushback, "{millis} of {timeout:?}");
        let status = status.expect("RetryInfo whatever the caller's timeout");
        assert_eq!((status.code, status.message.as_str()), (8, "Rate limit exceeded"));
        let [any] = &status.details[..] else {
            panic!("{status:?}")
        };
        assert_eq!(any.type_url, "type.googleapis.com/google.rpc.RetryInfo");
        let delay = RetryInfo::decode(&any.value[..]).unwrap().retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (2, 500_000_000));
    }
    let (_, whole) = grpc(wait(86_400_000), None);
    let value = whole.unwrap().details[0].value.clone();
    let delay = RetryInfo::decode(&value[..]).unwrap().retry_delay.unwrap();
    assert_eq!((delay.seconds, delay.nanos), (86_400, 0));
}
