//! `wib migrate --cluster`: the real program on a real API server with the definitions of aad-pod-identity, the
//! operator and the emulated Azure, with exactly the rights that `docs/migrate.md` asks for.

mod controllers;
mod crashes;
mod refusals;
mod stage;
mod whole;

use crashes::killed_after_every_write_it_ends_the_same;
use refusals::{
    a_conflict_is_tried_again_with_what_is_there_then, a_full_journal_stops_before_anything_is_done,
    a_workload_whose_bindings_are_not_ready_is_not_switched, arguments_that_do_not_go_together_are_refused,
    folders_hold_what_kubectl_takes, long_lists_are_read_page_by_page,
    rights_that_are_missing_are_named_and_nothing_is_done, what_cannot_be_changed_is_left_and_said,
    what_is_used_is_not_removed, who_sees_one_namespace_migrates_what_is_certain,
};
use whole::a_cluster_is_migrated_and_brought_back;

use crate::runner::trials;

trials![
    alone a_cluster_is_migrated_and_brought_back,
    alone killed_after_every_write_it_ends_the_same,
    alone rights_that_are_missing_are_named_and_nothing_is_done,
    alone a_workload_whose_bindings_are_not_ready_is_not_switched,
    alone what_is_used_is_not_removed,
    alone what_cannot_be_changed_is_left_and_said,
    alone a_conflict_is_tried_again_with_what_is_there_then,
    alone a_full_journal_stops_before_anything_is_done,
    alone folders_hold_what_kubectl_takes,
    alone who_sees_one_namespace_migrates_what_is_certain,
    alone long_lists_are_read_page_by_page,
    alone arguments_that_do_not_go_together_are_refused,
];
