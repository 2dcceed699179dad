use super::*;
use crate::find::find;

/// The findings for a connection manager with these filters. The filter `headgate` has this policy.
fn findings(filters: &[&str], policy: &str) -> Vec<String> {
    let own = format!(
        "{{name: headgate, typed_config: {{'@type': x/envoy.extensions.filters.http.wasm.v3.Wasm, config: {{name: \
         headgate, configuration: {{'@type': x/google.protobuf.Struct, value: {policy}}}}}}}}}"
    );
    let filters: Vec<String> = filters
        .iter()
        .map(|filter| filter.replace("HEADGATE", &own))
        .collect();
    let text = format!(
        "{{typed_config: {{'@type': x/a.v3.HttpConnectionManager, http_filters: [{}]}}}}",
        filters.join(", ")
    );
    let file = find(&text, false).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let parsed = file.found.iter().map(|found| {
        let plugin = found.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        (found, plugin)
    });
    let mut report = Report::default();
    check(&parsed.collect::<Vec<_>>(), &mut report);
    report
        .findings
        .into_iter()
        .map(|finding| finding.message)
        .collect()
}

const ROUTER: &str = "{name: router, typed_config: {'@type': x/a.v3.Router}}";
const PLAIN: &str = "{limits: [{rate: 9/m}]}";
const BY_USER: &str = "{identify: [{name: user, metadata: [envoy.filters.http.jwt_authn, payload, sub]}], limits: [{rate: 9/m}]}";

fn jwt_authn(provider: &str) -> String {
    format!("{{name: jwt, typed_config: {{'@type': x/a.v3.JwtAuthentication, providers: {{one: {{{provider}}}}}}}}}")
}

#[test]
fn the_router_is_last() {
    assert_eq!(findings(&["HEADGATE", ROUTER], PLAIN), [""; 0]);
    for (filters, piece) in [
        (&[ROUTER, "HEADGATE"][..], "behind the router"),
        (&["HEADGATE"], "no filter behind this one"),
    ] {
        let found = findings(filters, PLAIN);
        assert!(found.len() == 1 && found[0].contains(piece), "{found:?}");
    }
    let discovered = "{name: other, config_discovery: {}}";
    assert_eq!(findings(&["HEADGATE", discovered], PLAIN), [""; 0]);
}

#[test]
fn claims_need_jwt_authn_in_front_and_its_key() {
    let writes = jwt_authn("payload_in_metadata: payload");
    assert_eq!(findings(&[&writes, "HEADGATE", ROUTER], BY_USER), [""; 0]);
    for (filters, piece) in [
        (
            &["HEADGATE", &writes, ROUTER][..],
            "written by a filter behind this one",
        ),
        (&[&jwt_authn(""), "HEADGATE", ROUTER], "writes no claims"),
        (
            &[&jwt_authn("payload_in_metadata: claims"), "HEADGATE", ROUTER],
            "under \"claims\"",
        ),
        (&["HEADGATE", ROUTER], "no filter in front of this one writes"),
    ] {
        let found = findings(filters, BY_USER);
        assert!(
            found.len() == 1 && found[0].contains(piece),
            "{filters:?}: {found:?}"
        );
    }
}

#[test]
fn filters_that_may_write_anything_are_believed() {
    for kind in [
        "a.v3.Lua",
        "a.v3.ExternalProcessor",
        "envoy.extensions.filters.http.wasm.v3.Wasm",
        "own.v1.Filter",
    ] {
        let filter = format!("{{name: other, typed_config: {{'@type': x/{kind}}}}}");
        assert_eq!(
            findings(&[&filter, "HEADGATE", ROUTER], BY_USER),
            [""; 0],
            "{kind}"
        );
    }
    let by_name = "{name: envoy.filters.http.jwt_authn, config_discovery: {}}";
    assert_eq!(findings(&[by_name, "HEADGATE", ROUTER], BY_USER), [""; 0]);
}

#[test]
fn metadata_of_other_filters_is_looked_for_as_well() {
    let policy = "{identify: [{name: tier, metadata: [my.tiers, tier]}], limits: [{rate: 9/m}]}";
    let sets =
        "{name: set, typed_config: {'@type': x/a.v3.Config, metadata: [{metadata_namespace: my.tiers}]}}";
    assert_eq!(findings(&[sets, "HEADGATE", ROUTER], policy), [""; 0]);
    let found = findings(&["HEADGATE", sets, ROUTER], policy);
    assert!(
        found.len() == 1 && found[0].contains("written by a filter behind this one"),
        "{found:?}"
    );
    let composite = "{identify: [{name: pair, all: [{header: x-a}, {metadata: [my.tiers, tier]}]}], limits: [{rate: 9/m}]}";
    let cors = "{name: cors, typed_config: {'@type': x/a.v3.Cors}}";
    let found = findings(&[cors, "HEADGATE", ROUTER], composite);
    assert!(
        found.len() == 1 && found[0].contains("writes metadata of my.tiers"),
        "{found:?}"
    );
}
