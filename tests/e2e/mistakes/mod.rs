//! Typical mistakes, each made in a shipped configuration: what `headgate check` reports, what Envoy's log says, what
//! `headgate doctor` finds. The mistakes are data, in the YAML files beside this one; docs/mistakes.md is made of them.
//!
//! A mistake has these fields:
//! - `mistake` and `remedy`: for the page.
//! - `file`: the shipped file it is made in (single-redis without it); `redis`: what Envoy counts in (`single`, `cluster`,
//!   `tls`, `password`, `acl`).
//! - `change`: edits of that file's text, see `text`.
//! - `check`: a piece of what `check` reports; or `blind`: why it cannot know. With a `check` the file is never "good".
//! - `refuses`: Envoy does not start, and its log has this. `logs`: it starts, and its log has this once a request has
//!   come; with `counts` the request is counted all the same. `silent`: it starts, says nothing of it, and the response has
//!   this line.
//! - `doctor`: the finding of `headgate doctor`, where Envoy starts; if it is missing, doctor must find nothing.

mod page;
mod run;
mod text;

use serde_json::Value;

const FILES: [(&str, &str); 3] = [
    ("In the policy", include_str!("policy.yaml")),
    ("In the Envoy around it", include_str!("envoy.yaml")),
    ("Between Envoy and Redis", include_str!("redis.yaml")),
];

/// One mistake: its fields by name.
#[derive(Clone)]
struct Mistake(Value);

/// What Envoy does with it.
enum Outcome<'m> {
    Refuses(&'m str),
    Logs(&'m str),
    Silent(&'m str),
}

impl Mistake {
    fn field(&self, name: &str) -> Option<&str> {
        self.0[name].as_str()
    }

    fn text(&self, name: &str) -> &str {
        self.field(name)
            .unwrap_or_else(|| panic!("{}: no {name}", self.0))
    }

    fn outcome(&self) -> Outcome<'_> {
        match (self.field("refuses"), self.field("logs"), self.field("silent")) {
            (Some(text), None, None) => Outcome::Refuses(text),
            (None, Some(text), None) => Outcome::Logs(text),
            (None, None, Some(text)) => Outcome::Silent(text),
            _ => panic!("{}: one of refuses, logs, silent", self.text("name")),
        }
    }
}

/// All mistakes of a file, in its order.
fn parse(text: &str) -> Vec<Mistake> {
    let list = crate::harness::config::parse(text);
    list.as_array()
        .expect("a list")
        .iter()
        .cloned()
        .map(Mistake)
        .collect()
}

fn all() -> Vec<Mistake> {
    FILES.iter().flat_map(|(_, text)| parse(text)).collect()
}

/// A test for each, and the list of their names.
macro_rules! mistakes {
    ($($name:ident,)+) => {
        const TESTED: &[&str] = &[$(stringify!($name)),+];
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                run::run(stringify!($name)).await;
            }
        )+
    };
}

mistakes! {
    unknown_unit,
    duration_without_unit,
    rate_without_period,
    unknown_field,
    misspelt_limits,
    name_used_twice,
    text_in_place_of_a_flag,
    no_limits,
    empty_configuration,
    configuration_left_out,
    nothing_is_limited,
    cost_of_nothing,
    path_as_prefix,
    regex_with_a_slash,
    policy_turned_off,
    live_overrides_without_redis,
    no_ceiling,
    claim_before_verified,
    tab,
    indentation,
    duplicated_field,
    message_value,
    message_typed_struct,
    yaml_as_text,
    text_in_a_struct,
    no_type,
    redis_cluster_is_missing,
    filter_leads_to_redis,
    filter_leads_nowhere,
    no_bootstrap_extension,
    filter_behind_router,
    filter_disabled,
    no_router,
    filter_twice,
    listeners_out_of_order,
    no_upstream_config,
    no_circuit_breakers,
    tls_to_the_guard,
    no_guard,
    guard_behind_redis_proxy,
    no_redis_proxy,
    no_guard_listener,
    other_listener_name,
    guard_listener_with_a_port,
    other_key_prefix,
    both_roles_in_one_vm,
    no_vm_ids,
    policy_in_the_guard,
    guards_role_in_the_filter,
    wrong_module_path,
    hash_key_not_passed_on,
    hash_key_not_set,
    addresses_by_claim,
    route_to_redis_call,
    redis_proxy_asks_for_a_password,
    no_hashtagging,
    no_redirection,
    names_in_redirections,
    jwt_before_authentication,
    no_payload_in_metadata,
    other_payload_key,
    no_jwt_authn,
    wrong_port,
    unknown_name,
    no_password,
    wrong_password,
    missing_right,
    tls_to_a_plain_port,
    any_certificate,
    plain_to_a_tls_port,
    wrong_ca,
    wrong_server_name,
    cluster_type_for_one_redis,
    one_of_a_cluster,
    no_cluster_provided,
}

#[test]
fn every_mistake_is_a_test_and_none_is_good() {
    let all = all();
    let names: Vec<&str> = all.iter().map(|mistake| mistake.text("name")).collect();
    assert_eq!(names, TESTED);
    assert!(names.len() >= 40, "{}", names.len());
    for mistake in &all {
        let name = mistake.text("name");
        assert!(
            !mistake.text("mistake").is_empty() && !mistake.text("remedy").is_empty(),
            "{name}"
        );
        let is_seen = mistake.field("check").is_some() != mistake.field("blind").is_some();
        assert!(is_seen, "{name}: check, or blind and why");
        let is_silent = matches!(mistake.outcome(), Outcome::Silent(_));
        assert!(
            !is_silent || mistake.field("check").is_some(),
            "{name}: nothing reports it"
        );
    }
}
