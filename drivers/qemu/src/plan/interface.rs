//! Network interfaces.

use virt_conf::domain::chardev::Reconnect;
use virt_conf::domain::interface::{
    Interface, InterfaceBackendType, InterfaceDriver, InterfaceDriverName, InterfaceSource, InterfaceTxMode,
    IpConfig, TeamingType, VhostUserSource,
};
use virt_conf::domain::{Address, VirtType};
use virt_conf::network::port::Plug;
use virt_util::{Arch, ErrorCode, Result, VirtError};

use super::Builder;
use super::args::{DescriptorUse, Props};
use super::device::{VirtioVariant, alias};
use crate::capabilities::Flag;

/// Seconds after which a lost connection to passt is made again.
const PASST_RECONNECT: u32 = 5;

/// Whether a model is a variant of virtio.
pub fn is_virtio(model: Option<&str>) -> bool {
    matches!(
        model,
        Some("virtio" | "virtio-transitional" | "virtio-non-transitional")
    )
}

impl Builder<'_> {
    pub(super) fn interfaces(&mut self) -> Result<()> {
        for interface in &self.domain.devices.interfaces {
            // A network card of the host is told of with the host's other devices.
            let name = alias(&interface.info)?;
            if matches!(interface.source, InterfaceSource::Hostdev(_))
                || matches!(self.layout.plugs.get(name), Some(Plug::HostdevPci(_)))
            {
                continue;
            }
            self.interface(interface)?;
        }
        Ok(())
    }

    fn interface(&mut self, interface: &Interface) -> Result<()> {
        let name = alias(&interface.info)?;
        let host = self.host_side(interface, name)?.with("id", format!("host{name}"));
        self.netdev(&host)?;
        let old_board = matches!(self.arch, Arch::Armv6l | Arch::Armv7l | Arch::Aarch64)
            && !matches!(
                interface.info.address,
                Some(Address::VirtioMmio | Address::Pci(_))
            );
        self.zpci(&interface.info)?;
        if old_board {
            let mac = interface
                .mac
                .address
                .map(|mac| mac.to_string())
                .unwrap_or_default();
            let mut value = format!("nic,macaddr={mac},netdev=host{name}");
            if let Some(model) = &interface.model {
                value.push_str(&format!(",model={model}"));
            }
            value.push_str(&format!(",id={name}"));
            self.command.option("-net", value);
            return Ok(());
        }
        let props = self.guest_side(interface, name)?;
        self.device(props)
    }

    fn host_side(&mut self, interface: &Interface, name: &str) -> Result<Props> {
        let driver = interface.driver.clone().unwrap_or_default();
        let unsupported = |what: &str| VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what);
        Ok(match &interface.source {
            InterfaceSource::Ethernet { .. }
            | InterfaceSource::Bridge { .. }
            | InterfaceSource::Direct { .. } => {
                if interface.link.script.is_some()
                    && !matches!(interface.source, InterfaceSource::Ethernet { .. })
                {
                    return Err(unsupported(
                        "scripts are supported only for interfaces of type 'ethernet'",
                    ));
                }
                let bridged = matches!(interface.source, InterfaceSource::Bridge { .. });
                self.tap(interface, &driver, name, bridged)?
            }
            InterfaceSource::Network { network, .. } => {
                let layout = self.layout;
                if interface.link.script.is_some() {
                    return Err(unsupported(
                        "scripts are supported only for interfaces of type 'ethernet'",
                    ));
                }
                match layout.plugs.get(name) {
                    Some(Plug::Network(_) | Plug::Bridge(_)) => self.tap(interface, &driver, name, true)?,
                    Some(Plug::Direct(_)) => self.tap(interface, &driver, name, false)?,
                    Some(Plug::HostdevPci(_)) | None => {
                        return Err(unsupported(&format!(
                            "interfaces on the virtual network '{network}' are not supported yet"
                        )));
                    }
                }
            }
            InterfaceSource::User { .. } => match interface.backend.as_ref().map(|backend| backend.kind) {
                Some(InterfaceBackendType::Passt) => self.passt_network(name),
                _ => user_network(&interface.link.guest),
            },
            InterfaceSource::Internal { .. } => Props::new().with("type", "user"),
            InterfaceSource::Client { address, port } => Props::new()
                .with("type", "socket")
                .with("connect", format!("{address}:{port}")),
            InterfaceSource::Server { address, port } => Props::new().with("type", "socket").with(
                "listen",
                format!("{}:{port}", address.as_deref().unwrap_or_default()),
            ),
            InterfaceSource::Mcast { address, port } => Props::new()
                .with("type", "socket")
                .with("mcast", format!("{address}:{port}")),
            InterfaceSource::Udp {
                address,
                port,
                local_address,
                local_port,
            } => Props::new()
                .with("type", "socket")
                .with("udp", format!("{address}:{port}"))
                .with("localaddr", format!("{local_address}:{local_port}")),
            InterfaceSource::Vdpa { dev } => {
                let usage = DescriptorUse::Vdpa {
                    path: dev.clone(),
                    device: name.to_owned(),
                };
                let number = self.descriptor(usage);
                let set = self.fdset(number, &format!("{name}-vdpa"));
                let props = Props::new()
                    .with("type", "vhost-vdpa")
                    .with("vhostdev", format!("/dev/fdset/{set}"));
                if driver.queues > 1 {
                    props.with("queues", driver.queues)
                } else {
                    props
                }
            }
            InterfaceSource::Vhostuser(source) => {
                let passt = interface.backend.as_ref().map(|backend| backend.kind);
                if passt == Some(InterfaceBackendType::Passt) {
                    // What passt does is not for the definition to say.
                    let source = VhostUserSource {
                        path: Some(self.passt_socket(name)),
                        reconnect: Some(Reconnect {
                            enabled: Some(true),
                            timeout: Some(PASST_RECONNECT),
                        }),
                        ..VhostUserSource::default()
                    };
                    self.vhost_user_chardev(&source, name)?;
                } else {
                    self.vhost_user_chardev(source, name)?;
                }
                let props = Props::new()
                    .with("type", "vhost-user")
                    .with("chardev", format!("char{name}"));
                if driver.queues > 1 {
                    props.with("queues", driver.queues)
                } else {
                    props
                }
            }
            InterfaceSource::Hostdev(_) | InterfaceSource::Null | InterfaceSource::Vds { .. } => {
                return Err(unsupported("QEMU has no such kind of interface"));
            }
        })
    }

    fn passt_socket(&self, name: &str) -> String {
        format!(
            "{}/{}-{name}.socket",
            self.host.paths.passt, self.layout.short_name
        )
    }

    /// A user network that another program is.
    fn passt_network(&self, name: &str) -> Props {
        let address = Props::new()
            .with("type", "unix")
            .with("path", self.passt_socket(name));
        let props = Props::new()
            .with("type", "stream")
            .with("addr", address)
            .with("server", false);
        if !self.caps.has(Flag::NetdevStreamReconnect) {
            props
        } else if self.caps.has(Flag::NetdevStreamReconnectMiliseconds) {
            props.with("reconnect-ms", PASST_RECONNECT * 1000)
        } else {
            props.with("reconnect", PASST_RECONNECT)
        }
    }

    fn tap(
        &mut self,
        interface: &Interface,
        driver: &InterfaceDriver,
        name: &str,
        bridged: bool,
    ) -> Result<Props> {
        let queues = driver.queues.max(1);
        let mut taps = Vec::new();
        for queue in 0..queues {
            taps.push(self.descriptor(DescriptorUse::Tap {
                device: name.to_owned(),
                queue,
                bridged,
            }));
        }
        let vhost = self.uses_vhost(interface, driver)?;
        let mut vhosts = Vec::new();
        if vhost {
            for queue in 0..queues {
                vhosts.push(self.descriptor(DescriptorUse::VhostNet {
                    device: name.to_owned(),
                    queue,
                }));
            }
        }
        let list = |numbers: &[i32]| numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(":");
        let (fd, vhostfd) = if queues > 1 {
            ("fds", "vhostfds")
        } else {
            ("fd", "vhostfd")
        };
        Ok(Props::new()
            .with("type", "tap")
            .with(fd, list(&taps))
            .maybe("vhost", vhost.then_some(true))
            .maybe(vhostfd, vhost.then(|| list(&vhosts)))
            .maybe("sndbuf", interface.send_buffer))
    }

    /// Whether the kernel moves the packets.
    fn uses_vhost(&self, interface: &Interface, driver: &InterfaceDriver) -> Result<bool> {
        let virtio = is_virtio(interface.model.as_deref());
        if driver.name == Some(InterfaceDriverName::Qemu) || !virtio {
            return Ok(false);
        }
        // Guests without KVM do without, whatever they say.
        let wanted =
            driver.name == Some(InterfaceDriverName::Vhost) && self.domain.virt_type == VirtType::Kvm;
        if wanted && !self.host.vhost_net {
            return Err(VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                "driver name 'vhost' needs /dev/vhost-net, which cannot be opened",
            ));
        }
        Ok(self.host.vhost_net)
    }

    fn guest_side(&self, interface: &Interface, name: &str) -> Result<Props> {
        let model = interface.model.as_deref();
        let props = if is_virtio(model) {
            let driver = interface.driver.clone().unwrap_or_default();
            let transmit = driver.tx_mode.map(|mode| match mode {
                InterfaceTxMode::Iothread => "bh",
                InterfaceTxMode::Timer => "timer",
            });
            let many = driver.queues > 1;
            let vectors = if many && !matches!(interface.info.address, Some(Address::Ccw(_))) {
                u64::from(driver.queues) * 2 + 2
            } else {
                0
            };
            let team = interface
                .teaming
                .as_ref()
                .is_some_and(|team| team.kind == TeamingType::Persistent);
            let variant = VirtioVariant::of_word(model.unwrap_or_default());
            let (host, guest) = (&driver.host, &driver.guest);
            self.virtio("virtio-net", &interface.info, variant, Some(&driver.virtio))?
                .maybe("tx", transmit)
                .maybe("ioeventfd", driver.ioeventfd)
                .maybe("event_idx", driver.event_idx)
                .maybe("csum", host.csum)
                .maybe("gso", host.gso)
                .maybe("host_tso4", host.tso4)
                .maybe("host_tso6", host.tso6)
                .maybe("host_ecn", host.ecn)
                .maybe("host_ufo", host.ufo)
                .maybe("mrg_rxbuf", host.mrg_rxbuf)
                .maybe("guest_csum", guest.csum)
                .maybe("guest_tso4", guest.tso4)
                .maybe("guest_tso6", guest.tso6)
                .maybe("guest_ecn", guest.ecn)
                .maybe("guest_ufo", guest.ufo)
                .maybe("mq", many.then_some(true))
                .positive("vectors", vectors)
                .positive("rx_queue_size", driver.rx_queue_size)
                .positive("tx_queue_size", driver.tx_queue_size)
                .maybe("rss", driver.rss)
                .maybe("hash", driver.rss_hash_report)
                .positive("host_mtu", interface.mtu)
                .maybe("failover", team.then_some(true))
        } else {
            let model = model
                .ok_or_else(|| VirtError::internal(format_args!("the interface '{name}' has no model")))?;
            Props::device(model)
        };
        let mac = interface
            .mac
            .address
            .ok_or_else(|| VirtError::internal(format_args!("the interface '{name}' has no MAC address")))?;
        let load_parameter = interface
            .info
            .boot
            .as_ref()
            .and_then(|boot| boot.loadparm.clone())
            .filter(|_| self.caps.has(Flag::VirtioCcwDeviceLoadparm));
        Ok(props
            .with("netdev", format!("host{name}"))
            .with("id", name)
            .with("mac", mac.to_string())
            .positive("bootindex", self.boot_index(&interface.info))
            .maybe("loadparm", load_parameter)
            .and(self.address(&interface.info, None)?)
            .and(self.rom(&interface.info)?))
    }
}

fn user_network(guest: &IpConfig) -> Props {
    let mut props = Props::new().with("type", "user");
    for ip in &guest.addresses {
        props = match ip.address {
            std::net::IpAddr::V4(address) if ip.prefix != 0 => {
                props.with("net", format!("{address}/{}", ip.prefix))
            }
            std::net::IpAddr::V4(address) => props.with("net", address.to_string()),
            std::net::IpAddr::V6(address) => props
                .with("ipv6-prefix", address.to_string())
                .positive("ipv6-prefixlen", ip.prefix),
        };
    }
    props
}
