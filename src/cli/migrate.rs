//! The command line of `wib migrate`.

use std::path::PathBuf;
use std::time::Duration;

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
  wib migrate --cluster -A                       # the plan for the cluster of the kubeconfig
  wib migrate --cluster -A --output-dir out      # its objects as files, a folder for each step
  wib migrate --cluster -n shop --apply --step grant
  wib migrate --cluster -n shop --apply --step switch
  wib migrate --cluster -n shop --apply --step clean
  wib migrate --cluster -n shop --rollback       # everything back to what it was

Exit codes: 0 done, 1 failed or not all could be done, 2 an argument is wrong or a path cannot be read.
With --exit-code: 0 nothing to migrate, 6 something to migrate or to look at, 7 an error among the findings, or
something that was left as it was.

Every finding is explained in docs/migrate-findings.md.";

/// Arguments of `wib migrate`.
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    /// Files and folders with manifests, kustomizations and values of charts; - for standard input. By default the
    /// current folder, or with --cluster none.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// What to print: tables for people, the whole plan as JSON, or the objects to apply as YAML.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: MigrateOutput,
    /// Namespace of objects that name none, as with kubectl apply, and with --cluster the one to migrate. By default
    /// that of the kubeconfig with --cluster, else default.
    #[arg(short, long, value_name = "NAMESPACE", value_parser = super::values::object_name)]
    pub namespace: Option<String>,
    /// Identities serve pods of their own namespace only: so in the AKS add-on, in managed mode and with
    /// forceNamespaced. By default that is read from the files of the installation.
    #[arg(long)]
    pub namespaced: bool,
    /// Rewrite the files: label and ServiceAccount of the pods, components, new objects, and what goes.
    #[arg(long, conflicts_with_all = ["diff", "cluster", "output_dir"])]
    pub in_place: bool,
    /// Print what --in-place would do as a patch, and change nothing.
    #[arg(long, conflicts_with_all = ["cluster", "output_dir"])]
    pub diff: bool,
    /// Tell by the exit code whether there is something to migrate.
    #[arg(long)]
    pub exit_code: bool,
    /// Write the objects of each step into this folder: 1-grant, 2-switch and 3-clean.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["apply", "rollback"])]
    pub output_dir: Option<PathBuf>,
    /// Let --output-dir overwrite files that differ.
    #[arg(long, requires = "output_dir")]
    pub force: bool,
    /// Settings for clusters.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Settings for clusters.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clusters")]
#[allow(clippy::struct_excessive_bools)] // each is a flag
pub struct ClusterArgs {
    /// Read the cluster of the kubeconfig, alone or beside PATHs. Changes nothing without --apply or --rollback.
    #[arg(long)]
    pub cluster: bool,
    /// Kubeconfig file. By default KUBECONFIG or ~/.kube/config, else the cluster around the process.
    #[arg(long, value_name = "FILE", requires = "cluster", value_parser = super::values::path)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub context: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, requires = "cluster", conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Carry out the step that --step names.
    #[arg(long, requires = "cluster")]
    pub apply: bool,
    /// Undo what --apply did, as its journal says; with --step that step and those after it.
    #[arg(long, requires = "cluster", conflicts_with = "apply")]
    pub rollback: bool,
    /// The step to carry out: first grant, then switch, then clean. In files, how far to go: by default all of it, and
    /// each step brings those before it along.
    #[arg(long, value_enum, value_name = "STEP", help_heading = "Options")]
    pub step: Option<MigrateStep>,
    /// How long to wait for bindings to become Ready and for pods to be replaced.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = super::values::interval)]
    pub timeout: Duration,
    /// Wait for bindings and pods.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub wait: bool,
    /// Change objects of Helm, Flux and Argo CD too, though these may change them back.
    #[arg(long)]
    pub include_managed: bool,
    /// Leave ClusterRoles and ClusterRoleBindings to whoever owns the identities.
    #[arg(long)]
    pub skip_grants: bool,
}

/// A step of the migration that can be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum MigrateStep {
    /// Create ServiceAccounts, grants and bindings, and wait until these are Ready.
    Grant,
    /// Switch the pods.
    Switch,
    /// Remove bindings and identities of pod identity that nothing uses any more.
    Clean,
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
