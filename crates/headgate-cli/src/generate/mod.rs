//! `headgate generate` writes manifests for Istio, Envoy Gateway and plain Kubernetes from one policy to standard
//! output.
//!
//! The shipped manifests are the templates. With the options for which they were written, the output equals them.
//! `template` replaces the policy, the Redis, the image or a name, and keeps everything else, comments included.
//! `meshes` decides which files a mesh has. `notes` has the remaining manual steps. `admission` is the policy for
//! `kubectl apply`.

mod admission;
mod meshes;
mod notes;
mod template;
#[cfg(test)]
mod tests;

use crate::parts::Part;
use crate::redis_options::{Redis, RedisOptions};
use crate::{patch, Failure, Output};
use clap::{Args, ValueEnum};
use headgate_core::config::{Policy, Store};

/// The target of the manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mesh {
    /// Istio: EnvoyFilters for an ingress gateway, or with --sidecar for services
    Istio,
    /// Envoy Gateway: a Gateway with EnvoyPatchPolicies
    Gateway,
    /// Plain Kubernetes: an Envoy with its Service
    Kubernetes,
}

#[derive(Args)]
pub(crate) struct GenerateArgs {
    mesh: Mesh,
    /// The policy as YAML, as in docs/configuration.md
    #[arg(long, value_name = "FILE")]
    policy: String,
    #[command(flatten)]
    redis: RedisOptions,
    /// For Istio: the filter is in the sidecars of services, and not in the gateway
    #[arg(long)]
    sidecar: bool,
    /// For Istio: the image with the module; `make image` prints how to push it
    #[arg(long, value_name = "URL")]
    image: Option<String>,
    /// For Envoy Gateway and Kubernetes: the path of the module in the pods of the proxy
    #[arg(long, value_name = "PATH")]
    module: Option<String>,
    /// For Istio: the namespace of the proxies, for the ConfigMap of their bootstrap
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// For Envoy Gateway: the listener, as NAMESPACE/GATEWAY/LISTENER [default: default/edge/http]
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Add a ValidatingAdmissionPolicy: `kubectl apply` refuses a broken policy (Kubernetes 1.30 or later)
    #[arg(long)]
    admission: bool,
}

/// The contents of the manifests.
pub(crate) struct ManifestSettings {
    pub mesh: Mesh,
    pub policy: Policy,
    pub written: Part,
    /// `None` with `store: local`.
    pub redis: Option<Redis>,
    pub sidecar: bool,
    pub image: Option<String>,
    pub module: Option<String>,
    pub namespace: Option<String>,
    pub gateway: Option<[String; 3]>,
}

pub(crate) fn run(args: &GenerateArgs) -> Result<Output, Failure> {
    let redis = args.redis.read()?;
    let Some((policy, written)) = patch::policy(&args.policy)? else {
        return Ok(Output {
            text: String::new(),
            status: 1,
        });
    };
    let wish = wish(args, policy, written, redis)?;
    let mut text = meshes::manifests(&wish)?;
    if args.admission {
        text = format!("{text}---\n{}", admission::documents());
    }
    for note in notes::notes(&wish) {
        eprintln!("{note}");
    }
    Ok(Output::text(text))
}

fn wish(
    args: &GenerateArgs,
    policy: Policy,
    written: Part,
    redis: Option<Redis>,
) -> Result<ManifestSettings, Failure> {
    let only_for = |is_given: bool, option: &str, mesh: Mesh, what: &str| match is_given && args.mesh != mesh
    {
        true => Err(Failure::new(format!("{option} is for {what}; remove it"))),
        false => Ok(()),
    };
    only_for(args.sidecar, "--sidecar", Mesh::Istio, "istio")?;
    only_for(
        args.image.is_some(),
        "--image",
        Mesh::Istio,
        "istio; with the others the module is a file, --module",
    )?;
    only_for(args.namespace.is_some(), "--namespace", Mesh::Istio, "istio")?;
    only_for(args.gateway.is_some(), "--gateway", Mesh::Gateway, "gateway")?;
    if args.module.is_some() && args.mesh == Mesh::Istio {
        return Err(Failure::new(
            "--module: Istio's agent fetches the module; write --image",
        ));
    }
    let redis = match (redis, policy.store) {
        (Some(_), Store::Local) => {
            return Err(Failure::new(
                "--redis: the policy has store: local, which uses no Redis; remove one of the two",
            ));
        }
        (None, Store::Redis) => {
            let example = "write --redis redis://HOST:PORT, or store: local in the policy";
            return Err(Failure::new(format!("--redis is missing: {example}")));
        }
        (redis, _) => redis,
    };
    if policy.store == Store::Redis && policy.redis.cluster != template::REDIS_CALL {
        return Err(Failure::new(format!(
            "redis.cluster: \"{}\": the manifests call it {}; leave it out",
            policy.redis.cluster,
            template::REDIS_CALL
        )));
    }
    let gateway = match args.gateway.as_deref() {
        None => None,
        Some(name) => Some(listener(name)?),
    };
    let image = args.image.as_deref().map(image).transpose()?;
    for (option, value) in [("--module", &args.module), ("--namespace", &args.namespace)] {
        if let Some(value) = value.as_deref().filter(|value| !is_plain(value)) {
            return Err(Failure::new(format!(
                "{option}: \"{value}\": use letters, digits and . _ - /"
            )));
        }
    }
    Ok(ManifestSettings {
        mesh: args.mesh,
        policy,
        written,
        redis,
        sidecar: args.sidecar,
        image,
        module: args.module.clone(),
        namespace: args.namespace.clone(),
        gateway,
    })
}

/// Whether a text needs no quotes in YAML.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
}

fn listener(name: &str) -> Result<[String; 3], Failure> {
    let parts: Vec<String> = name.split('/').map(str::to_owned).collect();
    let parts: Result<[String; 3], _> = parts.try_into();
    match parts {
        Ok(parts) if parts.iter().all(|part| is_plain(part)) => Ok(parts),
        _ => Err(Failure::new(format!(
            "--gateway: \"{name}\": write NAMESPACE/GATEWAY/LISTENER, such as default/edge/http"
        ))),
    }
}

fn image(url: &str) -> Result<String, Failure> {
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("oci://{url}")
    };
    let name = url.strip_prefix("oci://").unwrap_or_default();
    match !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c))
    {
        true => Ok(url),
        false => Err(Failure::new(format!(
            "--image: \"{url}\": write oci://REGISTRY/NAME:TAG"
        ))),
    }
}
