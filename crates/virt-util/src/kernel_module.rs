//! Commands that load and unload modules of the kernel.

/// The command line that loads a module, unless an administrator has blacklisted it.
pub fn load_command(module: &str) -> [&str; 3] {
    ["modprobe", "-b", module]
}

/// The command line that unloads a module.
pub fn unload_command(module: &str) -> [&str; 2] {
    ["rmmod", module]
}
