use super::*;

fn found(text: &str) -> Vec<(String, usize, bool)> {
    let file = find(text, false).unwrap_or_else(|error| panic!("{error:?}"));
    file.found
        .iter()
        .map(|found| {
            (
                found.at.clone(),
                found.locate("limits[0].rate").line,
                found.parse().is_ok(),
            )
        })
        .collect()
}

#[test]
fn a_plain_policy_is_the_file_itself() {
    assert_eq!(found("limits:\n- rate: 5/s\n"), [(String::new(), 2, true)]);
    assert_eq!(
        found(r#"{"limits": [{"rate": "5/s"}]}"#),
        [(String::new(), 1, true)]
    );
}

#[test]
fn a_text_in_an_envoy_yaml_is_located_line_by_line() {
    let text = "filters:\n- typed_config:\n    \"@type\": x.filters.http.wasm.v3.Wasm\n    config:\n      name: headgate\n      configuration:\n        \"@type\": x.StringValue\n        value: |\n          {\n            \"limits\": [\n              {\"rate\": \"5/s\"}\n            ]\n          }\n";
    assert_eq!(
        found(text),
        [(
            "filters[0].typed_config.config.configuration.value".to_owned(),
            11,
            true
        )]
    );
}

#[test]
fn istio_and_envoy_gateway_are_known() {
    let istio = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: headgate}\nspec:\n  pluginConfig:\n    limits:\n    - rate: 5/s\n";
    assert_eq!(found(istio), [("spec.pluginConfig".to_owned(), 7, true)]);
    let gateway = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nspec:\n  wasm:\n  - name: other\n    config: {x: 1}\n  - name: headgate\n    config:\n      limits:\n      - rate: 5/s\n";
    assert_eq!(found(gateway), [("spec.wasm[1].config".to_owned(), 10, true)]);
}

#[test]
fn another_wasm_filter_is_left_alone() {
    let text = "static_resources: {}\nfilters:\n- typed_config:\n    \"@type\": x.filters.http.wasm.v3.Wasm\n    config: {name: other, configuration: {\"@type\": y.Struct, value: {colour: red}}}\n";
    assert!(found(text).is_empty());
}

#[test]
fn envoy_fields_are_read_in_camel_case_too() {
    let text = "staticResources:\n  listeners:\n  - filterChains:\n    - filters:\n      - typedConfig:\n          '@type': x.HttpConnectionManager\n          httpFilters:\n          - typedConfig:\n              '@type': x.filters.http.wasm.v3.Wasm\n              config:\n                configuration: {'@type': y.Struct, value: {limits: []}}\n                vmConfig: {vmId: headgate, environmentVariables: {hostEnvKeys: [HEADGATE_HASH_KEY]}}\n";
    let file = find(text, false).unwrap_or_else(|error| panic!("{error:?}"));
    let [found] = file.found.as_slice() else {
        panic!("{}", file.found.len())
    };
    assert_eq!(
        (found.vm.id.as_deref(), found.vm.has_hash_key),
        (Some("headgate"), Some(true))
    );
    let manager = "staticResources.listeners[0].filterChains[0].filters[0].typedConfig";
    assert_eq!(found.chain, format!("{manager}.httpFilters"));
    assert_eq!(found.manager.as_ref().map(|part| part.at.as_str()), Some(manager));
    assert_eq!(
        found.listener.as_ref().map(|part| part.at.as_str()),
        Some("staticResources.listeners[0]")
    );
}

#[test]
fn each_configuration_knows_what_kind_of_filter_runs_it() {
    let kinds = |text: &str| -> Vec<Option<FilterKind>> {
        let file = find(text, false).unwrap_or_else(|error| panic!("{error:?}"));
        file.found.iter().map(|found| found.filter).collect()
    };
    let (http, network) = (Some(FilterKind::Http), Some(FilterKind::Network));
    let shipped = include_str!("../../../envoy/envoy.yaml");
    assert_eq!(kinds(shipped), [network, http]);
    assert_eq!(kinds("{limits: [{rate: 5/s}]}"), [None]);
    let istio = |kind: &str| {
        format!("{{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, spec: {{{kind}pluginConfig: {{limits: []}}}}}}")
    };
    assert_eq!(kinds(&istio("")), [http]);
    assert_eq!(kinds(&istio("type: HTTP, ")), [http]);
    assert_eq!(kinds(&istio("type: NETWORK, ")), [network]);
    let gateway = "{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: EnvoyExtensionPolicy, spec: {wasm: [{name: headgate, config: {limits: []}}]}}";
    assert_eq!(kinds(gateway), [http]);
}
