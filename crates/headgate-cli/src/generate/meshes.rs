//! Decides which manifests a mesh has, and what is changed in each.

use super::template::Template;
use super::{ManifestSettings, Mesh};
use crate::redis_options::{Password, Redis};
use crate::Failure;

const VARIABLE: &str = "HEADGATE_REDIS_PASSWORD";

mod shipped {
    pub const BOOTSTRAP: &str = include_str!("../../../../envoy/istio/bootstrap.yaml");
    pub const ISTIO_REDIS_CALL: &str = include_str!("../../../../envoy/istio/redis-call.yaml");
    pub const GATEWAY_FILTER: &str = include_str!("../../../../envoy/istio/gateway-filter.yaml");
    pub const SIDECAR_FILTER: &str = include_str!("../../../../envoy/istio/sidecar-filter.yaml");
    pub const GATEWAY: &str = include_str!("../../../../envoy/gateway/gateway.yaml");
    pub const GATEWAY_REDIS_CALL: &str = include_str!("../../../../envoy/gateway/redis-call.yaml");
    pub const POLICY_FILTER: &str = include_str!("../../../../envoy/gateway/policy-filter.yaml");
    pub const ENVOY: &str = include_str!("../../../../envoy/kubernetes/envoy.yaml");
    pub const DEPLOYMENT: &str = include_str!("../../../../envoy/kubernetes/envoy-deployment.yaml");
}

/// All documents, in order, as one text.
pub(super) fn manifests(wish: &ManifestSettings) -> Result<String, Failure> {
    let texts = match wish.mesh {
        Mesh::Istio => istio(wish)?,
        Mesh::Gateway => gateway(wish)?,
        Mesh::Kubernetes => kubernetes(wish)?,
    };
    Ok(texts.join("---\n"))
}

fn istio(wish: &ManifestSettings) -> Result<Vec<String>, Failure> {
    let mut bootstrap = Template::new("bootstrap.yaml", shipped::BOOTSTRAP);
    if let Some(namespace) = &wish.namespace {
        bootstrap.replace(
            "metadata: {name: headgate-bootstrap}",
            &format!("metadata: {{name: headgate-bootstrap, namespace: {namespace}}}"),
        )?;
    }
    let filter = match wish.sidecar {
        true => ("sidecar-filter.yaml", shipped::SIDECAR_FILTER),
        false => ("gateway-filter.yaml", shipped::GATEWAY_FILTER),
    };
    let mut filter = Template::new(filter.0, filter.1);
    filter.policy(&wish.written)?;
    let mut texts = vec![bootstrap.text];
    let mut redis_call = redis_call(wish, "redis-call.yaml", shipped::ISTIO_REDIS_CALL)?;
    if let Some(image) = &wish.image {
        for template in std::iter::once(&mut filter).chain(&mut redis_call) {
            template.replace("oci://registry.example.com/headgate:0.1.0", image)?;
        }
    }
    texts.extend(redis_call.map(|template| template.text));
    texts.push(filter.text);
    Ok(texts)
}

fn gateway(wish: &ManifestSettings) -> Result<Vec<String>, Failure> {
    let mut gateway = Template::new("gateway.yaml", shipped::GATEWAY);
    pods_of_gateway(&mut gateway, wish.redis.as_ref())?;
    let mut filter = Template::new("policy-filter.yaml", shipped::POLICY_FILTER);
    filter.policy(&wish.written)?;
    let mut redis_call = redis_call(wish, "redis-call.yaml", shipped::GATEWAY_REDIS_CALL)?;
    if let Some(module) = &wish.module {
        for template in std::iter::once(&mut filter).chain(&mut redis_call) {
            template.replace(
                "filename: /etc/headgate/module/headgate.wasm",
                &format!("filename: {module}"),
            )?;
        }
    }
    if let Some([namespace, name, listener]) = &wish.gateway {
        filter.replace("default/edge/http", &format!("{namespace}/{name}/{listener}"))?;
        gateway.replace(
            "metadata: {name: edge, namespace: default}",
            &format!("metadata: {{name: {name}, namespace: {namespace}}}"),
        )?;
        gateway.replace(
            "{name: http, protocol: HTTP",
            &format!("{{name: {listener}, protocol: HTTP"),
        )?;
        for template in [&mut filter, &mut gateway].into_iter().chain(&mut redis_call) {
            template.replace(
                "kind: Gateway, name: edge}",
                &format!("kind: Gateway, name: {name}}}"),
            )?;
            template
                .replace("namespace: default}", &format!("namespace: {namespace}}}"))
                .or_else(|error| {
                    // The namespace in the Gateway's own line was the only one.
                    if template.text.contains(&format!("namespace: {namespace}}}")) {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })?;
        }
    }
    let mut texts = vec![gateway.text];
    texts.extend(redis_call.map(|template| template.text));
    texts.push(filter.text);
    Ok(texts)
}

fn kubernetes(wish: &ManifestSettings) -> Result<Vec<String>, Failure> {
    let mut envoy = Template::new("envoy.yaml", shipped::ENVOY);
    envoy.policy(&wish.written)?;
    match &wish.redis {
        Some(redis) => {
            envoy.redis(redis)?;
            envoy.key_prefix(&wish.policy.redis.key_prefix)?;
        }
        // The listener and the cluster have the same name.
        None => {
            envoy.remove_paragraph("  - name: redis_call")?;
            envoy.remove_paragraph("  - name: redis")?;
        }
    }
    if let Some(module) = &wish.module {
        envoy.replace(
            "filename: /etc/headgate/headgate.wasm",
            &format!("filename: {module}"),
        )?;
    }
    let mut deployment = Template::new("envoy-deployment.yaml", shipped::DEPLOYMENT);
    if let Some(Password::Env(variable)) = wish.redis.as_ref().and_then(|redis| redis.password.as_ref()) {
        deployment.add_below("name: HEADGATE_HASH_KEY", &password(variable))?;
    }
    if wish.redis.as_ref().is_some_and(|redis| redis.tls.is_some()) {
        deployment.add_below(
            "name: module, mountPath",
            "- {name: headgate, mountPath: /etc/headgate-tls, readOnly: true}",
        )?;
        let secret = "secret: {secretName: headgate, items: [{key: redis-ca.pem, path: redis-ca.pem}]}";
        deployment.add_below(
            "name: module, configMap",
            &format!("- {{name: headgate, {secret}}}"),
        )?;
    }
    Ok(vec![config_map(&envoy.text), deployment.text])
}

/// The ConfigMap with Envoy's configuration, which the Deployment mounts.
fn config_map(envoy: &str) -> String {
    let indented = envoy.lines().map(|line| match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("    {line}\n"),
    });
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: envoy}}\ndata:\n  envoy.yaml: |\n{}",
        indented.collect::<String>()
    )
}

/// The manifest with the guard and the clusters; `None` without Redis.
fn redis_call(wish: &ManifestSettings, name: &'static str, text: &str) -> Result<Option<Template>, Failure> {
    let Some(redis) = &wish.redis else { return Ok(None) };
    let mut template = Template::new(name, text);
    template.redis(redis)?;
    template.key_prefix(&wish.policy.redis.key_prefix)?;
    Ok(Some(template))
}

fn password(variable: &str) -> String {
    format!("- {{name: {variable}, valueFrom: {{secretKeyRef: {{name: headgate, key: redis-password}}}}}}")
}

/// The keys of the Secret that the pods of the gateway use. Unused keys are left out, because a pod does not start if a
/// key is missing.
fn pods_of_gateway(gateway: &mut Template, redis: Option<&Redis>) -> Result<(), Failure> {
    match redis.and_then(|redis| redis.password.as_ref()) {
        Some(Password::Env(variable)) => {
            gateway.replace(&format!("name: {VARIABLE},"), &format!("name: {variable},"))?
        }
        Some(Password::File(_)) | None => gateway.remove_lines(&format!("name: {VARIABLE},"))?,
    }
    let has_password = redis.is_some_and(|redis| redis.password.is_some());
    let has_tls = redis.is_some_and(|redis| redis.tls.is_some());
    if !has_tls {
        gateway.remove_lines("mountPath: /etc/headgate/tls")?;
        gateway.remove_lines("secret: {secretName: headgate")?;
        gateway.replace("          - name: headgate\n", "")?;
    }
    // The command in the manifest's comment.
    let first = "--from-literal=hash-key=\"$(openssl rand -hex 32)\"";
    let rest = [
        (has_password, "--from-literal=redis-password=change-me"),
        (has_tls, "--from-file=redis-ca.pem=ca.pem"),
    ];
    let rest: Vec<&str> = rest
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, option)| *option)
        .collect();
    let shipped =
        format!("{first} \\\n#     --from-literal=redis-password=change-me --from-file=redis-ca.pem=ca.pem");
    let own = match rest.is_empty() {
        true => first.to_owned(),
        false => format!("{first} \\\n#     {}", rest.join(" ")),
    };
    gateway.replace(&shipped, &own)
}
