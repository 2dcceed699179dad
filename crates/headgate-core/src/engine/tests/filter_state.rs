//! Which values of filter state are written.

use super::*;
use crate::model::{FilterState, StateName};

/// The names that are written for an admission and for a denial by Redis, with another limit in shadow that denies,
/// under this `filter_state`.
fn written(filter_state: &str) -> [Vec<String>; 2] {
    let limits = r#"[{"name": "a", "rate": "10/minute", "algorithm": "fixed_window"},
        {"name": "dark", "rate": "10/hour", "algorithm": "fixed_window", "enforce": false}]"#;
    let mut world = World::new(&format!(
        r#"{{"filter_state": {filter_state}, "limits": {limits}, "verdict_cache": {{"max_age": "0s"}}}}"#
    ));
    for spent in [false, true] {
        world.request(&[]);
        let left = u64::from(!spent);
        world.reply(Ok(packed(
            !spent,
            &[[left, 10, left, 5, 5, 7], [left, 10, left, 5, 5, 7]],
        )));
        world.ready();
    }
    let names = |request: &FakeExchange| request.state.keys().cloned().collect();
    [names(&world.requests[0]), names(&world.requests[1])]
}

#[test]
fn all_names_are_written_where_nothing_is_listed() {
    let [passed, denied] = written("\"all\"");
    assert_eq!(passed.len(), 8, "{passed:?}");
    assert_eq!(denied.len(), StateName::ALL.len(), "{denied:?}");
}

#[test]
fn each_name_alone_is_written_with_what_a_chain_needs() {
    let all = written("\"all\"");
    for name in StateName::ALL {
        let state = FilterState::listed(&[name]);
        let wanted = |of: &Vec<String>| -> Vec<String> {
            let is_wanted = |text: &String| {
                let name = StateName::ALL.into_iter().find(|name| name.as_str() == text);
                name.is_some_and(|name| state.writes(name))
            };
            of.iter().filter(|text| is_wanted(text)).cloned().collect()
        };
        let listed = written(&format!("[\"{}\"]", name.as_str()));
        assert_eq!(listed, [wanted(&all[0]), wanted(&all[1])], "{name:?}");
        assert!(listed[1].contains(&name.as_str().to_owned()));
    }
}
