use super::*;
use headgate_core::fixtures::{charge, rate};
use headgate_core::script::ScriptReply;

const NOW: u64 = 1_700_000_000_000_000;

/// A fixed window and a bucket in one hash, a log beside it, and a counter with a live override.
fn group() -> Group {
    let mut charges = vec![
        charge(0, Algorithm::FixedWindow { align: Align::Client }, rate(5, 1_000)),
        charge(1, Algorithm::Gcra { burst: 3 }, rate(10, 60_000)),
        charge(2, Algorithm::SlidingWindowLog, rate(4, 2_000)),
        charge(3, Algorithm::SlidingWindowCounter, rate(0, 3_000)),
    ];
    charges[0].phase_ms = 7;
    charges[0].enforced = false;
    charges[1].cost = 2;
    charges[2].key = 1;
    charges[3].live = Some(LiveOverride {
        key: 0,
        field: "3:override".into(),
        unlimited: true,
    });
    Group {
        keys: vec![b"hash".to_vec(), b"log".to_vec()],
        charges,
    }
}

fn read(group: &Group, mode: script::Mode<'_>) -> Call {
    Call::of(group, mode).unwrap()
}

#[test]
fn a_call_is_read_as_it_was_written() {
    let group = group();
    let call = read(&group, script::Mode::Count);
    assert_eq!((call.mode, call.tag), (Mode::Count, None));
    assert_eq!(call.group.keys, group.keys);
    for (read, written) in call.group.charges.iter().zip(&group.charges) {
        let mut written = written.clone();
        if written.algorithm == Algorithm::SlidingWindowLog {
            written.field = "".into();
        }
        assert_eq!(*read, written);
    }
    assert_eq!(read(&group, script::Mode::Lease).mode, Mode::Lease);
    assert_eq!(read(&group, script::Mode::Charge).mode, Mode::Charge);
}

#[test]
fn a_reply_is_read_as_it_was_packed_and_given_back() {
    let group = group();
    let mut model = Model::default();
    let call = read(&group, script::Mode::Count);
    assert!(call.writes(&model, NOW));
    let result = call.run(&mut model, NOW);
    let reply = ScriptReply::decode(&group, &Value::Bulk(Some(result.pack()))).unwrap();
    assert!(reply.admitted);
    assert_eq!(reply.verdicts, result.verdicts);
    assert_eq!(reply.verdicts[3], Verdict::UNLIMITED);
    let before = |model: &Model| model.check(&call.group, NOW, false).1;
    assert_ne!(before(&model), before(&Model::default()));
    let back = read(&group, script::Mode::GiveBack(&reply));
    assert_eq!(back.marks, result.marks);
    assert_eq!(back.run(&mut model, NOW).pack(), [1]);
    assert_eq!(before(&model), before(&Model::default()));
}

#[test]
fn a_denied_call_writes_nothing() {
    let group = group();
    let mut model = Model::default();
    let call = read(&group, script::Mode::Count);
    call.run(&mut model, NOW);
    assert!(!call.writes(&model, NOW), "the bucket has 1 of 3 left");
    let result = call.run(&mut model, NOW);
    let reply = ScriptReply::decode(&group, &Value::Bulk(Some(result.pack()))).unwrap();
    assert!(!reply.admitted && !reply.verdicts[1].allowed && reply.verdicts[1].wait_ms > 0);
}

#[test]
fn what_is_no_call_is_malformed() {
    let mut tail = Vec::new();
    script::arguments(&group(), script::Mode::Count, &mut tail);
    let mut decoder = Decoder::new();
    decoder.push(&tail);
    let next = || match decoder.next() {
        Ok(Some(Value::Bulk(part))) => part,
        _ => None,
    };
    let good: Vec<Vec<u8>> = std::iter::from_fn(next).collect();
    let broken = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut args = good.clone();
        change(&mut args);
        Call::read(&args).unwrap_err()
    };
    broken(&|args| args.clear());
    broken(&|args| args[0] = b"9".to_vec());
    broken(&|args| args[3].truncate(20));
    broken(&|args| args.truncate(5));
    broken(&|args| args.push(b"more".to_vec()));
    broken(&|args| args[3][0] = 3);
    let mut tagged = good.clone();
    tagged.push(b"#77".to_vec());
    assert_eq!(Call::read(&tagged).unwrap().tag, Some(77));
}
