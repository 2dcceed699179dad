//! Credentials: when they are given again, and which calls are repeated for it.

use super::*;

#[test]
fn without_a_host_a_call_waits_for_one_and_no_credentials_are_given_again() {
    let mut bench = NativeBench::new();
    bench.host.borrow_mut().call_status = 10;
    bench.call(1).unwrap();
    bench.after(45);
    assert_eq!(bench.notices(), [Notice::Refused(Refusal::NoHost)]);
    bench.host.borrow_mut().call_status = 0;
    bench.after(50);
    assert_eq!((bench.sent(), bench.host.borrow().inits), (1, 1));
}

#[test]
fn a_cluster_that_went_away_is_told_its_credentials_when_it_is_back() {
    let mut bench = NativeBench::new();
    bench.host.borrow_mut().call_status = 2;
    bench.call(1).unwrap();
    bench.host.borrow_mut().call_status = 0;
    bench.after(40);
    assert_eq!((bench.sent(), bench.host.borrow().inits), (1, 2));
}

#[test]
fn after_noauth_credentials_are_given_once_not_within_the_reply_and_each_call_is_repeated_once() {
    let mut bench = NativeBench::new();
    bench.after(5_000);
    bench.call(1).unwrap();
    bench.call(2).unwrap();
    bench.reply(1, "-NOAUTH Authentication required.\r\n");
    bench.reply(2, "-NOAUTH Authentication required.\r\n");
    assert_eq!(bench.host.borrow().inits, 1, "the client is still reading");
    bench.call(3).unwrap();
    assert_eq!(bench.sent(), 2, "a new call waits for the credentials");
    bench.after(1);
    assert_eq!((bench.host.borrow().inits, bench.sent()), (2, 5));
    bench.reply(3, ":1\r\n");
    bench.reply(4, "-NOAUTH Authentication required.\r\n");
    assert_eq!(
        bench.ended(),
        [
            (1, Ok(Value::Int(1))),
            (2, error("NOAUTH Authentication required."))
        ]
    );
}

#[test]
fn credentials_are_not_given_more_often_than_each_second() {
    let mut bench = NativeBench::new();
    bench.after(2_000);
    for _ in 0..200 {
        if bench.call(1).is_ok() {
            let nth = bench.host.borrow().tokens / 4;
            bench.reply(nth, "-NOAUTH Authentication required.\r\n");
        }
        bench.after(10);
    }
    let inits = bench.host.borrow().inits;
    assert!((2..=4).contains(&inits), "{inits} in two seconds");
}

#[test]
fn a_call_that_was_sent_before_the_credentials_were_given_again_is_repeated_without_giving_them_once_more() {
    let mut bench = NativeBench::new();
    bench.after(5_000);
    bench.call(1).unwrap();
    bench.call(2).unwrap();
    bench.reply(1, "-NOAUTH Authentication required.\r\n");
    bench.after(1);
    bench.reply(2, "-NOAUTH Authentication required.\r\n");
    bench.after(1);
    assert_eq!((bench.host.borrow().inits, bench.sent()), (2, 4));
}

#[test]
fn without_credentials_noauth_is_final_and_told() {
    let mut bench = NativeBench::new();
    bench.host.borrow_mut().credentials = false;
    bench.after(5_000);
    bench.call(1).unwrap();
    bench.reply(1, "-NOAUTH x\r\n");
    assert_eq!(bench.ended(), [(1, error("NOAUTH x"))]);
    assert_eq!(bench.notices(), [Notice::PasswordMissing]);
}
