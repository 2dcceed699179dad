//! `headgate schema`: the JSON Schema of a policy, with which editors complete and check it.
//!
//! Fields, words and ranges are those of the configuration's readers ([`headgate_core::config::shape`]), descriptions and
//! defaults those of the reference in `docs/configuration.md`. The schema refuses nothing that the filter accepts. What it
//! cannot express, such as a name that is used twice, only `headgate check` reports.

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
