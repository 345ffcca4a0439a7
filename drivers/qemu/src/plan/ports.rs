//! Serial and parallel ports, channels, consoles, redirected USB devices.

use virt_conf::domain::Address;
use virt_conf::domain::DeviceInfo;
use virt_conf::domain::chardev::{
    ChannelTarget, ChardevHost, ChardevSource, ConsoleTargetType, Serial, SerialTargetModel,
    SerialTargetType, SpicevmcType,
};
use virt_conf::domain::graphics::Graphics;
use virt_util::{Arch, ErrorCode, Result, VirtError};

use super::Builder;
use super::args::Props;
use super::device::alias;
use crate::capabilities::Flag;

/// The name that SPICE clients look for.
const SPICE_AGENT: &str = "com.redhat.spice.0";

/// The flag without which QEMU has no such port.
fn serial_flag(model: SerialTargetModel) -> Option<Flag> {
    use SerialTargetModel as M;
    match model {
        M::IsaSerial => Some(Flag::DeviceIsaSerial),
        M::UsbSerial => Some(Flag::DeviceUsbSerial),
        M::PciSerial => Some(Flag::DevicePciSerial),
        M::SpaprVty => Some(Flag::DeviceSpaprVty),
        M::Pl011 => Some(Flag::DevicePl011),
        M::Sclpconsole => Some(Flag::DeviceSclpconsole),
        M::Sclplmconsole => Some(Flag::DeviceSclplmconsole),

        M::Uart16550a | M::IsaDebugcon | M::None => None,
    }
}

impl Builder<'_> {
    pub(super) fn serials(&mut self) -> Result<()> {
        let spice = self
            .domain
            .devices
            .graphics
            .iter()
            .any(|one| matches!(one, Graphics::Spice(_)));
        for serial in &self.domain.devices.serials {
            if matches!(serial.host.source, ChardevSource::Spiceport { .. }) && !spice {
                continue;
            }
            let name = alias(&serial.info)?;
            self.chardev(&serial.host, name)?;
            if serial_flag(serial.target.model).is_some_and(|flag| !self.caps.has(flag)) {
                let what = format!(
                    "this emulator has no serial port of target model '{}'",
                    serial.target.model
                );
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
            if self.is_platform_device(serial) {
                self.command.option("-serial", format!("chardev:char{name}"));
                continue;
            }
            let mut props = Props::device(serial.target.model.as_str())
                .with("chardev", format!("char{name}"))
                .with("id", name);
            if serial.target.model == SerialTargetModel::IsaSerial {
                props = props.maybe("index", serial.target.port);
            }
            let props = props.and(self.address(&serial.info, None)?);
            self.device(props)?;
        }
        Ok(())
    }

    /// Whether a port belongs to the board and is not a device of its own.
    fn is_platform_device(&self, serial: &Serial) -> bool {
        let target = &serial.target;
        let system = target.kind == SerialTargetType::SystemSerial;
        match self.arch {
            Arch::Armv6l | Arch::Armv7l | Arch::Aarch64
                if system && target.model == SerialTargetModel::Pl011 =>
            {
                true
            }
            arch if (arch.is_riscv() || arch.is_loongarch())
                && system
                && target.model == SerialTargetModel::Uart16550a =>
            {
                true
            }
            _ => target.kind == SerialTargetType::None,
        }
    }

    pub(super) fn parallels(&mut self) -> Result<()> {
        for parallel in &self.domain.devices.parallels {
            let name = alias(&parallel.info)?;
            self.chardev(&parallel.host, name)?;
            let props = Props::device("isa-parallel")
                .with("chardev", format!("char{name}"))
                .with("id", name);
            self.device(props)?;
        }
        Ok(())
    }

    pub(super) fn channels(&mut self) -> Result<()> {
        for channel in &self.domain.devices.channels {
            let name = alias(&channel.info)?;
            self.chardev(&channel.host, name)?;
            match &channel.target {
                ChannelTarget::Guestfwd { address, port } => {
                    let forward = format!("tcp:{address}:{port}-chardev:char{name}");
                    let props = Props::new()
                        .with("type", "user")
                        .with("guestfwd", serde_json::json!([{"str": forward}]))
                        .with("id", name);
                    self.netdev(&props)?;
                }
                ChannelTarget::Virtio { name: target, .. } => {
                    let spice = matches!(channel.host.source, ChardevSource::Spicevmc);
                    if spice && target.as_deref().is_some_and(|target| target != SPICE_AGENT) {
                        let what = format!(
                            "a channel of type 'spicevmc' is named '{SPICE_AGENT}', not '{}'",
                            target.as_deref().unwrap_or_default()
                        );
                        return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                    }
                    let target = target.as_deref().or(spice.then_some(SPICE_AGENT));
                    let props = self
                        .virtio_port("virtserialport", &channel.info, name)?
                        .maybe("name", target);
                    self.device(props)?;
                }
                ChannelTarget::Xen { .. } => {
                    let what = "QEMU has no Xen channels";
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                }
            }
        }
        Ok(())
    }

    pub(super) fn consoles(&mut self) -> Result<()> {
        for console in &self.domain.devices.consoles {
            let driver = match console.target_type {
                // The first serial port, said twice.
                ConsoleTargetType::Serial => continue,
                ConsoleTargetType::Sclp => "sclpconsole",
                ConsoleTargetType::Sclplm => "sclplmconsole",
                ConsoleTargetType::Virtio => "virtconsole",
                other => {
                    let what = format!("this emulator has no console of target type '{other}'");
                    return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
                }
            };
            let name = alias(&console.info)?;
            self.chardev(&console.host, name)?;
            let props = if console.target_type == ConsoleTargetType::Virtio {
                self.virtio_port(driver, &console.info, name)?
            } else {
                Props::device(driver)
                    .with("chardev", format!("char{name}"))
                    .with("id", name)
            };
            self.device(props)?;
        }
        Ok(())
    }

    fn virtio_port(&self, driver: &str, info: &DeviceInfo, name: &str) -> Result<Props> {
        if !matches!(
            info.address,
            None | Some(Address::Ccw(_) | Address::VirtioSerial(_))
        ) {
            return Err(VirtError::internal(format_args!(
                "the virtio serial device '{name}' has an invalid address type"
            )));
        }
        Ok(Props::device(driver)
            .and(self.address(info, None)?)
            .with("chardev", format!("char{name}"))
            .with("id", name))
    }

    pub(super) fn redirected(&mut self) -> Result<()> {
        let filter = self.domain.devices.redirfilter.as_ref().map(|filter| {
            let field = |value: Option<u32>, width: usize| match value {
                Some(value) if value != u32::MAX => format!("0x{value:0width$X}"),
                _ => "-1".to_owned(),
            };
            let rules: Vec<String> = filter
                .rules
                .iter()
                .map(|rule| {
                    format!(
                        "{}:{}:{}:{}:{}",
                        field(rule.class, 2),
                        field(rule.vendor, 4),
                        field(rule.product, 4),
                        field(rule.version, 4),
                        u8::from(rule.allow)
                    )
                })
                .collect();
            rules.join("|")
        });
        for device in &self.domain.devices.redirdevs {
            let name = alias(&device.info)?;
            self.chardev_of_redirected(&device.host, name)?;
            let boot = device.info.boot.as_ref().map_or(0, |boot| boot.order);
            let props = Props::device("usb-redir")
                .with("chardev", format!("char{name}"))
                .with("id", name)
                .maybe("filter", filter.clone())
                .positive("bootindex", boot)
                .and(self.address(&device.info, None)?);
            self.device(props)?;
        }
        Ok(())
    }

    fn chardev_of_redirected(&mut self, host: &ChardevHost, name: &str) -> Result<()> {
        self.chardev_named(host, name, &format!("char{name}"), SpicevmcType::Usbredir)
    }
}
