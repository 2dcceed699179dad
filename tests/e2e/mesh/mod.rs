//! Loaded where people are: as an OCI image, in Istio, in Envoy Gateway, in plain Kubernetes.
//!
//! No cluster runs here. What a control plane makes of the shipped manifests is made by `istio` and `gateway`, by what
//! the control planes' documentation says, and out of the abridged configurations in `shapes/`; what comes out is run
//! by real Envoy against real Redis.

mod gateway;
mod image;
mod istio;
mod kubernetes;
mod local;
mod manifests;
mod release;
mod render;
