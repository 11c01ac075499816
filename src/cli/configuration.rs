//! `chamberlain config`.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::output::{line, print, say};
use super::{Failure, Place, load};
use crate::auth::{LocalAdmin, Verifier};
use crate::config::{Flags, print as as_toml};
use crate::tls::Certificate;

/// What is configured
#[derive(Subcommand, Debug)]
pub(super) enum Configuration {
    /// Say whether `serve` would take the configuration, and what to do if not
    #[command(
        after_help = "Reads the files that the configuration names, and opens nothing else. Exit code 2 when something is wrong."
    )]
    Check(Source),
    /// Print every key with its value and where that came from, as TOML; secrets are shown as (set)
    Print(Source),
}

#[derive(Args, Debug)]
pub(super) struct Source {
    #[command(flatten)]
    place: Place,
    /// As for serve
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// As for serve
    #[arg(long)]
    dev: bool,
}

impl Source {
    fn flags(&self) -> Flags {
        Flags { listen: self.listen.clone(), dev: self.dev, ..self.place.flags() }
    }
}

impl Configuration {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Print(source) => print(&as_toml(&load(&source.flags())?.settings)),
            Self::Check(source) => {
                let config = load(&source.flags())?.config;
                let wrong = |why: &dyn std::fmt::Display| Failure::usage(why.to_string());
                let local = LocalAdmin::new(&config.site).map_err(|why| Failure::failed(why.to_string()))?;
                Verifier::new(&config.sign_in, Arc::new(local)).map_err(|why| wrong(&why))?;
                if let Some(files) = &config.tls {
                    Certificate::load(files)
                        .and_then(|certificate| certificate.server_config())
                        .map_err(|why| wrong(&why))?;
                }
                if let Some(subjects) = &config.subjects {
                    crate::subjects::options(subjects).map_err(|why| wrong(&why))?;
                }
                crate::serve::host_policy(&config).map_err(|why| wrong(&why))?;
                if config.data.join(chamberlain_stores::embedded::FILE_NAME).exists() {
                    config.master_key.load(&config.data).map_err(|why| wrong(&why))?;
                } else {
                    say(format!("({} holds no data yet)", config.data.display()));
                }
                line("the configuration makes sense")
            }
        }
    }
}
