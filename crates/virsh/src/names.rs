//! The words virsh prints for the API's numbers.

use virt_util::types::{
    DomainControlErrorReason, DomainControlState, DomainEventType, DomainMemoryStatTags, DomainState,
};

fn pick(names: &[&'static str], number: i32, other: &'static str) -> &'static str {
    usize::try_from(number)
        .ok()
        .and_then(|index| names.get(index))
        .copied()
        .unwrap_or(other)
}

/// The state of a domain.
pub fn state(state: DomainState) -> &'static str {
    const NAMES: &[&str] = &[
        "no state",
        "running",
        "idle",
        "paused",
        "in shutdown",
        "shut off",
        "crashed",
        "pmsuspended",
    ];
    pick(NAMES, state.0, "no state")
}

/// Why a domain is in that state.
pub fn reason(state: DomainState, reason: i32) -> &'static str {
    let names: &[&str] = match state {
        DomainState::RUNNING => &[
            "unknown",
            "booted",
            "migrated",
            "restored",
            "from snapshot",
            "unpaused",
            "migration canceled",
            "save canceled",
            "event wakeup",
            "crashed",
            "post-copy",
            "post-copy failed",
        ],
        DomainState::PAUSED => &[
            "unknown",
            "user",
            "migrating",
            "saving",
            "dumping",
            "I/O error",
            "watchdog",
            "from snapshot",
            "shutting down",
            "creating snapshot",
            "crashed",
            "starting up",
            "post-copy",
            "post-copy failed",
            "api error",
        ],
        DomainState::SHUTDOWN => &["unknown", "user"],
        DomainState::SHUTOFF => &[
            "unknown",
            "shutdown",
            "destroyed",
            "crashed",
            "migrated",
            "saved",
            "failed",
            "from snapshot",
            "daemon",
        ],
        DomainState::CRASHED => &["unknown", "panicked"],
        _ => &["unknown"],
    };
    pick(names, reason, "unknown")
}

/// The state of the channel that controls a domain.
pub fn control_state(state: DomainControlState) -> &'static str {
    pick(&["ok", "background job", "occupied", "error"], state.0, "unknown")
}

/// What is wrong with that channel.
pub fn control_error(reason: DomainControlErrorReason) -> &'static str {
    pick(
        &["", "unknown", "monitor failure", "internal (locking) error"],
        reason.0,
        "unknown",
    )
}

/// The name of a memory statistic; `None` for one that virsh does not know.
pub fn memory_stat(tag: DomainMemoryStatTags) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "swap_in",
        "swap_out",
        "major_fault",
        "minor_fault",
        "unused",
        "available",
        "actual",
        "rss",
        "usable",
        "last_update",
        "disk_caches",
        "hugetlb_pgalloc",
        "hugetlb_pgfail",
    ];
    usize::try_from(tag.0)
        .ok()
        .and_then(|index| NAMES.get(index))
        .copied()
}

/// What happened to a domain.
pub fn lifecycle(event: DomainEventType) -> &'static str {
    const NAMES: &[&str] = &[
        "Defined",
        "Undefined",
        "Started",
        "Suspended",
        "Resumed",
        "Stopped",
        "Shutdown",
        "PMSuspended",
        "Crashed",
    ];
    pick(NAMES, event.0, "unknown")
}

/// How it came to that.
pub fn lifecycle_detail(event: DomainEventType, detail: i32) -> &'static str {
    let names: &[&str] = match event {
        DomainEventType::DEFINED => &["Added", "Updated", "Renamed", "Snapshot"],
        DomainEventType::UNDEFINED => &["Removed", "Renamed"],
        DomainEventType::STARTED => &["Booted", "Migrated", "Restored", "Snapshot", "Event wakeup"],
        DomainEventType::SUSPENDED => &[
            "Paused",
            "Migrated",
            "I/O Error",
            "Watchdog",
            "Restored",
            "Snapshot",
            "API error",
            "Post-copy",
            "Post-copy Error",
        ],
        DomainEventType::RESUMED => &["Unpaused", "Migrated", "Snapshot", "Post-copy", "Post-copy Error"],
        DomainEventType::STOPPED => &[
            "Shutdown",
            "Destroyed",
            "Crashed",
            "Migrated",
            "Saved",
            "Failed",
            "Snapshot",
        ],
        DomainEventType::SHUTDOWN => &[
            "Finished",
            "Finished after guest request",
            "Finished after host request",
        ],
        DomainEventType::PMSUSPENDED => &["Memory", "Disk"],
        DomainEventType::CRASHED => &["Panicked", "Crashloaded"],
        _ => &[],
    };
    pick(names, detail, "unknown")
}

/// One of a list of words by number, as event messages use them.
pub fn event_word(names: &[&'static str], number: i32, other: &'static str) -> &'static str {
    pick(names, number, other)
}

/// `yes` or `no`.
pub fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// `enable` or `disable`.
pub fn enabled(value: bool) -> &'static str {
    if value { "enable" } else { "disable" }
}
