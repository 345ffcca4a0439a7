//! The host's side of network interfaces: taps made, put into bridges, given to QEMU by descriptor, and let go.
//!
//! A tap that is made here goes with its last descriptor, and the last one is QEMU's: there is nothing to remove when a
//! guest ends or does not start. Its name is claimed meanwhile, so that no other driver of this process takes it.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use virt_api::host::{ClaimKind, HostServices};
use virt_conf::domain::Domain;
use virt_conf::domain::interface::{Interface, InterfaceSource, InterfaceTarget, IpConfig};
use virt_util::command::{Command, Spawner};
use virt_util::error::SystemResult as _;
use virt_util::netlink::{LinkChange, RouteSocket};
use virt_util::sys::tap::{self, TapShape};
use virt_util::time::{Cancel, Deadline};
use virt_util::{ErrorCode, Result, VirtError};

use super::error;
use crate::plan::args::{CommandLine, DescriptorUse};
use crate::plan::interface::is_virtio;

/// The kernel's part in moving packets, unless an interface names another.
pub const VHOST_NET: &str = "/dev/vhost-net";

/// What names of taps begin with.
const PREFIX: &str = "vnet";

/// How many names are tried.
const ATTEMPTS: u32 = 10_000;

/// The highest number of a name that fits.
const NUMBER_MAX: u32 = i32::MAX.unsigned_abs();

/// How long a script may take.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);

/// Who gives out names of taps. The kernel would use a name again at once, while somebody may still mean the old one.
#[derive(Debug, Default)]
pub struct TapNames {
    next: AtomicU32,
}

impl TapNames {
    /// A name that nobody has.
    fn next(&self, host: &HostServices, socket: &RouteSocket, owner: &str) -> Result<String> {
        for _ in 0..ATTEMPTS {
            let number = self.next.fetch_add(1, Ordering::Relaxed) % NUMBER_MAX;
            let name = format!("{PREFIX}{number}");
            if socket.link(&name)?.is_none() && host.claim(ClaimKind::NetDevName, &name, owner).is_ok() {
                return Ok(name);
            }
        }
        Err(error(
            ErrorCode::INTERNAL_ERROR,
            format_args!("all names that begin with {PREFIX} are taken"),
        ))
    }

    /// Takes note of a name that a running guest has.
    fn reserve(&self, name: &str) {
        if let Some(number) = name
            .strip_prefix(PREFIX)
            .and_then(|number| number.parse::<u32>().ok())
        {
            self.next.fetch_max(number.saturating_add(1), Ordering::Relaxed);
        }
    }
}

/// What making interfaces takes.
pub struct Networking<'a> {
    /// Names.
    pub names: &'a TapNames,
    /// Who knows what other drivers have.
    pub host: &'a HostServices,
    /// Who runs scripts.
    pub spawner: &'a dyn Spawner,
}

/// Descriptors with what the command line wants them for.
pub type Given = Vec<(DescriptorUse, OwnedFd)>;

impl Networking<'_> {
    /// Makes and opens what the interfaces of a planned guest need, and writes the names into its definition. What was
    /// made goes again with the descriptors.
    ///
    /// # Errors
    /// `CONFIG_UNSUPPORTED` for what cannot be done here; `SYSTEM_ERROR`.
    pub fn connect(
        &self,
        domain: &mut Domain,
        command: &CommandLine,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Given> {
        let mut given = Given::new();
        let owner = owner(domain);
        let mut claimed = Vec::new();
        let result = (|| {
            for interface in &mut domain.devices.interfaces {
                let alias = interface.info.alias.as_deref().unwrap_or_default().to_owned();
                let wanted: Vec<DescriptorUse> = command
                    .descriptors
                    .iter()
                    .map(|one| &one.usage)
                    .filter(|usage| device_of(usage) == Some(alias.as_str()))
                    .cloned()
                    .collect();
                if wanted.is_empty() {
                    continue;
                }
                check(interface)?;
                let queues = wanted
                    .iter()
                    .filter(|usage| matches!(usage, DescriptorUse::Tap { .. }))
                    .count();
                let mut taps = Vec::new();
                if queues > 0 {
                    let queues = u32::try_from(queues).unwrap_or(u32::MAX);
                    taps = self.tap(interface, queues, &owner, &mut claimed, deadline, cancel)?;
                }
                let mut taps = taps.into_iter();
                for usage in wanted {
                    let fd = match &usage {
                        DescriptorUse::Tap { .. } => taps
                            .next()
                            .ok_or_else(|| VirtError::internal("a tap has too few queues"))?,
                        DescriptorUse::VhostNet { .. } => open_vhost(interface)?,
                        DescriptorUse::Vdpa { path, .. } => {
                            open(path).or_system(|| format!("cannot open vDPA device '{path}'"))?
                        }
                        _ => continue,
                    };
                    given.push((usage, fd));
                }
            }
            Ok(())
        })();
        if let Err(error) = result {
            for name in claimed {
                let _ = self.host.release(ClaimKind::NetDevName, &name, &owner);
            }
            return Err(error);
        }
        Ok(given)
    }

    /// After a guest has ended, or did not start: scripts, names.
    pub fn disconnect(&self, domain: &Domain) {
        let owner = owner(domain);
        for interface in &domain.devices.interfaces {
            let Some(name) = device_name(interface) else {
                continue;
            };
            if let (InterfaceSource::Ethernet { .. }, Some(script)) =
                (&interface.source, &interface.link.down_script)
            {
                let limit = Deadline::after(SCRIPT_LIMIT);
                if let Err(error) = self.run_script(script, name, limit, &Cancel::never()) {
                    tracing::warn!(guest = domain.name, "{error:#}");
                }
            }
            // Those that were not made here are nobody's.
            let _ = self.host.release(ClaimKind::NetDevName, name, &owner);
        }
    }

    /// Takes note of the names of a guest that was found again.
    pub fn reserve(&self, domain: &Domain) {
        let owner = owner(domain);
        for interface in &domain.devices.interfaces {
            let Some(name) = device_name(interface) else {
                continue;
            };
            self.names.reserve(name);
            if let Err(error) = self.host.claim(ClaimKind::NetDevName, name, &owner) {
                tracing::warn!(guest = domain.name, "{error:#}");
            }
        }
    }

    fn tap(
        &self,
        interface: &mut Interface,
        queues: u32,
        owner: &str,
        claimed: &mut Vec<String>,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Vec<OwnedFd>> {
        let socket = RouteSocket::open()?;
        let managed = interface.target.as_ref().and_then(|target| target.managed) != Some(false);
        let device = interface
            .backend
            .as_ref()
            .and_then(|backend| backend.tap.clone())
            .unwrap_or_else(|| tap::DEVICE.to_owned());
        let shape = TapShape {
            queues,
            vnet_header: has_header(interface.model.as_deref()),
        };
        if !managed {
            let taps = unmanaged(interface, &socket, Path::new(&device), shape)?;
            self.run_up_script(interface, deadline, cancel)?;
            return Ok(taps);
        }
        let name = match device_name(interface) {
            Some(name) if !name.contains('%') => {
                if socket.link(name)?.is_some() {
                    return Err(error(
                        ErrorCode::OPERATION_INVALID,
                        format_args!("a network device '{name}' exists already"),
                    ));
                }
                let name = name.to_owned();
                self.host.claim(ClaimKind::NetDevName, &name, owner)?;
                name
            }
            _ => self.names.next(self.host, &socket, owner)?,
        };
        claimed.push(name.clone());
        let taps = tap::open(Path::new(&device), &name, shape)?;
        let index = socket
            .link(&name)?
            .ok_or_else(|| VirtError::internal(format_args!("the tap '{name}' is gone")))?
            .index;
        set_up(interface, &socket, index, &name)?;
        interface
            .target
            .get_or_insert(InterfaceTarget {
                dev: None,
                managed: None,
            })
            .dev = Some(name);
        self.run_up_script(interface, deadline, cancel)?;
        Ok(taps)
    }

    fn run_up_script(&self, interface: &Interface, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        match (&interface.link.script, device_name(interface)) {
            (Some(script), Some(name)) => {
                self.run_script(script, name, deadline.at_most(SCRIPT_LIMIT), cancel)
            }
            _ => Ok(()),
        }
    }

    fn run_script(&self, script: &str, name: &str, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        let mut command = Command::new(script);
        command.arg(name).env_pass_common();
        self.spawner.run(&command, deadline, cancel)?.check(&command)?;
        Ok(())
    }
}

/// The name that a guest's claims are under.
fn owner(domain: &Domain) -> String {
    format!("QEMU domain '{}'", domain.name)
}

/// The interface's device on the host.
fn device_name(interface: &Interface) -> Option<&str> {
    interface
        .target
        .as_ref()?
        .dev
        .as_deref()
        .filter(|name| !name.is_empty())
}

/// Alias of the interface that a descriptor is for.
fn device_of(usage: &DescriptorUse) -> Option<&str> {
    match usage {
        DescriptorUse::Tap { device, .. }
        | DescriptorUse::VhostNet { device, .. }
        | DescriptorUse::Vdpa { device, .. } => Some(device),
        _ => None,
    }
}

/// Whether a model understands packets with a header.
fn has_header(model: Option<&str>) -> bool {
    is_virtio(model) || matches!(model, Some("e1000e" | "igb" | "vmxnet3"))
}

/// Refuses what nobody here would carry out.
fn check(interface: &Interface) -> Result<()> {
    let link = &interface.link;
    let routes = |host: &IpConfig| !host.routes.is_empty();
    let what = match &interface.source {
        InterfaceSource::Direct { .. } => "interfaces on devices of the host (macvtap)",
        _ if link.virtual_port.is_some() => "ports of virtual switches",
        _ if link.vlan.is_some() => "VLAN tags on interfaces",
        _ if link.bandwidth.is_some() => "limits on the throughput of interfaces",
        _ if interface.filter.is_some() => "network filters on interfaces",
        _ if interface.coalesce_rx_frames != 0 => "coalescing settings of interfaces",
        InterfaceSource::Ethernet { host } if routes(host) => "routes to interfaces on the host",
        _ => return Ok(()),
    };
    Err(error(
        ErrorCode::CONFIG_UNSUPPORTED,
        format_args!("{what} are not supported yet"),
    ))
}

fn open(path: &str) -> std::io::Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map(OwnedFd::from)
}

fn open_vhost(interface: &Interface) -> Result<OwnedFd> {
    let path = interface
        .backend
        .as_ref()
        .and_then(|backend| backend.vhost.as_deref())
        .unwrap_or(VHOST_NET);
    open(path).map_err(|why| {
        error(
            ErrorCode::CONFIG_UNSUPPORTED,
            "driver name 'vhost' needs /dev/vhost-net, which cannot be opened",
        )
        .caused_by(format!("{path}: {why}"))
    })
}

/// Opens a tap that somebody else has made and keeps.
fn unmanaged(
    interface: &Interface,
    socket: &RouteSocket,
    device: &Path,
    shape: TapShape,
) -> Result<Vec<OwnedFd>> {
    let internal = |what: &str| error(ErrorCode::INTERNAL_ERROR, what);
    let name = device_name(interface)
        .ok_or_else(|| internal("<target managed='no'> does not say the device: dev='…' is missing"))?;
    let link = socket
        .link(name)?
        .ok_or_else(|| internal("the device of <target managed='no'> does not exist"))?;
    if link.kind.as_deref() == Some("macvtap") {
        let path = format!("/dev/tap{}", link.index);
        return (0..shape.queues)
            .map(|_| open(&path).or_system(|| format!("cannot open macvtap device '{path}'")))
            .collect();
    }
    tap::open(device, name, shape)
}

/// Address, size of packets, bridge, addresses on the host, and up.
fn set_up(interface: &Interface, socket: &RouteSocket, index: u32, name: &str) -> Result<()> {
    if let Some(guest) = interface.mac.address {
        // The guest's own address on both sides would look like a loop to the kernel; the highest one keeps bridges
        // from taking it for theirs.
        let mut mac = guest.0;
        mac[0] = if mac[0] == 0xfe { 0xfa } else { 0xfe };
        socket.change(index, name, LinkChange::Mac(mac))?;
    }
    if let InterfaceSource::Bridge { bridge, .. } = &interface.source {
        let found = socket.link(bridge)?.ok_or_else(|| {
            VirtError::system(
                nix::libc::ENODEV,
                format_args!("the host has no bridge '{bridge}'"),
            )
        })?;
        // A bridge takes the smallest size of its ports: ours must not be what makes it smaller.
        socket.change(index, name, LinkChange::Mtu(found.mtu))?;
        socket
            .change(index, name, LinkChange::Controller(found.index))
            .map_err(|why| {
                let errno = why.int1();
                VirtError::system(
                    errno,
                    format_args!("cannot make '{name}' a port of bridge '{bridge}'"),
                )
                .caused_by(why)
            })?;
        if interface.link.isolated == Some(true) {
            socket.change(index, name, LinkChange::Isolated(true))?;
        }
    }
    socket.change(index, name, LinkChange::Up(true))?;
    if let InterfaceSource::Ethernet { host } = &interface.source {
        for ip in &host.addresses {
            let whole = if ip.address.is_ipv6() { 64 } else { 24 };
            let prefix = match ip.prefix {
                0 => whole,
                prefix => u8::try_from(prefix).unwrap_or(u8::MAX),
            };
            socket.add_address(index, name, ip.address, prefix, ip.peer)?;
        }
    }
    if interface.mtu > 0 {
        socket.change(index, name, LinkChange::Mtu(interface.mtu))?;
    }
    Ok(())
}
