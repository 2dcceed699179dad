//! The steps that the manifests do not include, as lines for standard error: the module, the Secret, the settings of
//! the pods.

use super::{ManifestSettings, Mesh};
use crate::redis_options::Password;

pub(super) fn notes(wish: &ManifestSettings) -> Vec<String> {
    let mut notes = Vec::new();
    let namespace = match wish.mesh {
        Mesh::Istio => wish.namespace.as_deref().unwrap_or("NAMESPACE"),
        Mesh::Gateway => "envoy-gateway-system",
        Mesh::Kubernetes => "default",
    };
    let kubectl = format!("kubectl -n {namespace}");
    notes.push("first, once:".to_owned());
    match wish.mesh {
        Mesh::Istio => notes.push("  make image                # and push it, as it prints".to_owned()),
        Mesh::Gateway | Mesh::Kubernetes => {
            notes.push(format!(
                "  {kubectl} create configmap headgate-module --from-file=target/headgate.wasm"
            ));
        }
    }
    let redis = wish.redis.as_ref();
    let password = redis.and_then(|redis| redis.password.as_ref());
    let tls = redis.and_then(|redis| redis.tls.as_ref());
    let mut secret = "--from-literal=hash-key=\"$(openssl rand -hex 32)\"".to_owned();
    if password.is_some() {
        secret += " --from-literal=redis-password=PASSWORD";
    }
    if tls.is_some() {
        secret += " --from-file=redis-ca.pem=CA.pem";
    }
    notes.push(format!("  {kubectl} create secret generic headgate {secret}"));
    if wish.mesh == Mesh::Istio {
        notes.push("  the pods' template, as in envoy/istio/workload.yaml:".to_owned());
        notes.push("    labels: {headgate: enabled}".to_owned());
        notes.push("    annotations: {sidecar.istio.io/bootstrapOverride: headgate-bootstrap}".to_owned());
        let key = "{name: HEADGATE_HASH_KEY, valueFrom: {secretKeyRef: {name: headgate, key: hash-key}}}";
        notes.push(format!("    env of the container istio-proxy: {key}"));
        if let Some(Password::Env(name)) = password {
            let value = "valueFrom: {secretKeyRef: {name: headgate, key: redis-password}}";
            notes.push(format!("      {{name: {name}, {value}}}"));
        }
    }
    let mounted = match wish.mesh {
        Mesh::Istio => None,
        Mesh::Gateway => Some("/etc/headgate/tls/redis-ca.pem"),
        Mesh::Kubernetes => Some("/etc/headgate-tls/redis-ca.pem"),
    };
    if let Some(tls) = tls.filter(|tls| mounted != Some(tls.ca.as_str())) {
        let from = match mounted {
            Some(path) => format!("; the Secret's is {path} there (--ca {path})"),
            None => ", from the Secret's redis-ca.pem".to_owned(),
        };
        notes.push(format!("  the proxies need the file {}{from}", tls.ca));
    }
    if let Some(Password::File(path)) = password {
        notes.push(format!(
            "  the proxies need the file {path}, from the Secret's redis-password"
        ));
    }
    notes.push("then: headgate generate … | kubectl apply -f -".to_owned());
    notes
}
