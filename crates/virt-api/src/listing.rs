//! What the methods of drivers that list, count and look up objects have in common: the caller hears of what it may see,
//! and of no more than it asked for.

use virt_util::Result;

use crate::access::{AccessObject, Authorized};
use crate::call::CallContext;

/// Those of `objects` that the caller may see.
///
/// # Errors
/// Those of the policy that is asked.
pub fn visible<T: AccessObject>(
    cx: &mut CallContext<'_>,
    objects: impl IntoIterator<Item = T>,
) -> Result<Vec<T>> {
    let objects = objects.into_iter();
    let mut seen = Vec::with_capacity(objects.size_hint().0);
    for object in objects {
        if cx.may_see(&object)? {
            seen.push(object);
        }
    }
    Ok(seen)
}

/// How many there are, for calls that answer nothing else.
pub fn count<T>(objects: &[T]) -> i32 {
    i32::try_from(objects.len()).unwrap_or(i32::MAX)
}

/// At most `most` names, ids or whatever the caller has room for; none if it is negative.
pub fn at_most<T>(names: impl IntoIterator<Item = T>, most: i32) -> Vec<T> {
    names
        .into_iter()
        .take(usize::try_from(most).unwrap_or(0))
        .collect()
}

/// The reply of a call that lists all: the objects if they are asked for, and how many there are.
pub fn all<T, R: From<T>>(objects: Vec<T>, need_results: i32) -> (Vec<R>, u32) {
    let total = u32::try_from(objects.len()).unwrap_or(u32::MAX);
    let objects = if need_results == 0 { Vec::new() } else { objects };
    (objects.into_iter().map(R::from).collect(), total)
}

/// The reply of a lookup, if the caller may know of the object.
///
/// # Errors
/// `ACCESS_DENIED`, or what the policy says.
pub fn found<T: AccessObject, R>(
    cx: &mut CallContext<'_>,
    object: T,
    reply: impl FnOnce(T) -> R,
) -> Result<Authorized<R>> {
    let permit = cx.authorize(&object)?;
    Ok(permit.reply(reply(object)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_asked_for() {
        assert_eq!(at_most(["a", "b", "c"], 2), ["a", "b"]);
        assert!(at_most(["a"], -1).is_empty());
        assert_eq!(all::<_, u64>(vec![1_u32, 2], 0), (Vec::new(), 2));
        assert_eq!(all::<_, u64>(vec![1_u32, 2], 1), (vec![1, 2], 2));
    }
}
