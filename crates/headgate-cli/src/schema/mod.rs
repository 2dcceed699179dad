//! `headgate schema` prints the JSON Schema of a policy. Editors use it to complete and check a policy.
//!
//! Fields, words and ranges come from the tables of the configuration's readers ([`headgate_core::config::shape`]).
//! Descriptions and defaults come from the reference in `docs/configuration.md`. The schema accepts everything that the
//! filter accepts. Mistakes that it cannot express, such as a name that is used twice, are reported only by
//! `headgate check`.

mod description;
mod form;
mod render;
#[cfg(test)]
mod tests;

pub(crate) use form::{duration, Pattern};

use crate::{Failure, Output};
use clap::Args;

#[derive(Args)]
pub(crate) struct SchemaArgs {}

pub(crate) fn run(_args: &SchemaArgs) -> Result<Output, Failure> {
    let schema = render::schema().map_err(Failure::new)?;
    Ok(Output::text(format!("{schema:#}\n")))
}
