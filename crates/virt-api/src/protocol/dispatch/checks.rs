//! Checks of arguments that are more than a comparison; the description names them in `rule check(…)`.

use virt_util::types::{DomainAuthorizedSshKeysSetFlags, DomainLifecycle, DomainLifecycleAction};
use virt_util::{ErrorCode, Result, VirtError};

/// An amount of memory in KiB whose bytes can be counted.
pub(crate) fn memory_fits(memory: &u64) -> Result<()> {
    if *memory >= i64::MAX as u64 / 1024 {
        return Err(VirtError::new(
            ErrorCode::OVERFLOW,
            format_args!(
                "{memory} KiB of memory: less than {} KiB is allowed",
                i64::MAX as u64 / 1024
            ),
        ));
    }
    Ok(())
}

/// Two lengths whose product is a size.
pub(crate) fn product_fits(one: &i32, other: &i32) -> Result<()> {
    match one.checked_mul(*other) {
        Some(_) => Ok(()),
        None => Err(VirtError::new(
            ErrorCode::OVERFLOW,
            format_args!("{one} times {other} is too many"),
        )),
    }
}

/// CPU statistics are of all CPUs together (-1, of which there is one) or of a range.
pub(crate) fn cpu_range(start: &i32, count: &u32, params: &u32) -> Result<()> {
    if *start == -1 {
        if *count != 1 {
            return Err(VirtError::invalid_arg(format_args!(
                "argument 'ncpus' is {count}: it must be 1 where 'start_cpu' is -1, for all CPUs together"
            )));
        }
    } else if *start < 0 {
        return Err(VirtError::invalid_arg(format_args!(
            "argument 'start_cpu' is {start}: it must be -1 for all CPUs together, or zero or greater"
        )));
    }
    if *count == 0 && *params != 0 {
        return Err(VirtError::invalid_arg(format_args!(
            "argument 'nparams' is {params}: it must be zero where 'ncpus' is"
        )));
    }
    match count.checked_mul(*params) {
        Some(_) => Ok(()),
        None => Err(VirtError::new(
            ErrorCode::OVERFLOW,
            format_args!("{params} times {count} is too many"),
        )),
    }
}

/// `VIR_DOMAIN_BLOCK_REBASE_COPY`.
const REBASE_COPY: u32 = 8;
/// Those flags of a rebase that mean something for copies only: shallow, reuse, raw, device.
const REBASE_COPY_ONLY: u32 = 1 | 2 | 4 | 32;

/// A rebase that copies needs a target; one that does not has no use for the flags of copies.
pub(crate) fn rebase_flags(base: &Option<String>, flags: &u32) -> Result<()> {
    if flags & REBASE_COPY != 0 {
        if base.is_none() {
            return Err(VirtError::invalid_arg(
                "argument 'base' is missing: a copy job needs its destination",
            ));
        }
    } else if flags & REBASE_COPY_ONLY != 0 {
        return Err(VirtError::invalid_arg(format_args!(
            "flags {:#x} mean something only together with VIR_DOMAIN_BLOCK_REBASE_COPY",
            flags & REBASE_COPY_ONLY
        )));
    }
    Ok(())
}

/// A disk must be named by who asks for more than how many parameters there are.
pub(crate) fn disk_unless_counting(disk: &Option<String>, params: &i32) -> Result<()> {
    if *params != 0 && disk.is_none() {
        return Err(VirtError::invalid_arg(
            "argument 'disk' is missing: it may be left out only to count the parameters",
        ));
    }
    Ok(())
}

/// Kinds of metadata: the numbers of domains and networks are the same.
const DESCRIPTION: i32 = 0;
const TITLE: i32 = 1;
const ELEMENT: i32 = 2;

/// Only elements have a namespace, and they must have one.
pub(crate) fn metadata_uri(kind: &i32, uri: &Option<String>) -> Result<()> {
    match (*kind, uri) {
        (DESCRIPTION | TITLE, Some(_)) => Err(VirtError::invalid_arg(
            "argument 'uri' must not be given for a title or description",
        )),
        (ELEMENT, None) => Err(VirtError::invalid_arg(
            "argument 'uri' is missing: an element has a namespace",
        )),
        // Kinds that a newer client may know are the driver's to judge.
        _ => Ok(()),
    }
}

/// A title is one line; an element that is set has a key and a namespace.
pub(crate) fn new_metadata(
    kind: &i32,
    metadata: &Option<String>,
    key: &Option<String>,
    uri: &Option<String>,
) -> Result<()> {
    if *kind == TITLE && metadata.as_ref().is_some_and(|text| text.contains('\n')) {
        return Err(VirtError::invalid_arg(
            "a title is one line: no newline is allowed",
        ));
    }
    metadata_uri(kind, uri)?;
    match (*kind, key, metadata) {
        (DESCRIPTION | TITLE, Some(_), _) => Err(VirtError::invalid_arg(
            "argument 'key' must not be given for a title or description",
        )),
        (ELEMENT, None, Some(_)) => Err(VirtError::invalid_arg(
            "argument 'key' is missing: an element is set under a key",
        )),
        _ => Ok(()),
    }
}

/// The number of a CPU or node, or -1 for all.
pub(crate) fn all_or_one(number: &i32) -> Result<()> {
    if *number < -1 {
        return Err(VirtError::invalid_arg(format_args!(
            "number {number}: -1 for all, or zero or greater expected"
        )));
    }
    Ok(())
}

/// `VIR_STORAGE_VOL_RESIZE_DELTA` and `VIR_STORAGE_VOL_RESIZE_SHRINK`.
const RESIZE_TO_ZERO: u32 = 2 | 4;

/// A volume is not resized to nothing by accident.
pub(crate) fn new_capacity(capacity: &u64, flags: &u32) -> Result<()> {
    if *capacity == 0 && flags & RESIZE_TO_ZERO == 0 {
        return Err(VirtError::invalid_arg(
            "argument 'capacity' may be zero only with the flags 'delta' or 'shrink'",
        ));
    }
    Ok(())
}

/// An event in a guest's life, and what is done then.
pub(crate) fn lifecycle(kind: &u32, action: &u32) -> Result<()> {
    const EVENTS: u32 = DomainLifecycle::CRASH.0.unsigned_abs();
    const ACTIONS: u32 = DomainLifecycleAction::COREDUMP_RESTART.0.unsigned_abs();
    for (what, number, last) in [("event", kind, EVENTS), ("action", action, ACTIONS)] {
        if *number > last {
            return Err(VirtError::invalid_arg(format_args!(
                "lifecycle {what} {number} is none: 0 to {last} expected"
            )));
        }
    }
    Ok(())
}

/// Keys may be left out only where they replace those that are there.
pub(crate) fn authorized_keys(keys: &[String], flags: &u32) -> Result<()> {
    let added_or_removed = DomainAuthorizedSshKeysSetFlags::all().bits();
    if keys.is_empty() && flags & added_or_removed != 0 {
        return Err(VirtError::invalid_arg(
            "argument 'keys' must not be empty where keys are added or removed",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_statistics_are_of_all_or_of_a_range() {
        assert!(cpu_range(&-1, &1, &8).is_ok());
        assert!(cpu_range(&-1, &2, &8).is_err());
        assert!(cpu_range(&-2, &1, &8).is_err());
        assert!(cpu_range(&0, &4, &8).is_ok());
        assert!(cpu_range(&0, &0, &8).is_err());
        let error = cpu_range(&0, &u32::MAX, &2).unwrap_err();
        assert_eq!(error.code(), ErrorCode::OVERFLOW);
    }

    #[test]
    fn metadata_has_a_namespace_only_where_it_is_an_element() {
        let some = Some("x".to_owned());
        assert!(new_metadata(&TITLE, &some, &None, &None).is_ok());
        assert!(new_metadata(&TITLE, &Some("a\nb".to_owned()), &None, &None).is_err());
        assert!(new_metadata(&DESCRIPTION, &Some("a\nb".to_owned()), &None, &None).is_ok());
        assert!(new_metadata(&DESCRIPTION, &some, &some, &None).is_err());
        assert!(new_metadata(&ELEMENT, &some, &some, &some).is_ok());
        assert!(new_metadata(&ELEMENT, &some, &None, &some).is_err());
        assert!(new_metadata(&ELEMENT, &None, &None, &some).is_ok());
        assert!(metadata_uri(&ELEMENT, &None).is_err());
    }

    #[test]
    fn a_lifecycle_has_three_events_and_six_actions() {
        assert!(lifecycle(&2, &5).is_ok());
        assert!(lifecycle(&3, &5).is_err());
        assert!(lifecycle(&2, &6).is_err());
    }

    #[test]
    fn keys_that_are_added_are_there() {
        assert!(authorized_keys(&[], &0).is_ok());
        assert!(authorized_keys(&[], &1).is_err());
        assert!(authorized_keys(&["key".to_owned()], &2).is_ok());
    }

    #[test]
    fn sizes_that_cannot_be_counted_are_refused() {
        assert!(memory_fits(&(i64::MAX as u64 / 1024)).is_err());
        assert!(memory_fits(&1_048_576).is_ok());
        assert!(product_fits(&65_536, &65_536).is_err());
        assert!(new_capacity(&0, &0).is_err());
        assert!(new_capacity(&0, &4).is_ok());
    }
}
