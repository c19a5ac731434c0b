//! A crash at every call: whatever the operator was about to say to Kubernetes or Azure, or had just said, the
//! next one brings the world to the same end.
//!
//! A scenario is played once without faults, through gates that write down every call of the operator. Then, for
//! each of these calls, it is played in a new world twice more: the operator is killed when the call is about to
//! be sent, and when it was applied and its answer is lost. `WIB_CRASH_PAIRS=writes` plays three of the scenarios with
//! two crashes too, at every pair of writes, `WIB_CRASH_PAIRS=1` at every pair of calls, which takes hours, and
//! `WIB_CRASH_PAIRS=50` at every fiftieth of these.

mod explorer;
mod oracles;
mod scenarios;
mod snapshot;
mod stage;

use scenarios::{
    a_slot_is_freed, adopt, change_identity, change_service_account, change_that_is_denied,
    change_twice_in_quick_succession, create, create_with_service_account, delete, issuer_change,
    namespace_deletion, one_of_two_of_a_pair_goes, release, repair_an_edited_credential, retain,
    revoke_and_grant_again, service_account_made_again, suspend_drift_and_resume, the_older_of_two_goes,
};

use crate::runner::trials;

trials![
    exhaustive create,
    exhaustive create_with_service_account,
    exhaustive delete,
    exhaustive change_identity,
    exhaustive change_service_account,
    exhaustive change_twice_in_quick_succession,
    exhaustive revoke_and_grant_again,
    exhaustive change_that_is_denied,
    exhaustive suspend_drift_and_resume,
    exhaustive adopt,
    exhaustive repair_an_edited_credential,
    exhaustive one_of_two_of_a_pair_goes,
    exhaustive the_older_of_two_goes,
    exhaustive retain,
    exhaustive release,
    exhaustive service_account_made_again,
    exhaustive issuer_change,
    exhaustive a_slot_is_freed,
    exhaustive namespace_deletion,
];
