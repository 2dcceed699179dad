//! `headgate generate`: manifests for meshes and for Kubernetes.

mod admission;

use crate::{Failure, Output};
use clap::Args;

#[derive(Args)]
pub(crate) struct GenerateArgs {}

pub(crate) fn run(_args: &GenerateArgs) -> Result<Output, Failure> {
    Ok(Output::text(admission::documents()))
}
