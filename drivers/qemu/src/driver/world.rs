//! One host's guests: the folders, the driver's lock, the registry, and the thread that listens to all monitors.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use virt_api::events::EventHub;
use virt_api::host::HostServices;
use virt_conf::domain::Domain;
use virt_conf::domain::audit::GuestAudit;
use virt_conf::registry::{Definition as _, Life, Registry, Snapshot, StatusFolder, Store};
use virt_util::audit::AuditRecord;
use virt_util::command::{Spawner, SystemSpawner};
use virt_util::host::Host;
use virt_util::lock::PidFile;
use virt_util::reactor::{Reactor, ReactorHandle};
use virt_util::time::{Cancel, Deadline};
use virt_util::types::{DomainEventStoppedDetail, DomainShutoffReason};
use virt_util::xml::{XmlElement as _, XmlFlags};
use virt_util::{Result, VirtError};

use super::net::{Networking, TapNames};
use super::object::{
    GuestDefinition, GuestEvent, GuestId, GuestKind, GuestObject, Private, Published, StatusFile,
};
use super::planner::{Occasion, Patience, Planner};
use super::watch::{Watcher, ending};
use super::{agent, life, saved};
use crate::agent::AgentTimeout;
use crate::monitor::Command;
use crate::process::guest::Guest;
use crate::process::layout::Layout;
use crate::process::reattach::{Found, Known, reattach};
use crate::process::state::{GuestState, Lifecycle, stopped_detail};
use crate::process::status::{self, Status};

/// How long a guest's monitor may take to answer when the driver comes up. All are asked at once.
const REATTACH_LIMIT: Duration = Duration::from_secs(10);

/// The flags of a definition in a status file.
pub(super) const STATUS_FLAGS: XmlFlags = status::DEFINITION_FLAGS;

/// A host.
pub struct World {
    layout: Layout,
    planner: Arc<dyn Planner>,
    guests: Registry<GuestKind>,
    store: Store,
    statuses: StatusFolder,
    next_id: AtomicI32,
    events: EventHub,
    host: Host,
    spawner: Arc<dyn Spawner>,
    /// What drivers of this process share.
    services: HostServices,
    taps: TapNames,
    /// Goes before the lock: nobody else may own the guests while we still listen to them.
    reactor: Reactor,
    /// Held for as long as the guests are ours.
    _lock: PidFile,
}

impl World {
    /// Takes the host: its lock first, then what is on disk, then what runs.
    ///
    /// # Errors
    /// `SYSTEM_ERROR` naming the process that has the lock; what hinders reading the folders.
    pub fn open(layout: Layout, planner: Arc<dyn Planner>, services: HostServices) -> Result<Arc<Self>> {
        layout.make(None)?;
        let lock = PidFile::acquire(layout.driver_lock())?;
        planner.set_services(&services);
        let world = Arc::new(Self {
            store: Store::new(&layout.config, Some(layout.autostart.clone()), "edit"),
            statuses: StatusFolder::new(&layout.state),
            layout,
            planner,
            guests: Registry::new(),
            next_id: AtomicI32::new(1),
            events: EventHub::new(),
            host: Host::system(),
            spawner: Arc::new(SystemSpawner),
            services,
            taps: TapNames::default(),
            reactor: Reactor::start("qemu")?,
            _lock: lock,
        });
        world.load_running()?;
        world.load_stored()?;
        world.autostart();
        Ok(world)
    }

    /// The folders.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The pure middle.
    pub fn planner(&self) -> &dyn Planner {
        &*self.planner
    }

    /// The guests.
    pub fn guests(&self) -> &Registry<GuestKind> {
        &self.guests
    }

    /// The definitions on disk.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who is told what happens.
    pub fn events(&self) -> &EventHub {
        &self.events
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Who starts programs.
    pub fn spawner(&self) -> &dyn Spawner {
        &*self.spawner
    }

    /// Gives records about a guest to the host's audit trail.
    pub fn record(&self, records: impl IntoIterator<Item = AuditRecord>) {
        self.services.record(records);
    }

    /// What making network interfaces takes.
    pub fn networking(&self) -> Networking<'_> {
        Networking {
            names: &self.taps,
            host: &self.services,
            spawner: &*self.spawner,
        }
    }

    /// The loop that listens to all monitors.
    pub fn reactor(&self) -> ReactorHandle {
        self.reactor.handle()
    }

    /// The id of the next guest to run.
    pub fn new_id(&self) -> i32 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells what has been noted of a guest; call it with its lane let go. What cannot be told is logged.
    pub fn tell(&self, guest: &GuestObject) {
        guest.events().tell(|_, event| {
            if let Err(error) = self.events.emit(&event) {
                tracing::warn!("an event is lost: {error:#}");
            }
        });
    }

    /// Writes a guest's status file; nothing if it does not run.
    ///
    /// # Errors
    /// `SYSTEM_ERROR`.
    pub fn save_status(&self, object: &GuestObject, guest: &Guest) -> Result<()> {
        let mut file = object.private().status.lock();
        let snapshot = object.snapshot();
        let Some(file) = file.as_mut().filter(|_| snapshot.is_active()) else {
            return Ok(());
        };
        file.status.set_guest_state(guest.state());
        file.status.pid = guest.process().pid();
        file.status.fake_reboot = guest.fake_reboot();
        file.status.agent_timeout = object.private().agent.timeout().number();
        let live = snapshot.life.current();
        let document = file
            .status
            .format(STATUS_FLAGS, |w| live.domain.write(w, "domain"));
        if document != file.written {
            self.statuses.save(&**live, &document)?;
            file.written = document;
        }
        Ok(())
    }

    /// Finds the guests again that an earlier process has left running. What cannot be read is left alone, and logged.
    fn load_running(self: &Arc<Self>) -> Result<()> {
        let files = self
            .statuses
            .load(|text, path| read_status(text, path, &self.layout))?;
        let highest = files
            .iter()
            .filter_map(|(_, read)| read.as_ref().ok())
            .map(|one| one.id)
            .max();
        if let Some(highest) = highest {
            self.next_id.store(highest.saturating_add(1), Ordering::Relaxed);
        }
        // Each waits for its own monitor; a stuck one makes nobody else late.
        std::thread::scope(|scope| {
            for (name, read) in files {
                match read {
                    Ok(one) => {
                        scope.spawn(move || self.find_again(one));
                    }
                    Err(error) => {
                        tracing::error!(
                            guest = name,
                            "its status file cannot be read, it is left alone: {error:#}"
                        );
                    }
                }
            }
        });
        Ok(())
    }

    fn find_again(self: &Arc<Self>, one: Running) {
        let name = one.live.name().to_owned();
        if let Err(error) = self.adopt_running(one) {
            tracing::error!(guest = name, "cannot be found again, it is left alone: {error:#}");
        }
    }

    fn adopt_running(self: &Arc<Self>, one: Running) -> Result<()> {
        let mut paths = self.layout.guest(one.id, one.live.name());
        let told = |path: &Option<String>| path.as_deref().map(Path::new).map(Path::to_owned);
        if let Some(lib) = told(&one.status.lib_folder) {
            paths.master_key = lib.join("master-key.aes");
            paths.lib = lib;
        }
        if let Some(monitor) = told(&one.status.monitor) {
            paths.monitor = monitor;
        }
        if let Some(channel) = told(&one.status.channel_folder) {
            paths.channel = channel;
        }
        let known = Known {
            id: one.id,
            name: one.live.name().to_owned(),
            paths,
            pid: one.status.pid,
            state: one.state,
            fake_reboot: one.status.fake_reboot,
            on_poweroff: ending(one.live.domain.on_poweroff),
            on_crash: ending(one.live.domain.on_crash),
        };
        let private = Private::default();
        if let Some(timeout) = AgentTimeout::new(one.status.agent_timeout) {
            private.agent.set_timeout(timeout);
        }
        *private.status.lock() = Some(Box::new(StatusFile::new(one.status)));
        let managed_save = saved::exists(&self.layout, one.live.name());
        let snapshot = Snapshot {
            life: Life::Active {
                live: Arc::new(one.live),
                next: None,
            },
            state: Published {
                id: one.id,
                state: one.state,
                managed_save,
                ..Published::default()
            },
            autostart: false,
            autostart_once: false,
        };
        let object = self.guests.adopt(snapshot, private)?;
        self.guests.bind(&object, GuestId(one.id))?;
        let watcher = Arc::new(Watcher::new(self, &object));
        let found = reattach(
            known,
            &self.reactor(),
            watcher,
            Deadline::after(REATTACH_LIMIT),
            &Cancel::never(),
        )?;
        if !matches!(found, Found::Gone(_)) {
            self.networking()
                .reserve(&object.snapshot().life.current().domain);
        }
        match found {
            Found::Attached(guest) => {
                self.set_running(&object, Some(Arc::clone(&guest)));
                object.publish(|snapshot| snapshot.state.state = guest.state());
                // Nobody has heard meanwhile which ports the guest opened and closed.
                let limit = Deadline::after(REATTACH_LIMIT);
                match guest.execute(Command::new("query-chardev"), limit, &Cancel::never()) {
                    Ok(answer) => agent::refresh_ports(self, &object, &answer, false),
                    Err(error) => tracing::warn!(guest = guest.name(), "{error:#}"),
                }
                self.save_status(&object, &guest)?;
            }
            Found::Unreachable(guest, error) => {
                tracing::error!(guest = guest.name(), "its monitor does not answer: {error:#}");
                self.set_running(&object, Some(guest));
                object.publish(|snapshot| {
                    snapshot
                        .state
                        .messages
                        .push(format!("the monitor does not answer: {}", error.message()));
                });
            }
            Found::Gone(reason) => self.forget_run(&object, reason),
        }
        Ok(())
    }

    /// Sets a guest's process. A host that would go for lack of work stays for guests that run.
    pub(super) fn set_running(&self, object: &GuestObject, guest: Option<Arc<Guest>>) {
        let runs = guest.is_some();
        if object.private().set_running(guest) != runs {
            self.services.inhibit(runs);
        }
    }

    /// A guest does not run any more: publishes that, notes the event, and takes a transient one out.
    pub(super) fn forget_run(&self, object: &Arc<GuestObject>, reason: DomainShutoffReason) {
        let snapshot = object.snapshot();
        if !snapshot.is_active() {
            return;
        }
        self.guests.unbind(&GuestId(snapshot.state.id));
        // Of a start that failed the start itself is recorded.
        if reason != DomainShutoffReason::FAILED {
            let pid = object
                .private()
                .running()
                .map_or(0, |guest| guest.process().pid().into());
            self.record([GuestAudit::new(&snapshot.life.current().domain).stop(pid, reason)]);
        }
        self.set_running(object, None);
        object.private().consoles.close();
        object.private().agent.close();
        self.networking().disconnect(&snapshot.life.current().domain);
        life::end_doubt(object);
        *object.private().status.lock() = None;
        // A start that failed was never told, so its end is not either.
        let silent = reason == DomainShutoffReason::FAILED;
        let detail = match reason {
            DomainShutoffReason::DAEMON | DomainShutoffReason::UNKNOWN => DomainEventStoppedDetail::FAILED,
            reason => stopped_detail(reason),
        };
        let kept = snapshot.life.stopped();
        let gone = kept.is_none();
        object.publish(|snapshot| {
            snapshot.state = Published {
                state: GuestState::shut_off(reason),
                managed_save: snapshot.state.managed_save,
                ..Published::default()
            };
            if let Some(kept) = kept {
                snapshot.life = kept;
            }
        });
        if !silent {
            GuestEvent::lifecycle(object, Lifecycle::stopped(detail));
        }
        if gone {
            self.guests.remove(object);
        }
    }

    /// Reads the definitions; those of guests that run become their next ones.
    fn load_stored(self: &Arc<Self>) -> Result<()> {
        let patience = Self::patience(Deadline::NONE, &Cancel::never());
        let result = self.store.load_with(|text, path| {
            let stored = Domain::parse(text, XmlFlags::INACTIVE, &path.display().to_string())?;
            let domain = self
                .planner
                .normalize(stored, Occasion::Load, &self.layout, &patience)?;
            GuestDefinition::new(domain)
        })?;
        for (path, error) in result.failed {
            tracing::error!("'{}' is left alone: {error:#}", path.display());
        }
        for loaded in result.loaded {
            let definition = loaded.definition;
            let running = definition.uuid().and_then(|uuid| self.guests.by_uuid(&uuid));
            match running {
                Some(object) => object.publish(|snapshot| {
                    snapshot.life = snapshot.life.defined(definition);
                    snapshot.autostart = loaded.autostart;
                    snapshot.autostart_once = loaded.autostart_once;
                }),
                None => {
                    let name = definition.name().to_owned();
                    let snapshot = Snapshot {
                        life: Life::Inactive(definition),
                        state: Published {
                            managed_save: saved::exists(&self.layout, &name),
                            ..Published::default()
                        },
                        autostart: loaded.autostart,
                        autostart_once: loaded.autostart_once,
                    };
                    if let Err(error) = self.guests.adopt(snapshot, Private::default()) {
                        tracing::error!(guest = name, "{error:#}");
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts what starts with the host, once in a boot of the host: the mark lies where a reboot clears it.
    fn autostart(self: &Arc<Self>) {
        let mark = self.layout.state.join("autostarted");
        if mark.exists() {
            return;
        }
        let quick = virt_util::durable::WriteOptions {
            sync: false,
            ..virt_util::durable::WriteOptions::default()
        };
        if let Err(error) = virt_util::durable::write(&mark, b"", &quick) {
            tracing::warn!("{error:#}");
        }
        for object in self.guests.list() {
            let snapshot = object.snapshot();
            if snapshot.is_active() || !(snapshot.autostart || snapshot.autostart_once) {
                continue;
            }
            if let Err(error) = life::autostart(self, &object) {
                tracing::error!(guest = snapshot.name(), "does not start with the host: {error:#}");
            }
        }
    }

    /// How long a caller waits.
    pub fn patience(deadline: Deadline, cancel: &Cancel) -> Patience {
        Patience {
            deadline,
            cancel: cancel.clone(),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({:?}, {:?})", self.layout.state, self.guests)
    }
}

/// A status file that was read.
struct Running {
    id: i32,
    state: GuestState,
    status: Status,
    live: GuestDefinition,
}

fn read_status(text: &str, path: &Path, layout: &Layout) -> Result<Running> {
    let name = path.display().to_string();
    let (status, live) = status::load(text, &name, layout)?;
    let id = live
        .id
        .and_then(|id| i32::try_from(id).ok())
        .ok_or_else(|| VirtError::internal(format_args!("'{name}' tells no id")))?;
    Ok(Running {
        id,
        state: status.guest_state()?,
        status,
        live: GuestDefinition::new(live)?,
    })
}
