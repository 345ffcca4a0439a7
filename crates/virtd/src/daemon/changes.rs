//! What changes a daemon that runs: a reload, a successor, the end.

use std::path::Path;
use std::sync::Arc;

use virt_util::VirtError;
use virt_util::time::Deadline;

use super::{Daemon, Signals, places, sockets, successor};
use crate::auth::cyrus;
use crate::config::{Auth, Ignored, Loaded};
use crate::logging::LogEnvironment;
use crate::server::{Ending, Place, Server};

/// Says what of the configuration changes nothing.
pub(super) fn warn_of_ignored(ignored: &[Ignored]) {
    for Ignored {
        file,
        name,
        line,
        reason,
    } in ignored
    {
        tracing::warn!("{file}:{line}: '{name}' {reason}");
    }
}

/// Why the program is still this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// The other one cannot be run; nothing has changed.
    Refused,
    /// Somebody wants the daemon to end.
    Overtaken,
    /// Everything was ready, and the system did not let the other one begin. Clients are gone.
    Failed,
}

impl Daemon {
    /// Says what clients of an installation of libvirt will miss, where clients log in by SASL.
    pub(super) fn warn_of_sasl(&self, server: &Server) {
        let listeners = server.listeners();
        if !listeners
            .iter()
            .any(|listener| **listener.auth.load() == Auth::Sasl)
        {
            return;
        }
        let users = &server.security().auth.sasl.users;
        // A file that cannot be used is a warning when somebody logs in; here it is nobody's.
        let anybody = users.users().is_ok_and(|users| !users.is_empty());
        let config = places::under(self.options.root.as_deref(), Path::new(cyrus::CONFIG));
        for warning in cyrus::Setup::of_file(&config).warnings((users.path(), anybody)) {
            tracing::warn!("{warning}");
        }
    }

    /// Becomes the program that is installed now. Comes back only if that does not happen.
    pub(super) async fn renew(&mut self, server: &Arc<Server>, signals: &mut Signals) -> Renewal {
        let program = successor::installed(&self.argv);
        let tried = program.clone();
        let tried = tokio::task::spawn_blocking(move || successor::try_out(&tried)).await;
        match tried.map_err(|_| VirtError::internal("the trial was given up")) {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => {
                crate::logging::log_error!(
                    error,
                    "'{}' does not take this program's place: {error}",
                    program.display()
                );
                return Renewal::Refused;
            }
        }
        tracing::info!("another program takes this one's place");
        server.stop(Ending::Stopping).await;
        let host = Arc::clone(server.host());
        let timeout = server.settings().stop_timeout;
        let done = tokio::task::spawn_blocking(move || host.shut_down(Deadline::after(timeout)));
        if tokio::time::timeout(timeout, done).await.is_err() {
            tracing::warn!("drivers still have work after {timeout:?} and are left to it");
        }
        // The successor would not hear of it.
        if signals.stop_is_wished().await {
            return Renewal::Overtaken;
        }
        let configured = places::settings(&self.config);
        let error = successor::become_program(&program, &self.argv, &self.name.name, server, &configured);
        crate::logging::log_error!(error, "{error}");
        Renewal::Failed
    }

    /// Takes what the configuration says now.
    pub(super) fn reload(&mut self, server: &Arc<Server>) {
        let loaded = places::load(&self.options, &self.role, &self.paths.config_file)
            .and_then(|loaded| loaded.config.check_limits().map(|()| loaded));
        match loaded {
            Ok(loaded) => self.take(server, &loaded),
            Err(error) => crate::logging::log_error!(error, "the configuration stays as it was: {error}"),
        }
        let host = Arc::clone(server.host());
        server.in_background(move || host.reload());
    }

    /// Has a new configuration hold, as far as it can while the daemon runs.
    fn take(&mut self, server: &Arc<Server>, loaded: &Loaded) {
        let reloaded = self.config.reload(&loaded.config);
        self.config = reloaded.config;
        warn_of_ignored(&loaded.ignored);
        tracing::info!("the configuration is read again");
        for key in reloaded.pending {
            tracing::warn!("the new value of '{}' holds after a restart", key.name);
        }
        let fresh = places::settings(&self.config);
        server.change_settings(|settings| settings.clone_from(&fresh));
        if let Err(error) = self.access.reload(&self.config) {
            crate::logging::log_error!(error, "the access policy stays as it was: {error}");
        }
        if self.parent.is_none() {
            self.audit.reload(&self.config);
            sockets::reload_auth(server, &self.config, &self.role);
        }
        match self.security(server.security().tls.is_some()) {
            Ok(security) => server.set_security(security),
            Err(error) => {
                crate::logging::log_error!(
                    error,
                    "certificates and authentication stay as they were: {error}"
                )
            }
        }
        self.warn_of_sasl(server);
        let log = places::log_config(&self.config, &self.options, &self.log_file);
        if let Err(error) = self.logger.configure(&log, &LogEnvironment::current()) {
            crate::logging::log_error!(error, "{error}");
        }
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
