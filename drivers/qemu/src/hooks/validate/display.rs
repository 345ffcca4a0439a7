//! What QEMU cannot show or play: graphics cards, displays, sound.

use virt_conf::domain::Domain;
use virt_conf::domain::graphics::Graphics;
use virt_conf::domain::memory::MemorySource;
use virt_conf::domain::small::{Tpm, TpmBackend, TpmModel, TpmVersion};
use virt_conf::domain::sound::{Audio, AudioBackend};
use virt_conf::domain::video::{Video, VideoBackend, VideoModelType};
use virt_util::{ErrorCode, Result, VirtError};

use super::{lacks, refuse_if, xml_error};
use crate::capabilities::Flag;
use crate::hooks::Guest;

/// KiB that a card of QXL can have at most, since QEMU counts bytes in 32 bits.
const MOST_VIDEO_MEMORY: u32 = u32::MAX / 1024;
/// KiB that a card has at least.
const LEAST_VIDEO_MEMORY: u32 = 1024;
/// Characters of a VNC password that count.
const VNC_PASSWORD: usize = 8;

pub(super) fn video(domain: &Domain, video: &Video, guest: Guest<'_>) -> Result<()> {
    use VideoModelType as M;
    let (model, caps) = (&video.model, guest.caps);
    let kind = model.kind;
    let known = match kind {
        M::None => return Ok(()),
        M::Vga => caps.has(Flag::DeviceVga),
        M::Cirrus => caps.has(Flag::DeviceCirrusVga),
        M::Vmvga => caps.has(Flag::DeviceVmwareSvga),
        M::Qxl => caps.has(Flag::DeviceQxl),
        M::Virtio => caps.has(Flag::DeviceVirtioGpu),
        M::Bochs => caps.has(Flag::DeviceBochsDisplay),
        M::Ramfb => caps.has(Flag::DeviceRamfb),
        _ => false,
    };
    refuse_if(!known, format_args!("this emulator has no video model '{kind}'"))?;
    if !matches!(kind, M::Qxl | M::Virtio) {
        refuse_if(
            !model.primary,
            format_args!("model '{kind}' shows the first screen only: say primary='yes'"),
        )?;
        refuse_if(
            model.heads != 1,
            format_args!("model '{kind}' takes heads='1', not '{}'", model.heads),
        )?;
    }
    let acceleration = model.acceleration.as_ref();
    refuse_if(
        acceleration.and_then(|acceleration| acceleration.accel2d) == Some(true),
        "QEMU accelerates nothing in two dimensions: remove accel2d='yes'",
    )?;
    if kind == M::Qxl {
        for (name, value) in [("vram", model.vram), ("ram", model.ram)] {
            if value > MOST_VIDEO_MEMORY {
                let what = format!("'{name}' is {value} KiB: {MOST_VIDEO_MEMORY} is the most");
                return Err(VirtError::new(ErrorCode::OVERFLOW, what));
            }
        }
        refuse_if(
            model.vgamem != 0 && (model.vgamem < LEAST_VIDEO_MEMORY || !model.vgamem.is_power_of_two()),
            "value for 'vgamem' must be a power of two and at least 1 MiB (1024 KiB)",
        )?;
    }
    if model.resolution.is_some() && !matches!(kind, M::Vga | M::Qxl | M::Virtio | M::Bochs) {
        return Err(xml_error(format_args!(
            "<resolution> is for models 'vga', 'qxl', 'virtio' and 'bochs', not '{kind}'"
        )));
    }
    refuse_if(
        matches!(kind, M::Vga | M::Vmvga) && (1..LEAST_VIDEO_MEMORY).contains(&model.vram),
        format_args!("'vram' is {} KiB: 1024 KiB is the least", model.vram),
    )?;
    if video.backend == Some(VideoBackend::Vhostuser) {
        refuse_if(
            kind == M::Virtio && !caps.has(Flag::DeviceVhostUserGpu),
            lacks("backend 'vhostuser' of <video>"),
        )?;
    } else if acceleration.and_then(|acceleration| acceleration.accel3d) == Some(true) {
        refuse_if(
            kind != M::Virtio,
            format_args!("accel3d='yes' is for model 'virtio', not '{kind}'"),
        )?;
        let drawn = [Flag::VirtioGpuVirgl, Flag::VirtioGpuGlPci, Flag::VirtioVgaGl];
        refuse_if(
            !drawn.into_iter().any(|flag| caps.has(flag)),
            lacks("accel3d='yes'"),
        )?;
    }
    if kind == M::Virtio && model.blob.is_some() {
        refuse_if(!caps.has(Flag::VirtioGpuBlob), lacks("blob='…'"))?;
        let source = domain.memory_backing.as_ref().and_then(|backing| backing.source);
        refuse_if(
            model.blob == Some(true) && source != Some(MemorySource::Memfd),
            "blob='on' needs <memoryBacking><source type='memfd'/>",
        )?;
    }
    Ok(())
}

pub(super) fn graphics(domain: &Domain, graphics: &Graphics, guest: Guest<'_>) -> Result<()> {
    let caps = guest.caps;
    let kind = graphics.graphics_type();
    let known = match graphics {
        Graphics::Sdl(_) => caps.has(Flag::Sdl),
        Graphics::Vnc(_) => caps.has(Flag::Vnc),
        Graphics::Spice(_) => caps.has(Flag::Spice),
        Graphics::EglHeadless { .. } => caps.has(Flag::EglHeadless),
        Graphics::Dbus(_) => caps.has(Flag::DisplayDbus),
        Graphics::Rdp(_) => caps.has(Flag::DisplayDbus) && guest.host.has_rdp_server(),
        Graphics::Desktop { .. } => false,
    };
    refuse_if(
        !known,
        format_args!("this emulator has no graphics of type '{kind}'"),
    )?;
    let headless = domain
        .devices
        .graphics
        .iter()
        .any(|one| matches!(one, Graphics::EglHeadless { .. }));
    refuse_if(
        headless
            && !matches!(
                graphics,
                Graphics::EglHeadless { .. } | Graphics::Vnc(_) | Graphics::Spice(_)
            ),
        format_args!(
            "graphics of type 'egl-headless' draw for type 'vnc' or 'spice', and type '{kind}' may not be beside them"
        ),
    )?;
    match graphics {
        Graphics::Spice(spice) => refuse_if(
            headless && spice.options.gl == Some(true),
            "<gl enable='yes'> and graphics of type 'egl-headless' exclude each other",
        ),
        Graphics::EglHeadless { render_node } => refuse_if(
            render_node.is_some() && !caps.has(Flag::EglHeadlessRendernode),
            lacks("rendernode='…' for type 'egl-headless'"),
        ),
        Graphics::Vnc(vnc) => {
            refuse_if(
                vnc.power_control.is_some() && !caps.has(Flag::VncPowerControl),
                lacks("powerControl='…'"),
            )?;
            let length = vnc.auth.password.as_deref().map_or(0, str::len);
            refuse_if(
                length > VNC_PASSWORD,
                format_args!("the password of VNC has {length} characters: {VNC_PASSWORD} at most"),
            )
        }
        _ => Ok(()),
    }
}

pub(super) fn audio(domain: &Domain, audio: &Audio, guest: Guest<'_>) -> Result<()> {
    let shown = |kind: fn(&Graphics) -> bool| domain.devices.graphics.iter().any(kind);
    match &audio.backend {
        AudioBackend::Spice { .. } => refuse_if(
            !shown(|one| matches!(one, Graphics::Spice(_))),
            "audio of type 'spice' needs graphics of type 'spice'",
        ),
        AudioBackend::Dbus { .. } => {
            refuse_if(!guest.caps.has(Flag::DisplayDbus), lacks("audio of type 'dbus'"))
        }
        _ => Ok(()),
    }
}

pub(super) fn tpm(tpm: &Tpm, guest: Guest<'_>) -> Result<()> {
    let caps = guest.caps;
    let (kind, known) = match &tpm.backend {
        TpmBackend::Passthrough { .. } => ("passthrough", caps.has(Flag::DeviceTpmPassthrough)),
        TpmBackend::Emulator(_) => ("emulator", caps.has(Flag::DeviceTpmEmulator)),
        TpmBackend::External { .. } => ("external", caps.has(Flag::DeviceTpmEmulator)),
    };
    refuse_if(
        !known,
        format_args!("this QEMU does not support TPM backend type {kind}"),
    )?;
    let Some(model) = tpm.model else { return Ok(()) };
    if let TpmBackend::Emulator(emulator) = &tpm.backend
        && emulator.version == Some(TpmVersion::V1_2)
    {
        refuse_if(
            model != TpmModel::TpmTis,
            format_args!("version 1.2 is for model 'tpm-tis', not '{model}'"),
        )?;
        refuse_if(
            !guest.arch.is_x86(),
            format_args!("version 1.2 is for x86 guests, not '{}'", guest.arch),
        )?;
    }
    refuse_if(
        guest.arch.is_ppc64() && model == TpmModel::SpaprTpmProxy && kind != "passthrough",
        format_args!("model '{model}' needs backend 'passthrough', not '{kind}'"),
    )?;
    let flag = match model {
        TpmModel::TpmTis => Flag::DeviceTpmTis,
        TpmModel::TpmCrb => Flag::DeviceTpmCrb,
        TpmModel::TpmSpapr => Flag::DeviceTpmSpapr,
        TpmModel::SpaprTpmProxy => Flag::DeviceSpaprTpmProxy,
    };
    refuse_if(
        !caps.has(flag),
        format_args!("this QEMU does not support TPM device model {model}"),
    )
}

#[cfg(test)]
mod tests {
    use virt_conf::domain::normalize::DeviceRef;
    use virt_conf::domain::small::TpmVersion;
    use virt_util::ErrorCode;

    use crate::capabilities::Flag;
    use crate::hooks::validate::tests::{Verdict, ask, devices};

    fn judge(device: &str, flags: &[Flag]) -> Verdict {
        devices("pc-q35-10.0", device, flags)
    }

    fn card(model: &str, inside: &str, flags: &[Flag]) -> Verdict {
        judge(&format!("<video><model {model}>{inside}</model></video>"), flags)
    }

    #[test]
    fn cards_are_what_the_binary_has() {
        card("type='none'", "", &[]).fine();
        card("type='vga' primary='yes' heads='1'", "", &[]).refused("video model 'vga'");
        let vga = [Flag::DeviceVga];
        card("type='vga' primary='yes' heads='1'", "", &vga).fine();
        card("type='vga' primary='yes' heads='2'", "", &vga).refused("heads='1'");
        card("type='vga' heads='1'", "", &vga).refused("primary='yes'");
        card("type='vga' vram='512' primary='yes' heads='1'", "", &vga).refused("'vram'");
        let qxl = [Flag::DeviceQxl];
        card("type='qxl' vram='4194304'", "", &qxl).with(ErrorCode::OVERFLOW, "'vram'");
        card("type='qxl' vgamem='3000'", "", &qxl).refused("'vgamem' must be a power of two");
        card(
            "type='cirrus' primary='yes' heads='1'",
            "<resolution x='8' y='8'/>",
            &[Flag::DeviceCirrusVga],
        )
        .with(ErrorCode::XML_ERROR, "resolution");
    }

    #[test]
    fn what_cards_draw_with_is_what_the_binary_has() {
        let gpu = [Flag::DeviceVirtioGpu];
        card("type='virtio'", "<acceleration accel2d='yes'/>", &gpu).refused("accel2d");
        let accelerated = "<acceleration accel3d='yes'/>";
        card("type='virtio'", accelerated, &gpu).refused("accel3d='yes'");
        card(
            "type='virtio'",
            accelerated,
            &[Flag::DeviceVirtioGpu, Flag::VirtioGpuVirgl],
        )
        .fine();
        card("type='qxl'", accelerated, &[Flag::DeviceQxl]).refused("accel3d='yes'");
        let blob = [Flag::DeviceVirtioGpu, Flag::VirtioGpuBlob];
        card("type='virtio' blob='on'", "", &gpu).refused("blob='…'");
        card("type='virtio' blob='on'", "", &blob).refused("<source type='memfd'/>");
        card("type='virtio' blob='off'", "", &blob).fine();
        let outside = "<video><driver name='vhostuser'/><model type='virtio'/></video>";
        judge(outside, &gpu).refused("'vhostuser'");
    }

    #[test]
    fn displays_are_what_the_binary_has() {
        judge("<graphics type='vnc'/>", &[]).refused("'vnc'");
        judge("<graphics type='vnc'/>", &[Flag::Vnc]).fine();
        judge("<graphics type='vnc' passwd='123456789'/>", &[Flag::Vnc]).refused("characters: 8 at most");
        judge("<graphics type='vnc' powerControl='yes'/>", &[Flag::Vnc]).refused("powerControl='…'");
        judge("<graphics type='desktop'/>", &[Flag::Vnc]).refused("'desktop'");
        judge("<graphics type='egl-headless'/>", &[Flag::EglHeadless]).fine();
        let node = "<graphics type='egl-headless'><gl rendernode='/dev/dri/a'/></graphics>";
        judge(node, &[Flag::EglHeadless]).refused("rendernode");
        let two = "<graphics type='egl-headless'/><graphics type='spice'><gl enable='yes'/></graphics>";
        judge(two, &[Flag::EglHeadless, Flag::Spice]).refused("<gl enable='yes'>");
    }

    #[test]
    fn sound_goes_where_somebody_hears_it() {
        judge("<audio id='1' type='spice'/>", &[]).refused("'spice'");
        judge("<audio id='1' type='none'/>", &[]).fine();
        judge("<audio id='1' type='dbus'/>", &[]).refused("'dbus'");
        judge("<audio id='1' type='dbus'/>", &[Flag::DisplayDbus]).fine();
    }

    #[test]
    fn screens_beside_egl_headless_are_ones_that_it_draws_for() {
        let flags = [Flag::EglHeadless, Flag::Vnc, Flag::Sdl];
        let beside = |other: &str| judge(&format!("<graphics type='egl-headless'/>{other}"), &flags);
        beside("").fine();
        beside("<graphics type='vnc'/>").fine();
        beside("<graphics type='sdl'/>").refused("'sdl' may not be beside");
        beside("<graphics type='vnc'/><graphics type='sdl'/>").refused("'sdl' may not be beside");
    }

    #[test]
    fn tpms_need_the_program_that_is_one() {
        let guest = |backend: &str, known: Option<&[TpmVersion]>| {
            let inside = format!("<devices><tpm model='tpm-tis'>{backend}</tpm></devices>");
            ask("pc-q35-10.0", &inside, &[], |domain, _| {
                crate::hooks::validate::tpm_version(domain, DeviceRef::Tpm(0), known)
            })
        };
        let emulated = "<backend type='emulator' version='2.0'/>";
        guest(emulated, None).fine();
        guest(emulated, Some(&[TpmVersion::V2_0])).fine();
        guest(emulated, Some(&[TpmVersion::V1_2])).refused("'2.0'");
        guest(emulated, Some(&[])).refused("'2.0'");
        let outside = "<backend type='external'><source type='unix' mode='connect' path='/a'/></backend>";
        guest(outside, Some(&[TpmVersion::V1_2])).fine();
        guest(outside, Some(&[])).refused("swtpm is not installed");
        guest(
            "<backend type='passthrough'><device path='/dev/tpm0'/></backend>",
            Some(&[]),
        )
        .fine();
    }

    #[test]
    fn tpms_are_what_binary_and_machine_have() {
        let tpm = |model: &str, version: &str| {
            format!("<tpm model='{model}'><backend type='emulator' version='{version}'/></tpm>")
        };
        judge(&tpm("tpm-tis", "2.0"), &[]).refused("backend type emulator");
        let emulator = [Flag::DeviceTpmEmulator];
        judge(&tpm("tpm-tis", "2.0"), &emulator).refused("device model tpm-tis");
        let tis = [Flag::DeviceTpmEmulator, Flag::DeviceTpmTis, Flag::DeviceTpmCrb];
        judge(&tpm("tpm-tis", "1.2"), &tis).fine();
        judge(&tpm("tpm-crb", "1.2"), &tis).refused("'tpm-tis'");
        devices("virt", &tpm("tpm-tis", "1.2"), &tis).refused("'aarch64'");
        let guest = format!("<devices>{}</devices>", tpm("tpm-tis", "2.0"));
        ask("pc-q35-10.0", &guest, &tis, |domain, guest| {
            let tpm = domain.devices.tpms.first();
            tpm.map_or(Ok(()), |tpm| super::tpm(tpm, guest))
        })
        .fine();
    }
}
