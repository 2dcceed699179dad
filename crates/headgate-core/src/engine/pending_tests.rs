use super::*;
use crate::redis::CallError;
use std::time::Duration;

fn waiting(parts: usize, since: Instant) -> WaitingRequest {
    WaitingRequest {
        caller: Caller {
            number: 7,
            protocol: Protocol::Http,
            earlier: false,
            client: None,
        },
        groups: vec![],
        results: vec![None; parts],
        postponed: vec![],
        since,
        deadline: since + Duration::from_millis(100),
    }
}

/// Any result: the tests do not read it.
fn reply() -> GroupResult {
    Err(GroupError::Call(CallError::Lost))
}

#[test]
fn a_request_is_complete_with_its_last_reply_in_any_order() {
    let mut requests = PendingRequests::default();
    let id = requests.new_id();
    requests.insert(id, waiting(2, Instant::now()));
    assert!(requests.answer(id, 1, reply()).is_none());
    assert_eq!(requests.answer(id, 0, reply()).unwrap().caller.number, 7);
    assert!(requests.answer(id, 0, reply()).is_none(), "it has gone");
    assert_eq!(requests.next_deadline(), None);
}

#[test]
fn what_is_missing_at_the_deadline_timed_out_the_rest_stays() {
    let mut requests = PendingRequests::default();
    let now = Instant::now();
    let id = requests.new_id();
    requests.insert(id, waiting(2, now));
    requests.answer(id, 0, reply());
    assert!(requests.overdue(now + Duration::from_millis(99)).is_none());
    let (_, late) = requests.overdue(now + Duration::from_millis(100)).unwrap();
    assert_eq!(late.results, [Some(reply()), Some(Err(GroupError::TimedOut))]);
    assert!(requests.overdue(now + Duration::from_secs(9)).is_none());
}

#[test]
fn a_call_postponed_until_the_deadline_keeps_its_error() {
    let mut requests = PendingRequests::default();
    let now = Instant::now();
    let id = requests.new_id();
    requests.insert(id, waiting(3, now));
    let why = || GroupError::Call(CallError::TooEarly);
    for part in [0, 1, 1] {
        requests.postpone(id, part, why());
    }
    requests.answer(id, 0, reply());
    let (_, late) = requests.overdue(now + Duration::from_millis(100)).unwrap();
    assert_eq!(
        late.results,
        [Some(reply()), Some(Err(why())), Some(Err(GroupError::TimedOut))]
    );
}

#[test]
fn a_caller_that_leaves_is_removed_and_its_id_not_reused() {
    let mut requests = PendingRequests::default();
    let first = requests.new_id();
    requests.insert(first, waiting(1, Instant::now()));
    assert!(requests.leave(first) && !requests.leave(first));
    assert!(requests.answer(first, 0, reply()).is_none());
    assert_eq!((requests.next_deadline(), requests.len()), (None, 0));
    assert_ne!(requests.new_id(), first);
}

#[test]
fn decisions_are_ready_in_order_but_for_those_who_left() {
    let mut requests = PendingRequests::default();
    let now = Instant::now();
    let ids = [(); 3].map(|()| requests.new_id());
    for id in ids {
        let WaitingRequest { caller, groups, .. } = waiting(0, now);
        let decision = Decision::uncounted(crate::decision::Outcome::Allowed);
        requests.decide(
            id,
            Decided {
                caller,
                groups,
                decision,
                redis_us: None,
            },
        );
    }
    assert!(requests.leave(ids[1]));
    assert_eq!(requests.next_ready(), Some((ids[0], 7)));
    assert!(requests.take_decided(ids[0]).is_some() && requests.take_decided(ids[0]).is_none());
    assert_eq!(requests.next_ready(), Some((ids[2], 7)));
    assert_eq!((requests.next_ready(), requests.len()), (None, 1));
}
