//! A queue of queues: first come, first served within a namespace, one after the other between
//! them. No I/O, no clock.

use std::collections::{HashMap, VecDeque};

use super::{Flow, Priority};

/// Items that wait, by priority and namespace.
#[derive(Debug)]
pub struct Queue<T> {
    first: RoundRobin<T>,
    usual: RoundRobin<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            first: RoundRobin::default(),
            usual: RoundRobin::default(),
        }
    }
}

impl<T> Queue<T> {
    /// Appends an item.
    pub fn push(&mut self, flow: Flow<'_>, item: T) {
        match flow.priority {
            Priority::First => self.first.of(flow.namespace).push_back(item),
            Priority::Begun => self.usual.of(flow.namespace).push_front(item),
            Priority::Usual => self.usual.of(flow.namespace).push_back(item),
        }
    }

    /// Takes the item whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.first.pop().or_else(|| self.usual.pop())
    }

    /// How many items would be taken before a new one of this flow.
    pub fn ahead_of(&self, flow: Flow<'_>) -> usize {
        match flow.priority {
            Priority::First => self
                .first
                .ahead_of(flow.namespace, self.first.waiting(flow.namespace)),
            Priority::Begun => self.first.len + self.usual.ahead_of(flow.namespace, 0),
            Priority::Usual => {
                let own = self.usual.waiting(flow.namespace);
                self.first.len + self.usual.ahead_of(flow.namespace, own)
            }
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.first.len + self.usual.len == 0
    }
}

#[derive(Debug)]
struct RoundRobin<T> {
    by_namespace: HashMap<String, VecDeque<T>>,
    /// Namespaces that have items, the next to be served in front.
    order: VecDeque<String>,
    len: usize,
}

impl<T> Default for RoundRobin<T> {
    fn default() -> Self {
        Self {
            by_namespace: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> RoundRobin<T> {
    /// The queue of a namespace, to which one item is about to be added.
    fn of(&mut self, namespace: &str) -> &mut VecDeque<T> {
        self.len += 1;
        if !self.by_namespace.contains_key(namespace) {
            self.order.push_back(namespace.to_owned());
        }
        self.by_namespace.entry(namespace.to_owned()).or_default()
    }

    fn waiting(&self, namespace: &str) -> usize {
        self.by_namespace.get(namespace).map_or(0, VecDeque::len)
    }

    fn pop(&mut self) -> Option<T> {
        let namespace = self.order.pop_front()?;
        let items = self.by_namespace.get_mut(&namespace)?;
        let item = items.pop_front()?;
        self.len -= 1;
        if items.is_empty() {
            self.by_namespace.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        Some(item)
    }

    /// How many come before a new item that has `own` of its namespace before it.
    fn ahead_of(&self, namespace: &str, own: usize) -> usize {
        let others = self
            .by_namespace
            .iter()
            .filter(|(other, _)| other.as_str() != namespace)
            .map(|(_, items)| items.len().min(own + 1));
        own + others.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usual(namespace: &str) -> Flow<'_> {
        Flow {
            namespace,
            priority: Priority::Usual,
        }
    }

    #[test]
    fn a_newcomer_waits_for_one_of_each_namespace_however_long_their_queues_are() {
        let mut queue = Queue::default();
        for n in 0..2000 {
            queue.push(usual("big"), ("big", n));
        }
        assert_eq!(queue.ahead_of(usual("small")), 1);
        queue.push(usual("small"), ("small", 0));
        assert_eq!(queue.pop(), Some(("big", 0)));
        assert_eq!(queue.pop(), Some(("small", 0)));
        assert_eq!(queue.pop(), Some(("big", 1)));
    }

    #[test]
    fn what_has_begun_goes_before_the_rest_of_its_namespace_only() {
        let mut queue = Queue::default();
        queue.push(usual("a"), "a new");
        queue.push(usual("b"), "b new");
        let begun = Flow {
            priority: Priority::Begun,
            ..usual("b")
        };
        assert_eq!(queue.ahead_of(begun), 1);
        queue.push(begun, "b begun");
        assert_eq!(queue.pop(), Some("a new"));
        assert_eq!((queue.pop(), queue.pop()), (Some("b begun"), Some("b new")));
    }

    #[test]
    fn what_is_urgent_goes_before_everything_else() {
        let mut queue = Queue::default();
        queue.push(usual("a"), 1);
        let urgent = Flow {
            priority: Priority::First,
            ..usual("b")
        };
        assert_eq!((queue.ahead_of(urgent), queue.ahead_of(usual("a"))), (0, 1));
        queue.push(urgent, 2);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(2), Some(1), None));
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_forecast_is_an_upper_bound(
            waiting in proptest::collection::vec((0..4_u8, any::<bool>()), 0..40),
            new in 0..4_u8,
        ) {
            let name = |n: u8| n.to_string();
            let mut queue = Queue::default();
            for (index, (namespace, first)) in waiting.iter().enumerate() {
                let priority = if *first { Priority::First } else { Priority::Usual };
                queue.push(Flow { namespace: &name(*namespace), priority }, index);
            }
            let forecast = queue.ahead_of(usual(&name(new)));
            queue.push(usual(&name(new)), usize::MAX);
            let mut taken = Vec::new();
            while let Some(item) = queue.pop() {
                taken.push(item);
            }
            let before = taken.iter().position(|item| *item == usize::MAX);
            prop_assert!(before.is_some_and(|before| before <= forecast), "{before:?} of {forecast}");
            taken.sort_unstable();
            let all: Vec<usize> = (0..waiting.len()).chain([usize::MAX]).collect();
            prop_assert_eq!(taken, all);
        }
    }
}
