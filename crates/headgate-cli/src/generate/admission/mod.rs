//! A ValidatingAdmissionPolicy with its binding: `kubectl apply` refuses a policy that the filter would refuse.
//!
//! Made from the same shapes as the JSON Schema. It reads the policy where the shipped manifests have it: in a WasmPlugin,
//! an EnvoyFilter, an EnvoyExtensionPolicy and an EnvoyPatchPolicy. What it cannot evaluate it lets pass
//! (`failurePolicy: Ignore`), since other people's resources are of the same kinds.

mod cel;
mod part;

use cel::{Value, Writer};
use headgate_core::config::{shape, Object, Shape};
use part::PartStep;
use std::fmt::Write as _;

/// The policies in an object of any of the four kinds, as CEL. A plugin is Headgate's if its name begins so. A text may be
/// JSON, which CEL cannot read.
const POLICIES: &str = r#"(
  dyn(object).kind == "WasmPlugin" ?
    [dyn(object).spec].filter(s, s.?pluginName.orValue("").startsWith("headgate") || s.?url.orValue("").contains("headgate"))
      .map(s, s.?pluginConfig.orValue(""))
  : dyn(object).kind == "EnvoyExtensionPolicy" ?
    dyn(object).spec.?wasm.orValue([]).filter(w, w.?name.orValue("").startsWith("headgate")).map(w, w.?config.orValue(""))
  : variables.plugins.filter(c, type(c) == map && c.?name.orValue("").startsWith("headgate"))
      .map(c, c.?configuration.?value.orValue(""))
).filter(p, type(p) != string)"#;

/// The configurations of plugins in the values that a patch adds: filters, or
/// listeners of which the first filter is one.
const PLUGINS: &str = r#"(variables.values.map(v, v.?typed_config.?config.orValue(""))
  + variables.values.map(v, v.?filter_chains[?0].?filters[?0].?typed_config.?config.orValue("")))"#;

const VALUES: &str = r#"(dyn(object).kind == "EnvoyFilter" ?
    dyn(object).spec.?configPatches.orValue([]).map(c, c.?patch.?value.orValue(""))
  : dyn(object).spec.?jsonPatches.orValue([]).map(c, c.?operation.?value.orValue(""))
).filter(v, type(v) == map)"#;

/// The guard's configuration: its role, or `redis.key_prefix` and nothing else.
const IS_GUARD: &str = r#"(type(p) == map && ("role" in p ? p["role"] == "redis_call" : size(p) == 1 && "redis" in p
  && type(p["redis"]) == map && size(p["redis"]) == 1 && "key_prefix" in p["redis"]))"#;

/// The documents, as they are applied.
pub(crate) fn documents() -> String {
    let mut variables = vec![
        ("values".to_owned(), VALUES.to_owned()),
        ("plugins".to_owned(), PLUGINS.to_owned()),
        ("policies".to_owned(), POLICIES.to_owned()),
        (
            "guards".to_owned(),
            format!("variables.policies.filter(p, {IS_GUARD})"),
        ),
        (
            "filters".to_owned(),
            format!("variables.policies.filter(p, !{IS_GUARD})"),
        ),
    ];
    let mut all = Vec::new();
    for (index, expression) in faults().into_iter().enumerate() {
        all.push(format!("variables.faults{index}"));
        variables.push((format!("faults{index}"), expression));
    }
    variables.push(("faults".to_owned(), format!("[{}].join(\"\")", all.join(", "))));
    let mut text = HEADER.to_owned();
    for (name, expression) in &variables {
        let _ = write!(
            text,
            "  - name: {name}\n    expression: |-\n{}",
            indented(expression, 6)
        );
    }
    text + VALIDATION
}

const HEADER: &str = r"# Kubernetes refuses a policy with a mistake at `kubectl apply`: no webhook, no server. Kubernetes 1.30 or later. Made by
# `headgate generate … --admission` from the same tables as the JSON Schema; docs/meshes.md says what it cannot see.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: headgate}
spec:
  failurePolicy: Ignore      # what it cannot evaluate it lets pass: the proxy and `headgate check` see it
  matchConstraints:
    resourceRules:
    - {apiGroups: [extensions.istio.io], apiVersions: ['*'], operations: [CREATE, UPDATE], resources: [wasmplugins]}
    - {apiGroups: [networking.istio.io], apiVersions: ['*'], operations: [CREATE, UPDATE], resources: [envoyfilters]}
    - {apiGroups: [gateway.envoyproxy.io], apiVersions: ['*'], operations: [CREATE, UPDATE], resources: [envoyextensionpolicies, envoypatchpolicies]}
  variables:
";

/// The message is one line of at most 5 KB, which is what Kubernetes takes.
const VALIDATION: &str = r#"  validations:
  - expression: variables.faults == ""
    reason: Invalid
    messageExpression: |-
      "Headgate's policy: "
      + (size(variables.faults) > 2000 ? variables.faults.substring(0, 2000) + "…; " : variables.faults).replace("\n", " ")
      + "headgate check explains it"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: headgate}
spec: {policyName: headgate, validationActions: [Deny]}
"#;

fn indented(text: &str, by: usize) -> String {
    text.lines()
        .map(|line| format!("{}{line}\n", " ".repeat(by)))
        .collect()
}

/// The faults of policies, in expressions that are short enough to be compiled.
fn faults() -> Vec<String> {
    let root = shape();
    let policy = Value {
        of: "p".to_owned(),
        path: "\"\"".to_owned(),
    };
    let mut faults = vec![over("guards", &guard(root))];
    for part in part::parts(root) {
        let written = Writer::default().object(root, &policy, &part);
        faults.push(over("filters", &written));
    }
    faults
}

/// The faults of the policies of one kind.
fn over(policies: &str, faults: &str) -> String {
    format!("variables.{policies}.map(p,\n{faults}).join(\"\")")
}

/// The guard's configuration has `role` and `redis.key_prefix` alone.
fn guard(root: &'static Object) -> String {
    let unknown = |of: &str, place: &str, names: &str| {
        format!(
            "({of}.all(k, k in {names}) ? \"\" : \"{place}\" + {of}.filter(k, !(k in {names})).join(\", \") + \
             \": role redis_call takes redis.key_prefix and nothing else; \")"
        )
    };
    let prefix = match root.shape("redis") {
        Some(Shape::Object(redis)) => {
            let at = Value {
                of: "p[\"redis\"]".to_owned(),
                path: "\"redis\"".to_owned(),
            };
            Writer::default().object(redis, &at, &[PartStep::Fields(vec!["key_prefix"])])
        }
        _ => "\"\"".to_owned(),
    };
    let top = unknown("p", "", r#"["role", "redis"]"#);
    let inner = unknown("p[\"redis\"]", "redis.", r#"["key_prefix"]"#);
    format!("{top}\n+ (\"redis\" in p ? {prefix} + (type(p[\"redis\"]) == map ? {inner} : \"redis: write an object; \") : \"\")")
}
