//! Parts of a model that few documents have.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// A `T` that most documents say nothing about: it takes the room of a pointer until it differs from [`Nothing`].
///
/// It reads as a `T`, and a change makes the room. In a declaration it means what `T` means: `Rare<Vec<Lease>>` is a list of
/// children, `Rare<Option<String>>` may be absent, a `Rare` of a declared type is usually flattened.
pub struct Rare<T>(Option<Box<T>>);

/// A type whose default value says nothing, so that nothing of it is written, and can be lent to anybody: what a [`Rare`]
/// without content reads as.
///
/// For declared types [`xml::nothing!`](crate::nothing) writes it.
pub trait Nothing: Default + PartialEq + 'static {
    /// The default value.
    fn nothing() -> &'static Self;
}

/// Implements [`Nothing`] for types whose default value says nothing.
#[macro_export]
macro_rules! nothing {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::xml::Nothing for $type {
            fn nothing() -> &'static Self {
                static NOTHING: std::sync::LazyLock<$type> = std::sync::LazyLock::new(Default::default);
                &NOTHING
            }
        }
    )*};
}

impl<T: PartialEq + 'static> Nothing for Vec<T> {
    fn nothing() -> &'static Self {
        const { &Vec::new() }
    }
}

impl<T: PartialEq + 'static> Nothing for Option<T> {
    fn nothing() -> &'static Self {
        const { &None }
    }
}

impl<T: Nothing> Rare<T> {
    /// Nothing.
    pub const fn new() -> Self {
        Self(None)
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.map_or_else(T::default, |value| *value)
    }

    /// Whether something may have been said: if not, there is nothing to write.
    pub fn is_said(&self) -> bool {
        self.0.is_some()
    }

    /// Says nothing from now on.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// The value; nothing is left.
    pub fn take(&mut self) -> T {
        std::mem::take(self).into_inner()
    }
}

impl<T> Rare<Vec<T>> {
    /// The values, to be changed. Looking through none makes no room.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        match &mut self.0 {
            Some(values) => values.iter_mut(),
            None => Default::default(),
        }
    }

    /// Gives back the room that is not used.
    pub fn shrink_to_fit(&mut self) {
        match &mut self.0 {
            Some(values) if values.is_empty() => self.0 = None,
            Some(values) => values.shrink_to_fit(),
            None => {}
        }
    }
}

impl<T: Nothing> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        if value == *T::nothing() {
            Self(None)
        } else {
            Self(Some(Box::new(value)))
        }
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Nothing> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::nothing(),
        }
    }
}

impl<T: Nothing> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

/// What was made room for and came to nothing needs no room in the copy.
impl<T: Nothing + Clone> Clone for Rare<T> {
    fn clone(&self) -> Self {
        Self(self.0.as_ref().filter(|value| ***value != *T::nothing()).cloned())
    }
}

impl<T: Nothing> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            _ => **self == **other,
        }
    }
}

impl<T: Nothing + Eq> Eq for Rare<T> {}

impl<T: Nothing + Hash> Hash for Rare<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Nothing + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> FromIterator<T> for Rare<Vec<T>>
where
    Vec<T>: Nothing,
{
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Vec::from_iter(values).into()
    }
}

impl<'a, T> IntoIterator for &'a Rare<Vec<T>>
where
    Vec<T>: Nothing,
{
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut Rare<Vec<T>> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T> IntoIterator for Rare<Vec<T>>
where
    Vec<T>: Nothing,
{
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_inner().into_iter()
    }
}
