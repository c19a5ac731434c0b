//! Flux, Argo CD and whoever uses kstatus: what they make of bindings, and that nobody fights over an object.

mod bindings;
mod health;
mod service_account;
mod states;
mod testdata;
mod tools;

use crate::runner::trials;
use bindings::{a_manifest_applied_again_changes_nothing, a_pruned_binding_ends_in_every_order};
use service_account::{
    a_client_id_that_a_three_way_patch_removes_is_repaired_once, a_client_id_that_git_drops_is_repaired_once,
    a_replace_without_annotations_is_repaired_once, a_takeover_of_kubectls_fields_leaves_ours,
    another_client_id_in_git_is_told_and_not_fought_over, every_tool_applies_beside_us,
    the_same_client_id_in_git_is_shared,
};
use states::every_state_is_what_each_tool_takes_it_for;
use testdata::argo_cds_own_tests_of_the_script_pass;

trials![
    shared every_state_is_what_each_tool_takes_it_for,
    alone argo_cds_own_tests_of_the_script_pass,
    shared every_tool_applies_beside_us,
    shared another_client_id_in_git_is_told_and_not_fought_over,
    shared the_same_client_id_in_git_is_shared,
    shared a_client_id_that_git_drops_is_repaired_once,
    shared a_client_id_that_a_three_way_patch_removes_is_repaired_once,
    shared a_replace_without_annotations_is_repaired_once,
    shared a_takeover_of_kubectls_fields_leaves_ours,
    shared a_manifest_applied_again_changes_nothing,
    shared a_pruned_binding_ends_in_every_order,
];
