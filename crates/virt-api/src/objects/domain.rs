//! Domains.

use super::{Connect, Stream};
use crate::call::StreamMode;
use crate::protocol::remote::DomainRef;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use uuid::Uuid;
use virt_util::types::{
    DomainConsoleFlags, DomainControlErrorReason, DomainControlState, DomainCreateFlags, DomainDestroyFlags,
    DomainMemoryStatTags, DomainMessageType, DomainMetadataType, DomainModificationImpact,
    DomainQemuMonitorCommandFlags, DomainRebootFlags, DomainShutdownFlags, DomainSnapshotListFlags,
    DomainState, DomainUndefineFlags, DomainVcpuFlags, DomainXmlFlags,
};
use virt_util::{ErrorCode, Result, VirtError};

/// What is known of a domain at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// The state.
    pub state: DomainState,
    /// Memory it may have at most, in KiB.
    pub max_memory: u64,
    /// Memory it has, in KiB.
    pub memory: u64,
    /// Virtual CPUs it has.
    pub virtual_cpus: u16,
    /// CPU time it has used, in nanoseconds.
    pub cpu_time: u64,
}

/// The state of the channel through which a domain is controlled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlInfo {
    /// What the channel is doing.
    pub state: DomainControlState,
    /// What is wrong with it.
    pub details: DomainControlErrorReason,
    /// For how many milliseconds it has been in that state.
    pub state_time: u64,
}

/// How the host's security system labels a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityLabel {
    /// The label; empty if there is none.
    pub label: String,
    /// Whether it is enforced.
    pub enforcing: bool,
}

/// A guest: a virtual machine or a container, running or defined.
#[derive(Clone, Debug)]
pub struct Domain {
    connection: Connect,
    name: Arc<str>,
    uuid: Uuid,
    /// The number while it runs, -1 otherwise: as of the last call that told it.
    id: Arc<AtomicI32>,
}

impl Domain {
    pub(super) fn new(connection: Connect, domain: DomainRef) -> Self {
        Self {
            connection,
            name: domain.name.into(),
            uuid: domain.uuid,
            id: Arc::new(AtomicI32::new(domain.id)),
        }
    }

    pub(crate) fn reference(&self) -> DomainRef {
        DomainRef {
            name: self.name.as_ref().to_owned(),
            uuid: self.uuid,
            id: self.id.load(Ordering::Relaxed),
        }
    }

    /// The connection it came from.
    pub fn connection(&self) -> &Connect {
        &self.connection
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its UUID.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Its number, if it was active when it was looked up or started.
    pub fn id(&self) -> Option<u32> {
        u32::try_from(self.id.load(Ordering::Relaxed)).ok()
    }

    /// The kind of operating system interface: `hvm`, `linux`, `exe` …
    pub fn os_type(&self) -> Result<String> {
        Ok(self
            .connection
            .remote()
            .domain_get_os_type(&self.reference())?
            .kind)
    }

    /// Memory, CPUs, state.
    pub fn info(&self) -> Result<DomainInfo> {
        let reply = self.connection.remote().domain_get_info(&self.reference())?;
        Ok(DomainInfo {
            state: DomainState(reply.state.into()),
            max_memory: reply.max_mem,
            memory: reply.memory,
            virtual_cpus: reply.nr_virt_cpu,
            cpu_time: reply.cpu_time,
        })
    }

    /// The state and the number of its reason, whose meaning depends on the state. Drivers that cannot tell the state
    /// alone are asked for [`Domain::info`]; their reason is -1.
    pub fn state(&self) -> Result<(DomainState, i32)> {
        match self.connection.remote().domain_get_state(&self.reference(), 0) {
            Ok(reply) => Ok((DomainState(reply.state), reply.reason)),
            Err(error) if error.code() == ErrorCode::NO_SUPPORT => Ok((self.info()?.state, -1)),
            Err(error) => Err(error),
        }
    }

    /// Whether it is active.
    pub fn is_active(&self) -> Result<bool> {
        Ok(self
            .connection
            .remote()
            .domain_is_active(&self.reference())?
            .active
            != 0)
    }

    /// Whether it has a stored definition.
    pub fn is_persistent(&self) -> Result<bool> {
        Ok(self
            .connection
            .remote()
            .domain_is_persistent(&self.reference())?
            .persistent
            != 0)
    }

    /// Whether it starts with the host.
    pub fn autostart(&self) -> Result<bool> {
        Ok(self
            .connection
            .remote()
            .domain_get_autostart(&self.reference())?
            .autostart
            != 0)
    }

    /// Makes it start with the host, or not.
    pub fn set_autostart(&self, on: bool) -> Result<()> {
        self.connection
            .remote()
            .domain_set_autostart(&self.reference(), on.into())
    }

    /// Whether it starts at the next boot of the host.
    pub fn autostart_once(&self) -> Result<bool> {
        Ok(self
            .connection
            .remote()
            .domain_get_autostart_once(&self.reference())?
            .autostart
            != 0)
    }

    /// Makes it start at the next boot of the host, or not.
    pub fn set_autostart_once(&self, on: bool) -> Result<()> {
        self.connection
            .remote()
            .domain_set_autostart_once(&self.reference(), on.into())
    }

    /// Whether it has a managed save image.
    pub fn has_managed_save_image(&self) -> Result<bool> {
        Ok(self
            .connection
            .remote()
            .domain_has_managed_save_image(&self.reference(), 0)?
            .result
            != 0)
    }

    /// Removes its managed save image.
    pub fn managed_save_remove(&self) -> Result<()> {
        self.connection
            .remote()
            .domain_managed_save_remove(&self.reference(), 0)
    }

    /// The label that the host's security system has given it.
    pub fn security_label(&self) -> Result<SecurityLabel> {
        let reply = self
            .connection
            .remote()
            .domain_get_security_label(&self.reference())?;
        Ok(SecurityLabel {
            label: reply.label,
            enforcing: reply.enforcing != 0,
        })
    }

    /// What is to be said about it: taints, deprecated settings.
    pub fn messages(&self, flags: DomainMessageType) -> Result<Vec<String>> {
        Ok(self
            .connection
            .remote()
            .domain_get_messages(&self.reference(), flags.bits())?
            .msgs)
    }

    /// Its XML.
    pub fn xml(&self, flags: DomainXmlFlags) -> Result<String> {
        Ok(self
            .connection
            .remote()
            .domain_get_xml_desc(&self.reference(), flags.bits())?
            .xml)
    }

    /// Starts it. With descriptors they are given to the guest.
    pub fn create(&self, flags: DomainCreateFlags, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let (remote, reference) = (self.connection.remote(), self.reference());
        let started = if !fds.is_empty() {
            remote
                .domain_create_with_files(&reference, flags.bits(), fds)?
                .domain
        } else if !flags.is_empty() {
            remote.domain_create_with_flags(&reference, flags.bits())?.domain
        } else {
            // The oldest call, which every driver has, does not tell the new number.
            remote.domain_create(&reference)?;
            remote.domain_lookup_by_uuid(self.uuid)?.domain
        };
        self.id.store(started.id, Ordering::Relaxed);
        Ok(())
    }

    /// Asks the guest to shut down.
    pub fn shutdown(&self, flags: DomainShutdownFlags) -> Result<()> {
        if flags.is_empty() {
            return self.connection.remote().domain_shutdown(&self.reference());
        }
        self.connection
            .remote()
            .domain_shutdown_flags(&self.reference(), flags.bits())
    }

    /// Asks the guest to reboot.
    pub fn reboot(&self, flags: DomainRebootFlags) -> Result<()> {
        self.connection
            .remote()
            .domain_reboot(&self.reference(), flags.bits())
    }

    /// Resets the guest as a button would.
    pub fn reset(&self) -> Result<()> {
        self.connection.remote().domain_reset(&self.reference(), 0)
    }

    /// Stops it at once.
    pub fn destroy(&self, flags: DomainDestroyFlags) -> Result<()> {
        if flags.is_empty() {
            self.connection.remote().domain_destroy(&self.reference())
        } else {
            self.connection
                .remote()
                .domain_destroy_flags(&self.reference(), flags.bits())
        }
    }

    /// Pauses it.
    pub fn suspend(&self) -> Result<()> {
        self.connection.remote().domain_suspend(&self.reference())
    }

    /// Lets it run again.
    pub fn resume(&self) -> Result<()> {
        self.connection.remote().domain_resume(&self.reference())
    }

    /// Removes its definition and what the flags name.
    pub fn undefine(&self, flags: DomainUndefineFlags) -> Result<()> {
        self.connection
            .remote()
            .domain_undefine_flags(&self.reference(), flags.bits())
    }

    /// Removes its definition through the call without flags.
    pub fn undefine_plain(&self) -> Result<()> {
        self.connection.remote().domain_undefine(&self.reference())
    }

    /// Gives it another name.
    pub fn rename(&self, new_name: &str) -> Result<()> {
        self.connection
            .remote()
            .domain_rename(&self.reference(), Some(new_name), 0)
            .map(drop)
    }

    /// How many virtual CPUs it has, in the sense of the flags.
    pub fn vcpus(&self, flags: DomainVcpuFlags) -> Result<i32> {
        Ok(self
            .connection
            .remote()
            .domain_get_vcpus_flags(&self.reference(), flags.bits())?
            .num)
    }

    /// How many virtual CPUs it may have.
    pub fn max_vcpus(&self) -> Result<i32> {
        Ok(self
            .connection
            .remote()
            .domain_get_max_vcpus(&self.reference())?
            .num)
    }

    /// Title, description or the element for a namespace.
    pub fn metadata(
        &self,
        kind: DomainMetadataType,
        uri: Option<&str>,
        flags: DomainModificationImpact,
    ) -> Result<String> {
        let reply =
            self.connection
                .remote()
                .domain_get_metadata(&self.reference(), kind.0, uri, flags.bits())?;
        Ok(reply.metadata)
    }

    /// Sets title, description or the element for a namespace; `None` removes it.
    pub fn set_metadata(
        &self,
        kind: DomainMetadataType,
        metadata: Option<&str>,
        key: Option<&str>,
        uri: Option<&str>,
        flags: DomainModificationImpact,
    ) -> Result<()> {
        self.connection.remote().domain_set_metadata(
            &self.reference(),
            kind.0,
            metadata,
            key,
            uri,
            flags.bits(),
        )
    }

    /// The state of the channel through which it is controlled.
    pub fn control_info(&self) -> Result<ControlInfo> {
        let reply = self
            .connection
            .remote()
            .domain_get_control_info(&self.reference(), 0)?;
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        Ok(ControlInfo {
            state: DomainControlState(number(reply.state)),
            details: DomainControlErrorReason(number(reply.details)),
            state_time: reply.state_time,
        })
    }

    /// Memory statistics in the driver's order, in KiB or as counts.
    pub fn memory_stats(&self) -> Result<Vec<(DomainMemoryStatTags, u64)>> {
        // As many as libvirt's own clients ask for: drivers stop when the list is full.
        const KNOWN: u32 = 13;
        let reply = self
            .connection
            .remote()
            .domain_memory_stats(&self.reference(), KNOWN, 0)?;
        Ok(reply
            .stats
            .into_iter()
            .map(|stat| (DomainMemoryStatTags(stat.tag), stat.val))
            .collect())
    }

    /// Makes the guest's balloon driver report every `seconds`; 0 turns it off.
    pub fn set_memory_stats_period(&self, seconds: i32, flags: DomainModificationImpact) -> Result<()> {
        self.connection
            .remote()
            .domain_set_memory_stats_period(&self.reference(), seconds, flags.bits())
    }

    /// Opens a console: the device with that alias, or the first one.
    pub fn open_console(&self, device: Option<&str>, flags: DomainConsoleFlags) -> Result<Stream> {
        let end = self.connection.remote().domain_open_console(
            &self.reference(),
            device,
            flags.bits(),
            StreamMode::Blocking,
        )?;
        Ok(end.into())
    }

    /// A picture of a screen: its MIME type and its bytes.
    pub fn screenshot(&self, screen: u32) -> Result<(String, Stream)> {
        let (reply, end) =
            self.connection
                .remote()
                .domain_screenshot(&self.reference(), screen, 0, StreamMode::Blocking)?;
        let mime = reply
            .mime
            .ok_or_else(|| VirtError::internal("the driver did not tell the picture's type"))?;
        Ok((mime, end.into()))
    }

    /// Presses keys together for `hold` milliseconds. `codeset` is a `virKeycodeSet`.
    pub fn send_key(&self, codeset: u32, hold: u32, keys: &[u32]) -> Result<()> {
        self.connection
            .remote()
            .domain_send_key(&self.reference(), codeset, hold, keys, 0)
    }

    /// How many snapshots it has that the flags select.
    pub fn snapshot_count(&self, flags: DomainSnapshotListFlags) -> Result<u32> {
        let reply = self
            .connection
            .remote()
            .domain_snapshot_num(&self.reference(), flags.bits())?;
        Ok(reply.num.unsigned_abs())
    }

    /// How many checkpoints it has.
    pub fn checkpoint_count(&self) -> Result<u32> {
        let reply = self
            .connection
            .remote()
            .domain_list_all_checkpoints(&self.reference(), 0, 0)?;
        Ok(reply.ret.unsigned_abs())
    }

    /// Sends a command to the monitor of a QEMU guest and answers what it says.
    pub fn qemu_monitor_command(
        &self,
        command: &str,
        flags: DomainQemuMonitorCommandFlags,
        fds: &[BorrowedFd<'_>],
    ) -> Result<String> {
        let qemu = self.connection.qemu();
        if fds.is_empty() {
            return Ok(qemu
                .domain_monitor_command(&self.reference(), command, flags.bits())?
                .result);
        }
        let (reply, _) =
            qemu.domain_monitor_command_with_files(&self.reference(), command, flags.bits(), fds)?;
        Ok(reply.result)
    }
}
