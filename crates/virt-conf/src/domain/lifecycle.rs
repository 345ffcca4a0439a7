//! What happens at power-off, reboot and crash.

xml_enum! {
    /// What happens when the guest powers off, reboots or crashes.
    pub enum LifecycleAction { Destroy = "destroy", Restart = "restart", RenameRestart = "rename-restart", Preserve = "preserve", CoredumpDestroy = "coredump-destroy", CoredumpRestart = "coredump-restart" }
}

xml_enum! {
    /// What happens when the lock manager loses a lease.
    pub enum LockFailureAction { Poweroff = "poweroff", Restart = "restart", Pause = "pause", Ignore = "ignore" }
}
