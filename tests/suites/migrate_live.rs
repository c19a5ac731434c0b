//! `wib migrate --cluster`: the real program on a real API server with the definitions of aad-pod-identity, the
//! operator and the emulated Azure, with exactly the rights that `docs/migrate.md` asks for.

mod controllers;
mod crashes;
mod folders;
mod reading;
mod refusals;
mod snapshot;
mod stage;
mod whole;

use crashes::killed_after_every_write_it_ends_the_same;
use folders::{arguments_that_do_not_go_together_are_refused, folders_hold_what_kubectl_takes};
use reading::{
    a_cluster_without_pod_identity_has_nothing_to_migrate,
    an_installation_elsewhere_tells_that_identities_keep_to_their_namespace, files_and_a_cluster_are_joined,
    long_lists_are_read_page_by_page,
};
use refusals::{
    a_class_and_all_who_mount_it_switch_together_or_stay, a_conflict_is_tried_again_with_what_is_there_then,
    a_full_journal_stops_before_anything_is_done, a_workload_whose_bindings_are_not_ready_is_not_switched,
    rights_that_are_missing_are_named_and_nothing_is_done, what_cannot_be_changed_is_left_and_said,
    what_is_used_is_not_removed, who_sees_one_namespace_migrates_what_is_certain,
    without_the_webhook_no_pod_is_switched,
};
use whole::a_cluster_is_migrated_and_brought_back;

use crate::runner::trials;

trials![
    alone a_cluster_is_migrated_and_brought_back,
    alone killed_after_every_write_it_ends_the_same,
    alone rights_that_are_missing_are_named_and_nothing_is_done,
    alone who_sees_one_namespace_migrates_what_is_certain,
    alone a_workload_whose_bindings_are_not_ready_is_not_switched,
    alone without_the_webhook_no_pod_is_switched,
    alone a_class_and_all_who_mount_it_switch_together_or_stay,
    alone what_is_used_is_not_removed,
    alone what_cannot_be_changed_is_left_and_said,
    alone a_conflict_is_tried_again_with_what_is_there_then,
    alone a_full_journal_stops_before_anything_is_done,
    alone long_lists_are_read_page_by_page,
    alone an_installation_elsewhere_tells_that_identities_keep_to_their_namespace,
    alone files_and_a_cluster_are_joined,
    alone a_cluster_without_pod_identity_has_nothing_to_migrate,
    alone folders_hold_what_kubectl_takes,
    alone arguments_that_do_not_go_together_are_refused,
];
