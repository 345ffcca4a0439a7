//! What QEMU cannot do with the smaller devices.

use virt_conf::domain::input::{Hub, HubType, Input, InputBus, InputModel, InputType};
use virt_conf::domain::small::{
    Crypto, CryptoBackend, CryptoModel, Memballoon, MemballoonModel, Nvram, Panic, PanicModel, Pstore,
    PstoreBackend, Shmem, ShmemModel,
};
use virt_conf::domain::sound::{Sound, SoundCodecType, SoundModel};
use virt_conf::domain::{Address, Domain};
use virt_util::{ErrorCode, Result, VirtError};

use super::{refuse_if, unsupported, xml_error};
use crate::capabilities::Flag;
use crate::hooks::{Guest, machine};

/// Checks an input device.
pub(super) fn input(domain: &Domain, input: &Input, guest: Guest<'_>) -> Result<()> {
    let has = |flag| guest.caps.has(flag);
    let kind = machine(domain, guest.arch);
    let pc = kind.is_i440fx() || kind.is_q35() || kind.is_xenfv() || kind.is_isapc();
    refuse_if(
        input.bus == Some(InputBus::Ps2) && !(pc && has(Flag::DeviceI8042)),
        "this QEMU binary has no bus 'ps2' for input devices of this machine",
    )?;
    refuse_if(
        input.bus == Some(InputBus::Usb) && input.kind == InputType::Keyboard && !has(Flag::DeviceUsbKbd),
        "this QEMU binary has no keyboard for bus 'usb'",
    )?;
    if input.bus != Some(InputBus::Virtio) {
        return Ok(());
    }
    let variant = matches!(
        input.model,
        Some(InputModel::VirtioTransitional | InputModel::VirtioNonTransitional)
    );
    refuse_if(
        variant,
        format_args!(
            "model 'virtio-(non-)transitional' is for type 'passthrough', not '{}'",
            input.kind
        ),
    )?;
    let channel = matches!(input.info.address, Some(Address::Ccw(_)));
    let (flag, on_channel) = match input.kind {
        InputType::Mouse => (Flag::VirtioMouse, Some(Flag::DeviceVirtioMouseCcw)),
        InputType::Tablet => (Flag::VirtioTablet, Some(Flag::DeviceVirtioTabletCcw)),
        InputType::Keyboard => (Flag::VirtioKeyboard, Some(Flag::DeviceVirtioKeyboardCcw)),
        InputType::Passthrough => (Flag::VirtioInputHost, None),
        InputType::Evdev => (Flag::InputLinux, None),
    };
    refuse_if(
        !has(flag) || (channel && !on_channel.is_some_and(has)),
        format_args!(
            "this QEMU binary has no input device of type '{}' for bus 'virtio'",
            input.kind
        ),
    )
}

/// Checks the memory balloon.
pub(super) fn memballoon(balloon: &Memballoon, guest: Guest<'_>) -> Result<()> {
    use MemballoonModel as M;
    match balloon.model {
        M::None => return Ok(()),
        M::Xen => {
            return Err(unsupported(
                "a memory balloon of model 'xen' is Xen's: 'virtio' or 'none' expected",
            ));
        }
        M::Virtio | M::VirtioTransitional | M::VirtioNonTransitional => {}
    }
    for (said, flag, name) in [
        (
            balloon.autodeflate.is_some(),
            Flag::VirtioBalloonAutodeflate,
            "autodeflate",
        ),
        (
            balloon.free_page_reporting.is_some(),
            Flag::VirtioBalloonFreePageReporting,
            "freePageReporting",
        ),
    ] {
        refuse_if(
            said && !guest.caps.has(flag),
            format_args!("this QEMU binary does not know '{name}' of a memory balloon"),
        )?;
    }
    Ok(())
}

/// Checks the memory of a pSeries guest's firmware.
pub(super) fn nvram(domain: &Domain, nvram: &Nvram, guest: Guest<'_>) -> Result<()> {
    refuse_if(
        !machine(domain, guest.arch).is_pseries(),
        "an nvram device is for machines of pSeries only",
    )?;
    refuse_if(
        !guest.caps.has(Flag::DeviceNvram),
        "this QEMU binary has no nvram device",
    )?;
    match &nvram.info.address {
        Some(Address::SpaprVio(at)) if at.reg.is_some() => Ok(()),
        _ => Err(xml_error(
            "an nvram device has an address of type 'spapr-vio' with a register",
        )),
    }
}

/// Checks a hub.
pub(super) fn hub(hub: &Hub, guest: Guest<'_>) -> Result<()> {
    match hub.kind {
        HubType::Usb => refuse_if(
            !guest.caps.has(Flag::UsbHub),
            "this QEMU binary has no hub of type 'usb'",
        ),
    }
}

/// Checks a sound card.
pub(super) fn sound(sound: &Sound, guest: Guest<'_>) -> Result<()> {
    use SoundModel as M;
    let model = sound.model;
    let flag = match model {
        M::Usb => Some(Flag::ObjectUsbAudio),
        M::Ich9 => Some(Flag::DeviceIch9IntelHda),
        M::Virtio => Some(Flag::DeviceVirtioSound),
        M::Es1370 | M::Ac97 | M::Ich6 | M::Sb16 | M::Pcspk => None,
        M::Ich7 => {
            return Err(VirtError::new(
                ErrorCode::INTERNAL_ERROR,
                "a sound card of model 'ich7' is none of QEMU's: 'ich6' or 'ich9' expected",
            ));
        }
    };
    refuse_if(
        flag.is_some_and(|flag| !guest.caps.has(flag)),
        format_args!("this QEMU binary has no sound card of model '{model}'"),
    )?;
    if !matches!(model, M::Ich6 | M::Ich9) {
        return Ok(());
    }
    for codec in &sound.codecs {
        let flag = match codec.kind {
            SoundCodecType::Duplex => Flag::HdaDuplex,
            SoundCodecType::Micro => Flag::HdaMicro,
            SoundCodecType::Output => Flag::HdaOutput,
        };
        refuse_if(
            !guest.caps.has(flag),
            format_args!("this QEMU binary has no codec of type '{}'", codec.kind),
        )?;
    }
    Ok(())
}

/// Checks shared memory.
pub(super) fn shmem(shmem: &Shmem, guest: Guest<'_>) -> Result<()> {
    let size = shmem.size.unwrap_or(0);
    if size != 0 && !size.is_power_of_two() {
        return Err(xml_error(format_args!(
            "shmem '{}' of {size} MiB: a power of 2 of at least 1 MiB expected",
            shmem.name
        )));
    }
    let model = shmem.model;
    let there = match model {
        ShmemModel::Ivshmem => {
            return Err(unsupported(format_args!(
                "shmem '{}' of model 'ivshmem': 'ivshmem-plain' or 'ivshmem-doorbell' expected, QEMU has no other any more",
                shmem.name
            )));
        }
        ShmemModel::IvshmemPlain => Flag::DeviceIvshmemPlain,
        ShmemModel::IvshmemDoorbell => Flag::DeviceIvshmemDoorbell,
    };
    refuse_if(
        !guest.caps.has(there),
        format_args!("this QEMU binary has no shared memory of model '{model}'"),
    )
}

/// Checks a crypto device.
pub(super) fn crypto(crypto: &Crypto, guest: Guest<'_>) -> Result<()> {
    let CryptoModel::Virtio = crypto.model;
    refuse_if(
        !guest.caps.has(Flag::DeviceVirtioCrypto),
        format_args!(
            "this QEMU binary has no crypto device of model '{}'",
            crypto.model
        ),
    )?;
    let backend = crypto.backend.model;
    refuse_if(
        backend == CryptoBackend::Lkcf && !guest.caps.has(Flag::ObjectCryptoLkcf),
        format_args!("this QEMU binary has no crypto backend '{backend}'"),
    )
}

/// Checks persistent storage for the kernel.
pub(super) fn pstore(pstore: &Pstore, guest: Guest<'_>) -> Result<()> {
    let PstoreBackend::AcpiErst = pstore.backend;
    refuse_if(
        !guest.caps.has(Flag::DeviceAcpiErst),
        format_args!("this QEMU binary has no pstore of backend '{}'", pstore.backend),
    )?;
    refuse_if(
        !matches!(pstore.info.address, None | Some(Address::Pci(_))),
        "a pstore of backend 'acpi-erst' has a PCI address",
    )
}

/// Checks sockets between host and guest.
pub(super) fn vsock(guest: Guest<'_>) -> Result<()> {
    refuse_if(
        !guest.caps.has(Flag::DeviceVhostVsock),
        "this QEMU binary has no vsock device",
    )
}

/// Checks what the guest tells of its panics with.
pub(super) fn panic(domain: &Domain, panic: &Panic, guest: Guest<'_>) -> Result<()> {
    use PanicModel as M;
    let Some(model) = panic.model else {
        return Err(unsupported("a panic device needs a model on this machine"));
    };
    let (fits, guests) = match model {
        M::S390 => (guest.arch.is_s390(), "of s390"),
        M::Hyperv => (guest.arch.is_x86(), "of x86"),
        M::Pseries => (machine(domain, guest.arch).is_pseries(), "of pSeries"),
        M::Isa => (guest.caps.has(Flag::DevicePanic), "of a QEMU binary that has it"),
        M::Pvpanic => (
            guest.caps.has(Flag::DevicePanicPci),
            "of a QEMU binary that has it",
        ),
    };
    refuse_if(
        !fits,
        format_args!("a panic device of model '{model}' is for guests {guests} only"),
    )?;
    let wrong = match (model, &panic.info.address) {
        (_, None) | (M::Pvpanic, Some(Address::Pci(_))) | (M::Isa, Some(Address::Isa(_))) => return Ok(()),
        (M::Pvpanic, _) => "model 'pvpanic' takes an address of type 'pci'".to_owned(),
        (M::Isa, _) => "model 'isa' takes an address of type 'isa'".to_owned(),
        (model, _) => format!("model '{model}' takes no <address>"),
    };
    Err(unsupported(wrong))
}

#[cfg(test)]
mod tests {
    use virt_util::ErrorCode;

    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, ask, devices};

    fn judge(device: &str, flags: &[Flag]) -> Verdict {
        devices("pc-q35-10.0", device, flags)
    }

    #[test]
    fn input_devices_are_what_the_machine_has() {
        let ps2 = "<input type='mouse' bus='ps2'/>";
        judge(ps2, &[]).refused("no bus 'ps2'");
        judge(ps2, &[Flag::DeviceI8042]).fine();
        devices("virt", ps2, &[Flag::DeviceI8042]).refused("no bus 'ps2'");
        judge("<input type='keyboard' bus='usb'/>", &[]).refused("no keyboard");
        judge("<input type='tablet' bus='usb'/>", &[]).fine();
        judge("<input type='tablet' bus='virtio'/>", &[]).refused("type 'tablet'");
        judge("<input type='tablet' bus='virtio'/>", &[Flag::VirtioTablet]).fine();
        let variant = "<input type='tablet' bus='virtio' model='virtio-transitional'/>";
        judge(variant, &[Flag::VirtioTablet]).refused("(non-)transitional");
    }

    #[test]
    fn balloons_and_hubs_and_sockets_are_what_the_binary_has() {
        judge("<memballoon model='none'/>", &[]).fine();
        judge("<memballoon model='xen'/>", &[]).refused("is Xen's");
        judge("<memballoon model='virtio' autodeflate='on'/>", &[]).refused("'autodeflate'");
        judge("<memballoon model='virtio' freePageReporting='off'/>", &[]).refused("'freePageReporting'");
        judge("<hub type='usb'/>", &[]).refused("type 'usb'");
        judge("<hub type='usb'/>", &[Flag::UsbHub]).fine();
        judge("<vsock model='virtio'><cid auto='yes'/></vsock>", &[]).refused("no vsock");
        let nvram = "<nvram><address type='spapr-vio' reg='0x4000'/></nvram>";
        judge(nvram, &[Flag::DeviceNvram]).refused("pSeries only");
        devices("pseries", nvram, &[]).refused("no nvram");
        devices("pseries", nvram, &[Flag::DeviceNvram]).fine();
        devices("pseries", "<nvram/>", &[Flag::DeviceNvram]).with(ErrorCode::XML_ERROR, "'spapr-vio'");
    }

    #[test]
    fn sound_cards_are_what_the_binary_has() {
        judge("<sound model='ich7'/>", &[]).with(ErrorCode::INTERNAL_ERROR, "'ich7'");
        judge("<sound model='ac97'/>", &[]).fine();
        judge("<sound model='ich9'/>", &[]).refused("model 'ich9'");
        let codec = "<sound model='ich9'><codec type='micro'/></sound>";
        judge(codec, &[Flag::DeviceIch9IntelHda]).refused("codec of type 'micro'");
        judge(codec, &[Flag::DeviceIch9IntelHda, Flag::HdaMicro]).fine();
        // Other cards have no codecs, whatever is said.
        judge("<sound model='ac97'><codec type='micro'/></sound>", &[]).fine();
    }

    #[test]
    fn shared_memory_crypto_and_stores_are_what_the_binary_has() {
        let shmem = |model: &str, size: u32| {
            format!("<shmem name='a'><model type='{model}'/><size unit='M'>{size}</size></shmem>")
        };
        judge(&shmem("ivshmem", 4), &[]).refused("'ivshmem-plain' or");
        judge(&shmem("ivshmem-plain", 4), &[]).refused("'ivshmem-plain'");
        judge(&shmem("ivshmem-plain", 4), &[Flag::DeviceIvshmemPlain]).fine();
        judge(&shmem("ivshmem-plain", 3), &[Flag::DeviceIvshmemPlain])
            .with(ErrorCode::XML_ERROR, "power of 2");
        let crypto = "<crypto model='virtio' type='qemu'><backend model='lkcf'/></crypto>";
        judge(crypto, &[]).refused("model 'virtio'");
        judge(crypto, &[Flag::DeviceVirtioCrypto]).refused("backend 'lkcf'");
        judge(crypto, &[Flag::DeviceVirtioCrypto, Flag::ObjectCryptoLkcf]).fine();
        let pstore = "<pstore backend='acpi-erst'><path>/a</path><size>8</size></pstore>";
        judge(pstore, &[]).refused("'acpi-erst'");
        judge(pstore, &[Flag::DeviceAcpiErst]).fine();
    }

    /// The guest as a whole is asked.
    fn on(machine: &str, device: &str, flags: &[Flag]) -> Verdict {
        ask(
            machine,
            &format!("<devices>{device}</devices>"),
            flags,
            |domain, guest| {
                let mut panics = domain.devices.panics.iter();
                panics.try_for_each(|panic| super::panic(domain, panic, guest))
            },
        )
    }

    #[test]
    fn panics_are_told_as_the_machine_can() {
        let judge = |device: &str, flags: &[Flag]| on("pc-q35-10.0", device, flags);
        judge("<panic model='hyperv'/>", &[]).fine();
        judge("<panic model='s390'/>", &[]).refused("of s390 only");
        judge("<panic model='pseries'/>", &[]).refused("of pSeries only");
        judge("<panic model='isa'/>", &[]).refused("that has it");
        judge("<panic model='isa'/>", &[Flag::DevicePanic]).fine();
        judge("<panic/>", &[]).refused("a panic device needs a model");
        on("virt", "<panic model='hyperv'/>", &[]).refused("of x86 only");
    }
}
