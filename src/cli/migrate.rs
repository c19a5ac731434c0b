//! The command line of `wib migrate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Examples:
  wib migrate .                                  # the plan for a repository
  wib migrate clusters/prod                      # the same for one overlay, with the bases that it uses
  kustomize build clusters/prod | wib migrate -  # from standard input
  wib migrate -o yaml clusters/prod > grant.yaml # the objects of the first step, to apply or to commit
  wib migrate --diff . | git apply               # what it changes in the files, as a patch
  wib migrate --in-place --step grant .          # the files themselves, step by step
  wib migrate -o json . | jq '.findings[] | select(.severity == \"error\")'
  wib migrate --exit-code . > /dev/null          # in a pipeline: is pod identity gone?

Exit codes: 0 done, 1 failed, 2 an argument is wrong or a path cannot be read.
With --exit-code: 0 nothing to migrate, 6 something to migrate or to look at, 7 an error among the findings, or
something that was left as it was.

Every finding is explained in docs/migrate.md.";

/// Arguments of `wib migrate`.
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    /// Files and folders with manifests, kustomizations and values of charts; - for standard input.
    #[arg(value_name = "PATH", default_value = ".")]
    pub paths: Vec<PathBuf>,
    /// What to print: tables for people, the whole plan as JSON, or the objects to apply as YAML.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: MigrateOutput,
    /// Namespace of objects that name none, as with kubectl apply.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default", value_parser = super::values::object_name)]
    pub namespace: String,
    /// Identities serve pods of their own namespace only: so in the AKS add-on, in managed mode and with
    /// forceNamespaced. By default that is read from the files of the installation.
    #[arg(long)]
    pub namespaced: bool,
    /// Rewrite the files: label and ServiceAccount of the pods, components, new objects, and what goes.
    #[arg(long, conflicts_with = "diff")]
    pub in_place: bool,
    /// Print what --in-place would do as a patch, and change nothing.
    #[arg(long)]
    pub diff: bool,
    /// How far to rewrite the files; by default all of it. Each step brings the ones before it along.
    #[arg(long, value_enum)]
    pub step: Option<MigrateStep>,
    /// Tell by the exit code whether there is something to migrate.
    #[arg(long)]
    pub exit_code: bool,
}

/// What to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MigrateOutput {
    /// Tables and lines for people.
    #[default]
    Table,
    /// The whole plan and all findings.
    Json,
    /// The objects to apply: ServiceAccounts, WorkloadIdentityBindings and grants.
    Yaml,
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MigrateStep {
    /// ServiceAccounts, WorkloadIdentityBindings and grants.
    Grant,
    /// Pods and components use them.
    Switch,
    /// Bindings and identities of pod identity go.
    Clean,
}
