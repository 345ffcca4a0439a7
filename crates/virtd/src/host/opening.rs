//! The way from a URI to a driver: one of this process, one in a process of its own, or another daemon's.

use super::*;

impl DaemonHost {
    /// Opens a connection for a client.
    pub fn open(self: &Arc<Self>, open: &OpenFor<'_>) -> Result<OpenedFor> {
        let drivers = self.in_scope(open.scope);
        let text = match open.name {
            Some(name) => name.to_owned(),
            None => self.probe(&drivers)?,
        };
        // Of the flags only the one for looking means something here: libvirt's clients send those of their own transport
        // along, of which the daemon takes no notice.
        let uri = Uri::parse(&text)?;
        let proxied = self.config.proxy && matches!(open.scope, Scope::All);
        let Some(manifest) = driver_for(&drivers, &uri).filter(|_| !proxied) else {
            if proxied {
                return self.open_by_proxy(open, &uri, text);
            }
            return Err(self.not_served(&uri, &text, &drivers));
        };
        let request = self.request(open, text.clone());
        let router = self.connect(manifest, &uri, request)?;
        let isolation = self.config.isolate.as_ref();
        Ok(OpenedFor {
            router,
            uri: text,
            checked_there: isolation.is_some_and(|isolation| isolation.has(&manifest.name)),
            driver: manifest.name.clone(),
        })
    }

    /// Opens a connection to the daemon that has the driver, which is told for whom. Rules about single objects are that
    /// daemon's matter, since only it has objects. If we have rules and it has none, what a client may do with all objects
    /// would be what it may do with some: there is no way on.
    fn open_by_proxy(self: &Arc<Self>, open: &OpenFor<'_>, uri: &Uri, text: String) -> Result<OpenedFor> {
        let request = OpenRequest {
            check_access: false,
            ..self.request(open, text.clone())
        };
        let opened = self.driver(REMOTE)?.open(&request)?;
        let question = OutgoingCall {
            deadline: Deadline::after(ANSWER),
            ..OutgoingCall::new(hello::PROGRAM, hello::PROCEDURE, Vec::new())
        };
        // A daemon of libvirt's does not know the question.
        let promises = opened
            .call(question)
            .and_then(|answer| hello::read_answer(&answer.payload))
            .unwrap_or_default();
        let checked_there = promises.contains(Promises::CHECKS_ACCESS);
        if self.enforced() && !checked_there {
            let _ = opened.close();
            return Err(VirtError::new(
                ErrorCode::ACCESS_DENIED,
                format_args!(
                    "the daemon of '{text}' holds nothing against access rules, as this one has to: it needs the \
                     policy_file or access_drivers of its own"
                ),
            )
            .in_domain(ErrorDomain::ACCESS));
        }
        Ok(OpenedFor {
            router: Router::new(Arc::new(opened), None),
            driver: uri.driver().unwrap_or(REMOTE).to_owned(),
            uri: text,
            checked_there,
        })
    }

    /// Why there is nobody for a URI, behind libvirt's words.
    fn not_served(&self, uri: &Uri, text: &str, offered: &[Manifest]) -> VirtError {
        let scheme = uri.driver().unwrap_or_default();
        let names: Vec<_> = offered.iter().map(|manifest| manifest.name.as_str()).collect();
        let offer = match names.is_empty() {
            true => "none is installed".to_owned(),
            false => format!("there are: {}", names.join(", ")),
        };
        let elsewhere = driver_for(&self.drivers(), uri).is_some();
        let cause = match elsewhere {
            true => format!("this socket does not lead to its driver ({offer})"),
            false => format!("no driver of this daemon answers '{scheme}' ({offer})"),
        };
        VirtError::new(ErrorCode::NO_CONNECT, format_args!("{text}: {cause}"))
    }

    /// Whether that URI leads to a driver of this process that opens it without waiting or reading anything.
    pub fn opens_at_once(&self, scope: &Scope, uri: &str) -> bool {
        let proxied = self.config.proxy && matches!(scope, Scope::All);
        let Ok(parsed) = Uri::parse(uri) else { return false };
        let drivers = self.in_scope(scope);
        match driver_for(&drivers, &parsed) {
            Some(manifest) if !proxied && self.isolated(&manifest.name).is_none() => self
                .driver(&manifest.name)
                .is_ok_and(|driver| driver.opens_at_once(uri)),
            _ => false,
        }
    }

    fn request(&self, open: &OpenFor<'_>, uri: String) -> OpenRequest {
        OpenRequest {
            uri,
            flags: if open.read_only { CONNECT_RO } else { 0 },
            identity: open.identity.clone(),
            read_only: open.read_only,
            // What a driver in another process wants for itself, it may.
            check_access: self.enforced() && !open.identity.0.0.is_empty(),
            ..OpenRequest::default()
        }
    }

    fn connect(self: &Arc<Self>, manifest: &Manifest, uri: &Uri, request: OpenRequest) -> Result<Router> {
        if let Some(socket) = self.isolated(&manifest.name) {
            // The other process has the drivers of other kinds from wherever a modular daemon has them.
            let request = OpenRequest {
                uri: by_socket(uri, &socket?),
                // What is on the way has no objects: the other process asks about those that it finds.
                check_access: false,
                ..request
            };
            let opened = self
                .driver(REMOTE)?
                .open(&request)
                .map_err(|error| match error.domain() {
                    // Not the driver's own answer.
                    ErrorDomain::RPC => isolation::ended(&manifest.name, &error),
                    _ => error,
                })?
                // Calls, lost workers and numbers are those of the driver, not of the way to it.
                .leading_to(&manifest.name);
            // A process that stands still is found out.
            if let Err(error) = opened.set_keepalive(KEEPALIVE.0, KEEPALIVE.1) {
                tracing::debug!(
                    "driver '{}' is not asked whether it lives: {error}",
                    manifest.name
                );
            }
            let opened = ToProcess::new(manifest.name.clone(), opened);
            return Ok(Router::new(Arc::new(opened), None));
        }
        let driver = self.driver(&manifest.name)?;
        let primary: Arc<dyn OpenedConnection> = Arc::new(driver.open(&request)?);
        // Client drivers serve all kinds themselves or not at all, as in their own process.
        let secondary = (manifest.role == Role::Stateful).then(|| self.open_secondary(uri, request));
        Ok(Router::new(primary, secondary))
    }

    /// The socket of a driver that has a process of its own, which is started if it does not run.
    pub(super) fn isolated(&self, driver: &str) -> Option<Result<PathBuf>> {
        let isolation = self.config.isolate.as_ref()?;
        isolation.has(driver).then(|| isolation.socket(driver))
    }

    fn in_scope(&self, scope: &Scope) -> Vec<Manifest> {
        let mut drivers = self.drivers();
        match scope {
            Scope::All | Scope::Isolated => {}
            Scope::Driver(name) => drivers.retain(|manifest| manifest.name == *name),
            Scope::Admin => drivers.clear(),
        }
        drivers
    }

    /// Asks the drivers for a URI: those first that keep state here.
    fn probe(&self, drivers: &[Manifest]) -> Result<String> {
        let (stateful, clients): (Vec<_>, Vec<_>) = drivers
            .iter()
            .partition(|manifest| manifest.role == Role::Stateful);
        for manifest in stateful.into_iter().chain(clients) {
            let probed = self
                .registry()
                .driver(&manifest.name)
                .and_then(|driver| driver.uri_probe());
            match probed {
                Ok(Some(uri)) => return Ok(uri),
                Ok(None) => {}
                Err(error) => tracing::warn!("driver '{}': {error}", manifest.name),
            }
        }
        Err(VirtError::new(
            ErrorCode::NO_CONNECT,
            "an unnamed URI: none of this daemon's drivers works here without one",
        ))
    }

    /// The way to the drivers of other kinds that belong to a hypervisor.
    fn open_secondary(self: &Arc<Self>, primary: &Uri, request: OpenRequest) -> OpenSecondary {
        let host = Arc::downgrade(self);
        let uri = primary.clone();
        Box::new(move |kind: DriverKind| {
            let Some(host) = host.upgrade() else {
                return Ok(None);
            };
            let (driver, scheme) = match host.drivers().into_iter().find(|one| one.kind == kind.name()) {
                Some(manifest) => {
                    let scheme = manifest
                        .schemes
                        .first()
                        .cloned()
                        .unwrap_or_else(|| manifest.name.clone());
                    (manifest.name, scheme)
                }
                // Another daemon has it, unless this is the one of all drivers.
                None if host.leads_elsewhere() => (REMOTE.to_owned(), daemon_scheme(kind).to_owned()),
                None => return Ok(None),
            };
            let mut own = uri.clone();
            own.scheme = Some(scheme);
            own.path = if host.config.privileged {
                "/system"
            } else {
                "/session"
            }
            .to_owned();
            let opened = host.driver(&driver)?.open(&OpenRequest {
                uri: match &host.config.parent {
                    Some(parent) if driver == REMOTE => by_socket(&own, parent.socket()),
                    _ => own.to_string(),
                },
                ..request.clone()
            })?;
            let opened: Arc<dyn OpenedConnection> = Arc::new(opened);
            Ok(Some(opened))
        })
    }

    /// Whether there are other daemons to ask.
    fn leads_elsewhere(&self) -> bool {
        !self.config.drivers.is_empty()
            && self
                .registry()
                .drivers()
                .iter()
                .any(|driver| driver.manifest.name == REMOTE)
    }

    pub(super) fn open_nested(self: &Arc<Self>, open: &NestedOpen) -> Result<Arc<dyn OpenedConnection>> {
        let uri = Uri::parse(&open.uri)?;
        let mut ext = TypedParams::new();
        if open.elevated {
            ext.push("elevated", true);
        }
        if open.auth == AuthMode::ConfigOnly {
            ext.push("auth-config-only", true);
        }
        let request = OpenRequest {
            uri: open.uri.clone(),
            flags: open.flags,
            deadline: open.deadline,
            identity: open.identity.clone(),
            // What a driver wants for itself, it may.
            check_access: self.enforced() && !open.identity.0.0.is_empty(),
            ext,
            ..OpenRequest::default()
        };
        let local = uri.transport().is_none() && uri.server.is_none();
        let drivers = self.drivers();
        let client = |manifest: &&Manifest| local || manifest.role == Role::Client;
        if uri.transport().is_none()
            && let Some(manifest) = driver_for(&drivers, &uri).filter(client)
        {
            return Ok(Arc::new(self.connect(manifest, &uri, request)?));
        }
        if let (true, Some(parent)) = (local, &self.config.parent) {
            let request = OpenRequest {
                uri: by_socket(&uri, parent.socket()),
                ..request
            };
            return Ok(Arc::new(self.driver(REMOTE)?.open(&request)?));
        }
        if local && !self.leads_elsewhere() {
            return Err(self.not_served(&uri, &open.uri, &drivers));
        }
        Ok(Arc::new(self.driver(REMOTE)?.open(&request)?))
    }
}

fn driver_for<'a>(drivers: &'a [Manifest], uri: &Uri) -> Option<&'a Manifest> {
    let scheme = uri.driver()?;
    drivers.iter().find(|manifest| {
        manifest
            .schemes
            .iter()
            .any(|known| known.eq_ignore_ascii_case(scheme))
    })
}

/// The URI that leads to the same driver behind a socket.
fn by_socket(uri: &Uri, socket: &Path) -> String {
    let mut uri = uri.clone();
    uri.scheme = Some(format!("{}+unix", uri.driver().unwrap_or_default()));
    uri.params.push(virt_util::uri::UriParam {
        name: "socket".to_owned(),
        value: socket.display().to_string(),
        ignore: false,
    });
    uri.query = Some(uri.format_params());
    uri.to_string()
}

/// The scheme by which libvirt's own daemon for a kind is reached.
fn daemon_scheme(kind: DriverKind) -> &'static str {
    match kind {
        DriverKind::NodeDevice => "nodedev",
        other => other.name(),
    }
}
