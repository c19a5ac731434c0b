//! Runs a pass by a script, and holds what is true of every pass at every step.

use std::mem::discriminant;

use super::*;

/// What both passes are.
pub(super) trait PassUnderTest: Clone {
    fn next(&mut self, answer: Answer) -> Effect;
}

impl PassUnderTest for BindingPass {
    fn next(&mut self, answer: Answer) -> Effect {
        Self::next(self, answer)
    }
}

impl PassUnderTest for RevocationPass {
    fn next(&mut self, answer: Answer) -> Effect {
        Self::next(self, answer)
    }
}

/// The effects of a pass, one by one, each with its answer. Says how the pass ends.
pub(super) fn script<const N: usize>(mut pass: impl PassUnderTest, steps: [(Effect, Answer); N]) -> End {
    let mut effect = pass.next(Answer::Begin);
    for (at, (expected, answer)) in steps.into_iter().enumerate() {
        assert_eq!(effect, expected, "effect {at}");
        is_outdated_by_any_other(&pass, &effect, &answer);
        effect = pass.next(answer);
    }
    match effect {
        Effect::End(end) => end,
        other => panic!("the pass goes on with {other:?}"),
    }
}

/// As [`script`], of a binding that is reported on.
pub(super) fn report_of<const N: usize>(
    subject: Subject,
    known: Known,
    steps: [(Effect, Answer); N],
) -> Outcome {
    match script(BindingPass::new(subject, known), steps) {
        End::Report(outcome) => *outcome,
        other => panic!("the pass ends with {other:?}"),
    }
}

/// An answer that does not belong to the effect, or says that the world has moved on, ends the pass: it is
/// repeated.
fn is_outdated_by_any_other(pass: &impl PassUnderTest, effect: &Effect, expected: &Answer) {
    let others = [
        Answer::Begin,
        Answer::Done,
        Answer::Outdated,
        Answer::Reviewed(Ok(Review::Granted)),
        Answer::Observed(Ok(snapshot(Vec::new()))),
        Answer::Found(None),
        Answer::Confirmed { after_trouble: false },
        Answer::Unwanted(Vec::new()),
        Answer::Definition { is_going: false },
        put(),
        Answer::Deleted(Ok(Vec::new())),
        Answer::Annotated(Ok(None)),
        Answer::Revoked(Revoked::default()),
    ];
    // What may fail has an answer of its own as well.
    if matches!(expected, Answer::Failed(_)) {
        return;
    }
    for other in others {
        if discriminant(&other) != discriminant(expected) && !is_best_effort(pass, effect) {
            let ends = pass.clone().next(other.clone());
            assert_eq!(ends, Effect::End(End::Outdated), "{other:?} to {effect:?}");
        }
    }
}

/// The annotations that a revocation leaves behind have no part in trust: whatever comes of them, it ends.
fn is_best_effort(pass: &impl PassUnderTest, effect: &Effect) -> bool {
    let ends = pass.clone().next(Answer::Failed(refusal()));
    matches!(effect, Effect::Withdraw(_)) && matches!(ends, Effect::End(End::Revoked(_)))
}
