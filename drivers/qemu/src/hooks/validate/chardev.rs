//! What QEMU cannot do with character devices, and with what is reached through one.

use virt_conf::domain::chardev::{
    ChardevSource, Reconnect, Serial, SerialTargetModel as Model, SerialTargetType as Kind, Smartcard,
    SmartcardSource, TcpProtocol,
};
use virt_conf::domain::graphics::Graphics;
use virt_conf::domain::small::{Rng, RngModel, RngSource};
use virt_conf::domain::{Address, Domain};
use virt_util::{ErrorCode, Result, VirtError};

use super::{refuse_if, unsupported};
use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

/// Checks the host's side of a character device.
pub(super) fn source(domain: &Domain, source: &ChardevSource, guest: Guest<'_>) -> Result<()> {
    match source {
        ChardevSource::Tcp(tcp) => {
            refuse_if(
                !matches!(tcp.protocol, TcpProtocol::Raw | TcpProtocol::Telnet),
                format_args!("<protocol type='{}'>: expected 'raw' or 'telnet'", tcp.protocol),
            )?;
            again(tcp.reconnect.as_ref())
        }
        ChardevSource::Unix(unix) => again(unix.reconnect.as_ref()),
        ChardevSource::QemuVdagent { .. } => refuse_if(
            !guest.caps.has(Flag::ChardevQemuVdagent),
            "this QEMU binary has no character device of type 'qemu-vdagent'",
        ),
        ChardevSource::Spicevmc | ChardevSource::Spiceport { .. } => {
            let spice = |one: &Graphics| matches!(one, Graphics::Spice(_));
            refuse_if(
                !domain.devices.graphics.iter().any(spice),
                format_args!(
                    "a character device of type '{}' needs SPICE graphics, which the guest has not",
                    source.xml_tag()
                ),
            )
        }
        _ => Ok(()),
    }
}

fn again(reconnect: Option<&Reconnect>) -> Result<()> {
    let at_once =
        reconnect.is_some_and(|reconnect| reconnect.enabled == Some(true) && reconnect.timeout == Some(0));
    match at_once {
        true => Err(VirtError::new(
            ErrorCode::INVALID_ARG,
            "the timeout of a chardev's reconnect is '0': at least 1 second expected",
        )),
        false => Ok(()),
    }
}

/// Checks a serial port: its kind, what implements it and where it is plugged in belong together.
pub(super) fn serial(domain: &Domain, serial: &Serial, guest: Guest<'_>) -> Result<()> {
    source(domain, &serial.host.source, guest)?;
    let (kind, model) = (serial.target.kind, serial.target.model);
    let at = &serial.info.address;
    let fits = match kind {
        Kind::IsaSerial | Kind::IsaDebug => matches!(at, None | Some(Address::Isa(_))),
        Kind::UsbSerial => matches!(at, None | Some(Address::Usb(_))),
        Kind::PciSerial => matches!(at, None | Some(Address::Pci(_))),
        Kind::SpaprVioSerial => matches!(at, None | Some(Address::SpaprVio(_))),
        Kind::SystemSerial | Kind::SclpSerial => at.is_none(),
        Kind::None => true,
    };
    refuse_if(
        !fits,
        format_args!("a serial port of target type '{kind}' has an address of another bus, or has none"),
    )?;
    let of = match model {
        Model::IsaSerial => Kind::IsaSerial,
        Model::UsbSerial => Kind::UsbSerial,
        Model::PciSerial => Kind::PciSerial,
        Model::SpaprVty => Kind::SpaprVioSerial,
        Model::Pl011 | Model::Uart16550a => Kind::SystemSerial,
        Model::Sclpconsole | Model::Sclplmconsole => Kind::SclpSerial,
        Model::IsaDebugcon => Kind::IsaDebug,
        Model::None => kind,
    };
    refuse_if(
        of != kind,
        format_args!("serial target model '{model}' needs target type '{of}', not '{kind}'"),
    )?;
    let board = machine(domain, guest.arch);
    let there = match (kind, model) {
        (Kind::SystemSerial, Model::Pl011) => board.is_arm_virt(),
        (Kind::SystemSerial, Model::Uart16550a) => board.is_loongarch_virt() || board.is_riscv_virt(),
        (Kind::SpaprVioSerial, _) => board.is_pseries(),
        (Kind::SclpSerial, _) => guest.arch.is_s390(),
        _ => true,
    };
    refuse_if(
        !there,
        format_args!("target type '{kind}' with model '{model}' is not for this architecture and machine"),
    )
}

/// Checks a smart card: there is one, in the first slot of the first reader.
pub(super) fn smartcard(domain: &Domain, card: &Smartcard, guest: Guest<'_>) -> Result<()> {
    let first = matches!(&card.info.address, Some(Address::Ccid(at)) if at.controller == 0 && at.slot == 0);
    let count = domain.devices.smartcards.len();
    refuse_if(
        count > 1 || !first,
        format_args!("{count} smart cards: QEMU has one, in slot 0 of reader 0"),
    )?;
    match &card.source {
        SmartcardSource::Host | SmartcardSource::HostCertificates { .. } => refuse_if(
            !guest.caps.has(Flag::CcidEmulated),
            "this QEMU binary has no smart cards of mode 'host' or 'host-certificates'",
        ),
        SmartcardSource::Passthrough(host) => {
            refuse_if(
                !guest.caps.has(Flag::CcidPassthru),
                "this QEMU binary has no smart cards of mode 'passthrough'",
            )?;
            source(domain, &host.source, guest)
        }
    }
}

/// Checks a random number generator.
pub(super) fn rng(domain: &Domain, rng: &Rng, guest: Guest<'_>) -> Result<()> {
    let has = |flag| guest.caps.has(flag);
    let flag = match &rng.backend {
        RngSource::Random { .. } => Flag::ObjectRngRandom,
        RngSource::Egd(_) => Flag::ObjectRngEgd,
        RngSource::Builtin => Flag::ObjectRngBuiltin,
    };
    refuse_if(
        !has(flag),
        format_args!(
            "this QEMU binary has no random number generator of backend '{}'",
            rng.backend.xml_tag()
        ),
    )?;
    if let RngSource::Egd(host) = &rng.backend {
        source(domain, &host.source, guest)?;
    }
    let variant = rng.model != RngModel::Virtio;
    match has(Flag::DeviceVirtioRng) && (!variant || has(Flag::VirtioPciTransitional)) {
        true => Ok(()),
        false => Err(unsupported(format_args!(
            "this QEMU binary has no random number generator of model '{}'",
            rng.model
        ))),
    }
}

#[cfg(test)]
mod tests {
    use virt_util::ErrorCode;

    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, devices};

    fn judge(device: &str, flags: &[Flag]) -> Verdict {
        devices("pc-q35-10.0", device, flags)
    }

    #[test]
    fn the_hosts_side_is_something_that_qemu_opens() {
        let tcp = |protocol: &str, again: &str| {
            format!(
                "<serial type='tcp'><source mode='connect' host='a' service='1'>{again}</source>\
                 <protocol type='{protocol}'/></serial>"
            )
        };
        judge(&tcp("telnet", ""), &[]).fine();
        judge(&tcp("telnets", ""), &[]).refused("<protocol type='telnets'>");
        let again = "<reconnect enabled='yes' timeout='0'/>";
        judge(&tcp("raw", again), &[]).with(ErrorCode::INVALID_ARG, "at least 1 second");
        judge(&tcp("raw", "<reconnect enabled='yes' timeout='1'/>"), &[]).fine();
        let spice = "<channel type='spicevmc'><target type='virtio'/></channel>";
        judge(spice, &[]).refused("needs SPICE graphics");
        let agent = "<channel type='qemu-vdagent'><target type='virtio'/></channel>";
        judge(agent, &[]).refused("'qemu-vdagent'");
        judge(agent, &[Flag::ChardevQemuVdagent]).fine();
    }

    #[test]
    fn parts_of_a_serial_port_belong_together() {
        let port = |kind: &str, model: &str, address: &str| {
            format!(
                "<serial type='pty'><target type='{kind}'><model name='{model}'/></target>{address}</serial>"
            )
        };
        judge(&port("isa-serial", "isa-serial", ""), &[]).fine();
        judge(&port("isa-serial", "pci-serial", ""), &[]).refused("needs target type 'pci-serial'");
        let usb = "<address type='usb' bus='0' port='1'/>";
        judge(&port("isa-serial", "isa-serial", usb), &[]).refused("an address of another bus");
        judge(&port("usb-serial", "usb-serial", usb), &[]).fine();
        judge(&port("system-serial", "pl011", ""), &[]).refused("is not for this architecture");
        let arm = port("system-serial", "pl011", "");
        devices("virt", &arm, &[]).fine();
        devices("virt", &port("system-serial", "16550a", ""), &[]).refused("is not for this architecture");
        devices("s390-ccw-virtio", &port("sclp-serial", "sclpconsole", ""), &[]).fine();
        judge(&port("sclp-serial", "sclpconsole", ""), &[]).refused("is not for this architecture");
    }

    #[test]
    fn there_is_one_smart_card() {
        let card = "<smartcard mode='host'><address type='ccid' controller='0' slot='0'/></smartcard>";
        judge(card, &[]).refused("mode 'host'");
        judge(card, &[Flag::CcidEmulated]).fine();
        judge(&card.repeat(2), &[Flag::CcidEmulated]).refused("2 smart cards");
        let other = card.replace("slot='0'", "slot='1'");
        judge(&other, &[Flag::CcidEmulated]).refused("slot 0 of reader 0");
        let passed = "<smartcard mode='passthrough' type='spicevmc'>\
            <address type='ccid' controller='0' slot='0'/></smartcard>";
        judge(passed, &[]).refused("mode 'passthrough'");
        judge(passed, &[Flag::CcidPassthru]).refused("needs SPICE graphics");
    }

    #[test]
    fn random_numbers_come_from_what_the_binary_has() {
        let rng = |model: &str| {
            format!("<rng model='{model}'><backend model='random'>/dev/urandom</backend></rng>")
        };
        judge(&rng("virtio"), &[]).refused("backend 'random'");
        judge(&rng("virtio"), &[Flag::ObjectRngRandom]).refused("model 'virtio'");
        let both = [Flag::ObjectRngRandom, Flag::DeviceVirtioRng];
        judge(&rng("virtio"), &both).fine();
        judge(&rng("virtio-transitional"), &both).refused("model 'virtio-transitional'");
        judge(
            "<rng model='virtio'><backend model='builtin'/></rng>",
            &[Flag::DeviceVirtioRng],
        )
        .refused("backend 'builtin'");
    }
}
