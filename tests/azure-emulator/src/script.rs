//! The faults still to come, counted down request by request.

use crate::faults::{Fault, FaultAction};
use crate::operation::Operation;

/// The faults still to come.
#[derive(Debug, Default)]
pub(crate) struct Script(Vec<Fault>);

impl Script {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts the request and answers what happens to it.
    pub(crate) fn meet(&mut self, operation: Operation, method: &str, path: &str) -> Option<FaultAction> {
        for fault in self
            .0
            .iter_mut()
            .filter(|fault| fault.matches(operation, method, path))
        {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            match &mut fault.times {
                Some(0) => continue,
                Some(times) => *times -= 1,
                None => {}
            }
            return Some(fault.action.clone());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_matching_request_is_hit_once() {
        let mut script = Script::default();
        script.add(
            Fault::on(Operation::PutCredential)
                .path("/Shop/")
                .nth(2)
                .status(503, "Busy", "later"),
        );
        let mut meet = |operation, path| script.meet(operation, "PUT", path).is_some();
        assert!(!meet(Operation::PutCredential, "/x/shop/1"));
        assert!(!meet(Operation::PutCredential, "/x/other/1"));
        assert!(!meet(Operation::PutIdentity, "/x/shop/1"));
        assert!(meet(Operation::PutCredential, "/x/shop/1"));
        assert!(!meet(Operation::PutCredential, "/x/shop/1"));
    }
}
