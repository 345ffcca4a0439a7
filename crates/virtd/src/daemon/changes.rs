//! What changes a daemon that runs: a reload, a successor, the end.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use virt_util::time::Deadline;

use super::{Daemon, places, sockets};
use crate::config::DaemonConfig;
use crate::logging::LogEnvironment;
use crate::server::{Ending, Place, Server};
use crate::service::activation::VARIABLES;

impl Daemon {
    /// Becomes the program that is installed now. Comes back only if that fails.
    pub(super) async fn renew(&mut self, server: &Arc<Server>) {
        tracing::info!("another program takes this one's place");
        server.stop(Ending::Stopping).await;
        let host = Arc::clone(server.host());
        let timeout = server.settings().stop_timeout;
        let done = tokio::task::spawn_blocking(move || host.shut_down(Deadline::after(timeout)));
        if tokio::time::timeout(timeout, done).await.is_err() {
            tracing::warn!("drivers still have work after {timeout:?} and are left to it");
        }
        let kept = match sockets::keep(server) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!("{error}");
                return;
            }
        };
        let (name, arguments) = match self.argv.split_first() {
            Some((name, arguments)) => (name.clone(), arguments.to_vec()),
            None => return,
        };
        // The file at the same path: what `/proc/self/exe` leads to may have been replaced.
        let program = std::fs::read_link("/proc/self/exe").ok();
        let program = program
            .map(|path| {
                let text = path.to_string_lossy().into_owned();
                PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text))
            })
            .unwrap_or_else(|| PathBuf::from(&name));
        let mut command = std::process::Command::new(&program);
        command.arg0(name).args(arguments).env(kept.0, kept.1);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        let error = command.exec();
        tracing::error!("cannot run '{}': {error}", program.display());
    }

    /// Takes what the configuration says now.
    pub(super) fn reload(&mut self, server: &Arc<Server>) {
        let named = self.options.config.as_deref().or_else(|| {
            self.options
                .root
                .as_ref()
                .map(|_| self.paths.config_file.as_path())
        });
        if named.is_none_or(Path::exists) || self.options.config.is_some() {
            match DaemonConfig::load(&self.role, named) {
                Ok(loaded) => {
                    let reloaded = self.config.reload(&loaded.config);
                    self.config = reloaded.config;
                    tracing::info!("the configuration is read again");
                    for key in reloaded.pending {
                        tracing::warn!("the new value of '{}' holds after a restart", key.name);
                    }
                    let fresh = places::settings(&self.config);
                    server.change_settings(|settings| settings.clone_from(&fresh));
                    if let Err(error) = self.access.reload(&self.config) {
                        tracing::error!("the access policy stays as it was: {error}");
                    }
                    if self.parent.is_none() {
                        self.audit.reload(&self.config);
                        sockets::reload_auth(server, &self.config, self.reach);
                    }
                    match self.security(server.security().tls.is_some()) {
                        Ok(security) => server.set_security(security),
                        Err(error) => {
                            tracing::error!("certificates and authentication stay as they were: {error}")
                        }
                    }
                    let log = places::log_config(&self.config, &self.options, &self.log_file);
                    if let Err(error) = self.logger.configure(&log, &LogEnvironment::current()) {
                        tracing::error!("{error}");
                    }
                }
                Err(error) => tracing::error!("the configuration stays as it was: {error}"),
            }
        }
        let host = Arc::clone(server.host());
        server.in_background(move || host.reload());
    }

    /// Ends clients and drivers. With `preserve` drivers save what would be lost first.
    pub(super) async fn stop(&mut self, server: &Arc<Server>, preserve: bool) {
        server.stop(Ending::Stopping).await;
        let host = Arc::clone(server.host());
        let timeout = server.settings().stop_timeout;
        let done = tokio::task::spawn_blocking(move || {
            if preserve {
                host.stop(Deadline::after(timeout));
            }
            host.shut_down(Deadline::after(timeout));
        });
        if tokio::time::timeout(timeout, done).await.is_err() {
            tracing::warn!("drivers still have work after {timeout:?} and are left to it");
        }
        for listener in server.listeners() {
            if let (Place::Unix(path), false) = (&listener.place, listener.is_passed) {
                // The next daemon makes its own.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}
