//! What jobs do, as others need to know it.

use bitflags::bitflags;

/// What a job does to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    /// Asks without changing.
    Query,
    /// Ends the domain; no async job can keep it out.
    Destroy,
    /// Stops the virtual CPUs.
    Suspend,
    /// Changes something.
    Modify,
    /// Ends the async job.
    Abort,
    /// Steers an outgoing migration.
    MigrationOperation,
    /// Changes something that a migration does not mind.
    ModifyMigrationSafe,
}

impl Job {
    /// libvirt's name, as in status files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Destroy => "destroy",
            Self::Suspend => "suspend",
            Self::Modify => "modify",
            Self::Abort => "abort",
            Self::MigrationOperation => "migration operation",
            Self::ModifyMigrationSafe => "modify migration safe",
        }
    }

    pub(super) fn mask(self) -> JobMask {
        match self {
            Self::Query => JobMask::QUERY,
            Self::Destroy => JobMask::DESTROY,
            Self::Suspend => JobMask::SUSPEND,
            Self::Modify => JobMask::MODIFY,
            Self::Abort => JobMask::ABORT,
            Self::MigrationOperation => JobMask::MIGRATION_OPERATION,
            Self::ModifyMigrationSafe => JobMask::MODIFY_MIGRATION_SAFE,
        }
    }
}

/// What a job asks of the guest agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentJob {
    /// Asks without changing.
    Query,
    /// Changes something in the guest.
    Modify,
}

impl AgentJob {
    /// libvirt's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Modify => "modify",
        }
    }
}

/// An operation that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncJob {
    /// The domain leaves.
    MigrationOut,
    /// The domain arrives.
    MigrationIn,
    /// Its memory goes to a file.
    Save,
    /// Its memory is dumped.
    Dump,
    /// A snapshot is taken or gone back to.
    Snapshot,
    /// It starts.
    Start,
    /// A backup runs.
    Backup,
}

impl AsyncJob {
    const ALL: [(Self, &'static str); 7] = [
        (Self::MigrationOut, "migration out"),
        (Self::MigrationIn, "migration in"),
        (Self::Save, "save"),
        (Self::Dump, "dump"),
        (Self::Snapshot, "snapshot"),
        (Self::Start, "start"),
        (Self::Backup, "backup"),
    ];

    /// libvirt's name, as in status files.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(job, _)| *job == self)
            .map_or("none", |(_, name)| name)
    }

    /// The job of that name in a status file.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(job, _)| *job)
    }
}

bitflags! {
    /// Jobs that may run inside an async job.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct JobMask: u32 {
        /// [`Job::Query`].
        const QUERY = 1;
        /// [`Job::Destroy`]; always allowed.
        const DESTROY = 1 << 1;
        /// [`Job::Suspend`].
        const SUSPEND = 1 << 2;
        /// [`Job::Modify`].
        const MODIFY = 1 << 3;
        /// [`Job::Abort`].
        const ABORT = 1 << 4;
        /// [`Job::MigrationOperation`].
        const MIGRATION_OPERATION = 1 << 5;
        /// [`Job::ModifyMigrationSafe`].
        const MODIFY_MIGRATION_SAFE = 1 << 6;
    }
}

impl Default for JobMask {
    /// What libvirt lets run beside any async job.
    fn default() -> Self {
        Self::QUERY | Self::DESTROY | Self::ABORT
    }
}

/// A client connection, as owner of an async job. The number is the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);
