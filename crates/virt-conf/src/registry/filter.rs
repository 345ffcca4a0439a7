//! Which objects a listing asks for.

use virt_util::types::{ConnectListAllDomainsFlags, DomainState};

use super::{Kind, Snapshot};

/// What a listing asks about a guest beside what every object of the registry has.
#[derive(Clone, Copy, Debug)]
pub struct GuestFacts {
    /// What it is doing.
    pub state: DomainState,
    /// Its memory is saved for the next start.
    pub managed_save: bool,
    /// It has snapshots.
    pub snapshots: bool,
    /// It has checkpoints.
    pub checkpoints: bool,
}

/// Whether something passes the filters in `asked`, which come in groups of flags and whether what each asks for holds:
/// of each group that is asked for at all, one flag must hold.
pub fn passes<F: bitflags::Flags + Copy>(asked: F, groups: &[&[(F, bool)]]) -> bool {
    groups.iter().all(|group| {
        let mut asked = group.iter().filter(|(flag, _)| asked.contains(*flag)).peekable();
        asked.peek().is_none() || asked.any(|(_, holds)| *holds)
    })
}

/// Whether a guest is among those that `filter` asks for.
pub fn guest_matches<K: Kind>(
    snapshot: &Snapshot<K>,
    facts: GuestFacts,
    filter: ConnectListAllDomainsFlags,
) -> bool {
    use ConnectListAllDomainsFlags as F;
    let state = facts.state;
    let known = [DomainState::RUNNING, DomainState::PAUSED, DomainState::SHUTOFF];
    let groups: [&[(F, bool)]; 7] = [
        &[
            (F::ACTIVE, snapshot.is_active()),
            (F::INACTIVE, !snapshot.is_active()),
        ],
        &[
            (F::PERSISTENT, snapshot.is_persistent()),
            (F::TRANSIENT, !snapshot.is_persistent()),
        ],
        &[
            (F::RUNNING, state == DomainState::RUNNING),
            (F::PAUSED, state == DomainState::PAUSED),
            (F::SHUTOFF, state == DomainState::SHUTOFF),
            (F::OTHER, !known.contains(&state)),
        ],
        &[
            (F::MANAGEDSAVE, facts.managed_save),
            (F::NO_MANAGEDSAVE, !facts.managed_save),
        ],
        &[
            (F::AUTOSTART, snapshot.autostart),
            (F::NO_AUTOSTART, !snapshot.autostart),
        ],
        &[
            (F::HAS_SNAPSHOT, facts.snapshots),
            (F::NO_SNAPSHOT, !facts.snapshots),
        ],
        &[
            (F::HAS_CHECKPOINT, facts.checkpoints),
            (F::NO_CHECKPOINT, !facts.checkpoints),
        ],
    ];
    passes(filter, &groups)
}
