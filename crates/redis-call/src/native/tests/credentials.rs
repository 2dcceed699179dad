//! Credentials: when they are sent again, and which calls are repeated then.

use super::*;

#[test]
fn without_a_host_calls_wait_and_credentials_are_kept() {
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
fn a_cluster_that_comes_back_gets_credentials() {
    let mut bench = NativeBench::new();
    bench.host.borrow_mut().call_status = 2;
    bench.call(1).unwrap();
    bench.host.borrow_mut().call_status = 0;
    bench.after(40);
    assert_eq!((bench.sent(), bench.host.borrow().inits), (1, 2));
}

#[test]
fn noauth_sends_credentials_once_and_repeats_each_call_once() {
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
fn credentials_are_sent_once_a_second_at_most() {
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
fn a_call_sent_before_the_credentials_is_only_repeated() {
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
fn without_credentials_noauth_is_final_and_reported() {
    let mut bench = NativeBench::new();
    bench.host.borrow_mut().credentials = false;
    bench.after(5_000);
    bench.call(1).unwrap();
    bench.reply(1, "-NOAUTH x\r\n");
    assert_eq!(bench.ended(), [(1, error("NOAUTH x"))]);
    assert_eq!(bench.notices(), [Notice::PasswordMissing]);
}
