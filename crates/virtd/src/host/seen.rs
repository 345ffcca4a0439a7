//! The daemon as one driver sees it. What must be one thing for all drivers of a host, a driver's own process asks its
//! daemon for.

use std::sync::{Arc, Weak};

use virt_api::call::Identity;
use virt_api::host::{Claim, ClaimKind, Host, LogRecord, NestedOpen, OpenedConnection};
use virt_util::audit::AuditRecord;
use virt_util::typed_param::TypedParams;
use virt_util::{ErrorCode, Result, VirtError};

use super::DaemonHost;

/// What a driver holds of the host, with the driver's name.
pub(super) struct HostOf(pub(super) Weak<DaemonHost>, pub(super) String);

impl HostOf {
    fn host(&self) -> Result<Arc<DaemonHost>> {
        self.0
            .upgrade()
            .ok_or_else(|| VirtError::new(ErrorCode::OPERATION_ABORTED, "the daemon is gone"))
    }
}

impl Host for HostOf {
    fn for_driver(&self, name: &str) -> Option<Arc<dyn Host>> {
        Some(Arc::new(Self(Weak::clone(&self.0), name.to_owned())))
    }

    fn log(&self, record: &LogRecord) {
        if let Some(logger) = self.0.upgrade().and_then(|host| host.logger.clone()) {
            return logger.log(record);
        }
        record.emit();
    }

    fn open_connection(&self, open: &NestedOpen) -> Result<Arc<dyn OpenedConnection>> {
        self.host()?.open_nested(open)
    }

    fn check_acl(
        &self,
        identity: &Identity,
        _program: u32,
        _procedure: u32,
        permission: &str,
        object: &str,
        attributes: &TypedParams,
    ) -> Result<bool> {
        self.host()?
            .check_access(identity, &self.1, permission, object, attributes)
    }

    fn claim(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        let host = self.host()?;
        match &host.config.parent {
            Some(parent) => parent.claim(kind, key, owner),
            None => host.claims.claim(kind, key, owner),
        }
    }

    fn release(&self, kind: ClaimKind, key: &str, owner: &str) -> Result<()> {
        let host = self.host()?;
        match &host.config.parent {
            Some(parent) => parent.release(kind, key, owner),
            None => host.claims.release(kind, key, owner),
        }
    }

    fn claims(&self, kind: ClaimKind) -> Result<Vec<Claim>> {
        let host = self.host()?;
        match &host.config.parent {
            Some(parent) => parent.claims(kind),
            None => Ok(host.claims.list(kind)),
        }
    }

    fn inhibit(&self, inhibited: bool) {
        if let Ok(host) = self.host() {
            if let Some(parent) = &host.config.parent {
                parent.inhibit(inhibited);
            }
            host.inhibitions.change(inhibited);
        }
    }

    fn audit(&self, record: &AuditRecord) -> Result<()> {
        let host = self.host()?;
        match &host.config.parent {
            Some(parent) => parent.audit(record),
            None => {
                host.record(record);
                Ok(())
            }
        }
    }
}
