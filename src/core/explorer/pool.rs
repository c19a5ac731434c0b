//! Values that many states have in common: held once, compared and hashed by number.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// One of the values of a pool. Only values of one pool may be compared.
pub(super) struct Shared<T> {
    number: u32,
    value: Rc<T>,
}

impl<T> Shared<T> {
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            number: self.number,
            value: self.value.clone(),
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// All values of one type.
pub(super) struct Pool<T>(RefCell<HashMap<Rc<T>, u32>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Eq + Hash> Pool<T> {
    pub fn share(&self, value: T) -> Shared<T> {
        let mut known = self.0.borrow_mut();
        if let Some((value, number)) = known.get_key_value(&value) {
            return Shared {
                number: *number,
                value: value.clone(),
            };
        }
        let number = u32::try_from(known.len()).expect("a pool that fits into memory");
        let value = Rc::new(value);
        known.insert(value.clone(), number);
        Shared { number, value }
    }
}
