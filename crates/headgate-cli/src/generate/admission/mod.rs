//! A ValidatingAdmissionPolicy with its binding: `kubectl apply` refuses a policy that the filter would refuse.
//!
//! Made from the same shapes as the JSON Schema. It reads the policy where the shipped manifests have it: in a WasmPlugin,
//! an EnvoyFilter, an EnvoyExtensionPolicy and an EnvoyPatchPolicy. What it cannot evaluate it lets pass
//! (`failurePolicy: Ignore`), since other people's resources are of the same kinds.

mod cel;

use cel::{Part, Value, Writer};
use headgate_core::config::{shape, Object, Shape};
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
        ("values", VALUES.to_owned()),
        ("plugins", PLUGINS.to_owned()),
        ("policies", POLICIES.to_owned()),
        ("guards", format!("variables.policies.filter(p, {IS_GUARD})")),
        ("filters", format!("variables.policies.filter(p, !{IS_GUARD})")),
    ];
    let faults = faults();
    variables.extend(faults.iter().map(|(name, text)| (*name, text.clone())));
    let mut text = HEADER.to_owned();
    text += "  variables:\n";
    for (name, expression) in &variables {
        let _ = write!(
            text,
            "  - name: {name}\n    expression: |-\n{}",
            indented(expression, 6)
        );
    }
    text += "  validations:\n";
    for (name, _) in &faults {
        let found = format!("variables.{name}");
        // One line of at most 5 KB, which is what Kubernetes takes.
        let message = format!(
            "\"Headgate's policy: \" + (size({found}) > 2000 ? {found}.substring(0, 2000) + \"…\" : {found}).replace(\"\\n\", \" \") \
             + \"headgate check explains it\""
        );
        let _ = write!(
            text,
            "  - expression: {found} == \"\"\n    messageExpression: |-\n{}    reason: Invalid\n",
            indented(&message, 6)
        );
    }
    text + BINDING
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
";

const BINDING: &str = r"---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: headgate}
spec: {policyName: headgate, validationActions: [Deny]}
";

fn indented(text: &str, by: usize) -> String {
    text.lines()
        .map(|line| format!("{}{line}\n", " ".repeat(by)))
        .collect()
}

/// The lists of a policy, which have an expression each: what an expression may cost is bounded.
const LISTS: [&str; 3] = ["identify", "exempt", "limits"];

/// Each group of faults by its name.
fn faults() -> Vec<(&'static str, String)> {
    let root = shape();
    let mut groups = vec![
        ("of_guards", over("guards", &guard(root))),
        (
            "of_settings",
            over("filters", &written(root, &policy(), Part::Without(&LISTS))),
        ),
        (
            "of_identify",
            over("filters", &written(root, &policy(), Part::Fields(&["identify"]))),
        ),
        (
            "of_exempt",
            over("filters", &written(root, &policy(), Part::Fields(&["exempt"]))),
        ),
    ];
    if let Some(Shape::List {
        of: Shape::Object(limit),
        ..
    }) = root.shape("limits")
    {
        let own = Part::Without(&["match", "overrides"]);
        groups.push(("of_limits", over("filters", &limits(limit, own))));
        groups.push((
            "of_match",
            over("filters", &limits(limit, Part::Fields(&["match"]))),
        ));
        groups.push((
            "of_overrides",
            over("filters", &limits(limit, Part::Fields(&["overrides"]))),
        ));
    }
    groups
}

fn policy() -> Value {
    Value {
        of: "p".to_owned(),
        path: "\"\"".to_owned(),
    }
}

fn written(object: &'static Object, at: &Value, part: Part<'_>) -> String {
    Writer::default().object(object, at, part)
}

/// The faults of the policies of one kind.
fn over(policies: &str, faults: &str) -> String {
    format!("variables.{policies}.map(p,\n{faults}).join(\"\")")
}

/// The faults of the limits, as far as they are in these of their fields.
fn limits(limit: &'static Object, part: Part<'_>) -> String {
    let at = Value {
        of: "l".to_owned(),
        path: "\"limits[\" + string(p[\"limits\"].indexOf(l)) + \"]\"".to_owned(),
    };
    let faults = written(limit, &at, part);
    let is_list = r#"type(p) == map && "limits" in p && type(p["limits"]) == list"#;
    let all = Value {
        of: "p[\"limits\"]".to_owned(),
        path: "\"limits\"".to_owned(),
    };
    let (twice, wrong) = match part {
        Part::Without(_) => (
            cel::twice(&all) + " + ",
            r#"(type(p) == map && "limits" in p ? (type(p["limits"]) == list ? "limits: write at least 1; " : "limits: write a list; ") : "")"#,
        ),
        _ => (String::new(), r#""""#),
    };
    format!("({is_list} && size(p[\"limits\"]) > 0 ? {twice}p[\"limits\"].map(l,\n{faults}).join(\"\") : {wrong})")
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
            written(redis, &at, Part::Fields(&["key_prefix"]))
        }
        _ => "\"\"".to_owned(),
    };
    let top = unknown("p", "", r#"["role", "redis"]"#);
    let inner = unknown("p[\"redis\"]", "redis.", r#"["key_prefix"]"#);
    format!("{top}\n+ (\"redis\" in p ? {prefix} + (type(p[\"redis\"]) == map ? {inner} : \"\") : \"\")")
}
