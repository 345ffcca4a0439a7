//! The command line of a guest.
//!
//! [`plan`] turns a normalized definition, the capabilities of a binary and facts of the host into the command that runs
//! the guest and the definition as it is while it runs. Nothing is opened, asked or started: descriptors are numbered and
//! described, and the one who starts the command opens them.
//!
//! | module | part |
//! |---|---|
//! | [`host`] | facts and settings that a plan depends on |
//! | [`prepare`] | what is decided at start: aliases, node names, boot order, ports, sockets |
//! | `machine`, `cpu`, `memory`, `boot` | the machine itself |
//! | `controller`, `disk`, `block`, `interface`, `ports`, `chardev`, `graphics`, `sound`, `filesystem`, `hostdev`, `small` | its devices |

pub mod args;
pub mod block;
mod boot;
mod chardev;
mod controller;
mod cpu;
mod device;
pub mod disk;
mod filesystem;
mod graphics;
pub mod host;
mod hostdev;
pub mod interface;
mod machine;
mod memory;
mod ports;
pub mod prepare;
pub mod secrets;
mod small;
mod sound;
mod startable;
pub mod volumes;

use serde_json::{Number, Value};
use virt_conf::domain::controller::{Controller, ControllerType};
use virt_conf::domain::disk::Disk;
use virt_conf::domain::features::Features;
use virt_conf::domain::qemu_ns::QemuPropertyType;
use virt_conf::domain::{DeviceInfo, Domain};
use virt_util::arch::Arch;
use virt_util::{Result, VirtError};

use self::args::{CommandLine, Descriptor, DescriptorUse, Props};
use self::host::Host;
use self::prepare::Layout;
use crate::capabilities::{Accel, Flag, Machine, QemuCaps};
use crate::machine::MachineKind;

pub(crate) use self::boot::reboots;
pub use self::prepare::{FixedPorts, PortSource, Start};

/// A guest about to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The command.
    pub command: CommandLine,
    /// The definition as it is while the guest runs: with aliases, ports and paths.
    pub domain: Domain,
    /// Names that were decided.
    pub layout: Layout,
}

/// Plans the start of a guest. The definition is a normalized one: its devices have addresses.
///
/// # Errors
/// `CONFIG_UNSUPPORTED` for what the binary cannot do, `INTERNAL_ERROR` for a definition that was not normalized.
pub fn plan(
    domain: &Domain,
    caps: &QemuCaps,
    host: &Host,
    start: &Start,
    ports: &mut dyn PortSource,
) -> Result<Plan> {
    startable::check(domain, host)?;
    let (domain, layout) = prepare::prepare(domain, caps, host, start, ports)?;
    let command = command_line(&domain, caps, host, start, &layout)?;
    Ok(Plan {
        command,
        domain,
        layout,
    })
}

/// The command for a prepared definition.
///
/// # Errors
/// See [`plan`].
pub fn command_line(
    domain: &Domain,
    caps: &QemuCaps,
    host: &Host,
    start: &Start,
    layout: &Layout,
) -> Result<CommandLine> {
    let arch = guest_arch(domain)?;
    let accel = Accel::from_domain_type(domain.virt_type.as_str()).unwrap_or(Accel::Tcg);
    let machine_name = domain.os.kind.machine.as_deref().unwrap_or_default();
    let mut builder = Builder {
        domain,
        caps,
        host,
        start,
        layout,
        arch,
        accel,
        machine_caps: caps.machine(accel, machine_name),
        features: domain.features.as_deref().cloned().unwrap_or_default(),
        command: CommandLine::default(),
        // Images that are descriptors come first.
        next_fdset: u32::try_from(layout.fd_sets.len()).unwrap_or(u32::MAX),
        preallocated: false,
    };
    builder.build()?;
    Ok(builder.command)
}

/// Socket of the nbdkit that serves an image.
fn nbdkit_socket(directory: &str, node: &str) -> String {
    format!("{directory}/nbdkit-{node}.socket")
}

/// The architecture of the guest.
pub(crate) fn guest_arch(domain: &Domain) -> Result<Arch> {
    let name = domain.os.kind.arch.as_deref().unwrap_or_default();
    Arch::from_name(name).ok_or_else(|| VirtError::internal(format_args!("unknown architecture '{name}'")))
}

/// What is known while a command is put together.
struct Builder<'a> {
    domain: &'a Domain,
    caps: &'a QemuCaps,
    host: &'a Host,
    start: &'a Start,
    layout: &'a Layout,
    arch: Arch,
    accel: Accel,
    machine_caps: Option<&'a Machine>,
    features: Features,
    command: CommandLine,
    next_fdset: u32,
    /// All memory of the guest is allocated at once.
    preallocated: bool,
}

impl<'a> Builder<'a> {
    /// The order matters to QEMU here and there, and to those who compare command lines everywhere.
    fn build(&mut self) -> Result<()> {
        self.command.program = self.domain.devices.emulator.clone().unwrap_or_default();
        self.environment();
        self.name();
        self.deprecation();
        self.command.flag("-S");
        self.master_key();
        self.managed_reservations();
        self.firmware_images()?;
        self.machine_options()?;
        self.accelerator();
        self.smm_memory();
        self.cpu()?;
        self.loader();
        self.memory()?;
        self.cpus()?;
        self.iothreads();
        self.throttle_groups();
        self.numa()?;
        self.command.option("-uuid", self.domain.uuid()?.to_string());
        self.smbios()?;
        self.firmware_entries();
        self.generation_id()?;
        if self.domain.devices.graphics.is_empty() {
            self.command.option("-display", "none");
        }
        self.command.flag("-no-user-config");
        self.command.flag("-nodefaults");
        self.monitor();
        self.clock()?;
        self.power_management();
        self.boot()?;
        self.iommu()?;
        self.pci_holes()?;
        self.all_controllers()?;
        self.memory_devices()?;
        self.hubs()?;
        self.controllers_of(ControllerType::Ccid)?;
        self.disks()?;
        self.filesystems()?;
        self.interfaces()?;
        self.smartcards()?;
        self.serials()?;
        self.parallels()?;
        self.channels()?;
        self.consoles()?;
        self.tpms()?;
        self.inputs()?;
        self.audios()?;
        self.graphics()?;
        self.videos()?;
        self.sounds()?;
        self.watchdogs()?;
        self.redirected()?;
        self.hostdevs()?;
        if let Some(uri) = &self.start.incoming {
            self.command.option("-incoming", uri.as_str());
        }
        self.balloon()?;
        self.rngs()?;
        self.nvram();
        self.core_info()?;
        self.launch_security()?;
        self.passed_through();
        self.sandbox();
        self.panics()?;
        self.shared_memory()?;
        self.vsock()?;
        self.cryptos()?;
        self.persistent_store()?;
        self.async_teardown();
        if self.host.config.log_timestamp {
            self.command.option("-msg", "timestamp=on");
        }
        Ok(())
    }

    fn controllers(&self) -> impl Iterator<Item = &'a Controller> + use<'a> {
        self.domain.devices.controllers.iter()
    }

    fn domain_disks(&self) -> &'a [Disk] {
        &self.domain.devices.disks
    }

    fn machine(&self) -> MachineKind<'a> {
        MachineKind::new(
            self.domain.os.kind.machine.as_deref().unwrap_or_default(),
            self.arch,
        )
    }

    fn boot_index(&self, info: &DeviceInfo) -> u32 {
        let alias = info.alias.as_deref().unwrap_or_default();
        self.layout.boot_order.get(alias).copied().unwrap_or(0)
    }

    /// The number under which the process gets a descriptor.
    fn descriptor(&mut self, usage: DescriptorUse) -> i32 {
        let number = (self.host.numbering)(&usage, &self.command.descriptors);
        self.command.descriptors.push(Descriptor { number, usage });
        number
    }

    /// What the user wants of a device otherwise.
    fn apply_overrides(&self, props: &mut Props) {
        let Some(id) = props.get("id").and_then(Value::as_str).map(str::to_owned) else {
            return;
        };
        let Some(overrides) = &self.domain.qemu_override else {
            return;
        };
        let wanted = overrides.devices.iter().find(|device| device.alias == id);
        let Some(frontend) = wanted.and_then(|device| device.frontend.as_ref()) else {
            return;
        };
        for property in &frontend.properties {
            props.remove(&property.name);
            let text = property.value.as_deref().unwrap_or_default();
            let value = match property.kind {
                QemuPropertyType::String => Value::from(text),
                QemuPropertyType::Signed => Value::from(text.parse::<i64>().unwrap_or_default()),
                QemuPropertyType::Unsigned => {
                    Value::Number(Number::from(text.parse::<u64>().unwrap_or_default()))
                }
                QemuPropertyType::Bool => Value::from(text == "true"),
                QemuPropertyType::Remove => continue,
            };
            *props = std::mem::take(props).with(&property.name, value);
        }
    }

    fn environment(&mut self) {
        for (name, value) in &self.host.environment {
            self.command.set_environment(name, value.as_str());
        }
        let home = self.layout.directory.as_str();
        if self.host.privileged {
            self.command.set_environment("HOME", home);
            for (name, folder) in [("DATA", "share"), ("CACHE", "cache"), ("CONFIG", "config")] {
                let folder = match name {
                    "DATA" => format!("{home}/.local/{folder}"),
                    _ => format!("{home}/.{folder}"),
                };
                self.command.set_environment(&format!("XDG_{name}_HOME"), folder);
            }
        } else {
            self.command
                .set_environment("XDG_CACHE_HOME", format!("{home}/.cache"));
        }
    }

    fn name(&mut self) {
        let mut value = format!("guest={}", args::escape_commas(&self.domain.name));
        if self.host.config.set_process_name {
            value.push_str(&format!(",process=qemu:{}", self.domain.name));
        }
        value.push_str(",debug-threads=on");
        self.command.option("-name", value);
    }

    fn deprecation(&mut self) {
        let asked = self
            .domain
            .qemu_deprecation
            .as_ref()
            .map(|one| one.behavior.as_str());
        let behavior = asked.or(self.host.config.deprecation_behavior.as_deref());
        let input = match behavior {
            Some("omit") => None,
            Some(word @ ("reject" | "crash")) => Some(word),
            _ => return,
        };
        let props = Props::new()
            .with("deprecated-output", "hide")
            .maybe("deprecated-input", input);
        self.command.option("-compat", props.to_json());
    }

    fn master_key(&mut self) {
        let props = Props::object("secret", "masterKey0")
            .with("format", "raw")
            .with("file", self.layout.master_key_path());
        self.command.object(&props);
    }

    fn monitor(&mut self) {
        let usage = DescriptorUse::ListenSocket {
            path: self.layout.monitor_path(),
            chardev: "charmonitor".to_owned(),
        };
        let number = self.descriptor(usage);
        self.command.option(
            "-chardev",
            format!("socket,id=charmonitor,fd={number},server=on,wait=off"),
        );
        self.command
            .option("-mon", "chardev=charmonitor,id=monitor,mode=control");
    }

    fn passed_through(&mut self) {
        let Some(extra) = &self.domain.qemu_commandline else {
            return;
        };
        for arg in &extra.args {
            self.command.arguments.push(arg.value.clone());
        }
        for variable in &extra.env {
            self.command
                .set_environment(&variable.name, variable.value.as_deref().unwrap_or_default());
        }
    }

    fn sandbox(&mut self) {
        if !self.caps.has(Flag::SeccompSandbox) {
            return;
        }
        let value = match self.host.config.seccomp_sandbox {
            Some(false) => "off",
            _ => "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        };
        self.command.option("-sandbox", value);
    }
}
