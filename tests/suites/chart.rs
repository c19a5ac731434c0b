//! The Helm chart, rendered by helm and installed on a real API server.

mod admission;
mod consistency;
mod helm;
mod lifecycle;
mod release;
mod render;
mod rights;
mod roles;
mod values;
mod wholeness;

use admission::bindings_without_a_grant_are_refused_at_once;
use consistency::{
    the_chart_gives_the_rights_of_config, the_chart_lets_through_what_config_does,
    the_chart_runs_the_pod_of_config,
};
use lifecycle::{
    the_rights_of_config_are_enough_and_none_too_many, the_rights_of_the_chart_are_enough_and_none_too_many,
    the_rights_within_one_namespace_are_enough_and_none_too_many,
    the_rights_without_authorization_and_election_are_enough_and_none_too_many,
};
use release::helm_installs_upgrades_goes_back_and_leaves_the_definitions;
use render::{every_set_of_values_makes_what_the_api_server_takes, the_notes_say_what_to_do_next};
use roles::{
    people_write_bindings_and_nobody_but_administrators_grants,
    platform_teams_read_records_and_nobody_else_does,
};
use values::{values_that_contradict_each_other_say_what_to_do, wrong_values_are_refused_by_name};

use crate::runner::trials;

trials![
    alone every_set_of_values_makes_what_the_api_server_takes,
    alone helm_installs_upgrades_goes_back_and_leaves_the_definitions,
    alone the_notes_say_what_to_do_next,
    alone wrong_values_are_refused_by_name,
    alone values_that_contradict_each_other_say_what_to_do,
    alone the_chart_gives_the_rights_of_config,
    alone the_chart_runs_the_pod_of_config,
    alone the_chart_lets_through_what_config_does,
    alone the_rights_of_the_chart_are_enough_and_none_too_many,
    alone the_rights_within_one_namespace_are_enough_and_none_too_many,
    alone the_rights_without_authorization_and_election_are_enough_and_none_too_many,
    alone the_rights_of_config_are_enough_and_none_too_many,
    alone people_write_bindings_and_nobody_but_administrators_grants,
    alone platform_teams_read_records_and_nobody_else_does,
    alone bindings_without_a_grant_are_refused_at_once,
];
