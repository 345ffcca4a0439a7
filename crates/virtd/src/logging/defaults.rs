//! Where log settings come from, and what holds where nothing is set.

use std::io::IsTerminal;
use std::path::PathBuf;

use virt_util::log_settings::Priority;
use virt_util::{Result, VirtError};

use super::Places;
use crate::service::paths::make_folder;

/// What the configuration file and the command line say about the log.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// `log_level`: 1 (debug) to 4 (error), 0 if not set.
    pub level: u32,
    /// `log_filters`.
    pub filters: String,
    /// `log_outputs`.
    pub outputs: String,
    /// `--verbose`: at least information.
    pub verbose: bool,
    /// `--daemon`: there is no terminal.
    pub background: bool,
    /// The file to use where there is no journal.
    pub file: Option<PathBuf>,
}

/// What the environment says about the log.
#[derive(Clone, Debug, Default)]
pub struct LogEnvironment {
    /// `LIBVIRT_DEBUG`: a level, by number or name.
    pub debug: Option<String>,
    /// `LIBVIRT_LOG_FILTERS`.
    pub filters: Option<String>,
    /// `LIBVIRT_LOG_OUTPUTS`.
    pub outputs: Option<String>,
}

impl LogEnvironment {
    /// The environment of this process.
    pub fn current() -> Self {
        let text = |name| std::env::var(name).ok();
        Self {
            debug: text("LIBVIRT_DEBUG"),
            filters: text("LIBVIRT_LOG_FILTERS"),
            outputs: text("LIBVIRT_LOG_OUTPUTS"),
        }
    }
}

/// A level by number or name.
pub(super) fn priority(text: &str) -> Result<Priority> {
    match text {
        "1" | "debug" => Ok(Priority::Debug),
        "2" | "info" => Ok(Priority::Info),
        "3" | "warning" => Ok(Priority::Warning),
        "4" | "error" => Ok(Priority::Error),
        _ => Err(super::unknown_priority(text)),
    }
}

/// The outputs of a daemon that was told none: the journal if there is one and no terminal, else the terminal, else a
/// file.
pub(super) fn outputs(config: &LogConfig, priority: Priority, places: &Places) -> Result<String> {
    let journal = places.journal.exists();
    if journal && (config.background || !std::io::stdin().is_terminal()) {
        // The journal limits how fast a service may log, and debugging would be over the limit at once.
        return Ok(format!("{}:journald", priority.max(Priority::Info) as u32));
    }
    if !config.background {
        return Ok(format!("{}:stderr", priority as u32));
    }
    let Some(file) = &config.file else {
        return Err(VirtError::internal(
            "there is no journal, and no file was named for the log",
        ));
    };
    if let Some(folder) = file.parent() {
        make_folder(folder, 0o700)?;
    }
    Ok(format!("{}:file:{}", priority as u32, file.display()))
}
