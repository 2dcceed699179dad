//! Ways to deploy the module: as an OCI image, in Istio, in Envoy Gateway, in plain Kubernetes.
//!
//! No cluster runs here. What a control plane makes of the shipped manifests is made by `istio` and `gateway`, as
//! the control planes' documentation describes, from the abridged configurations in `shapes/`; real Envoy runs the
//! result against real Redis.

mod gateway;
mod image;
mod istio;
mod kubernetes;
mod local;
mod manifests;
mod release;
mod render;
