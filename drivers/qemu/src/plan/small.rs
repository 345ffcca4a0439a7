//! Devices with few settings.

use serde_json::json;
use virt_conf::domain::Address;
use virt_conf::domain::chardev::{ChardevHost, ChardevSource, SmartcardSource, SourceMode, UnixSource};
use virt_conf::domain::controller::ControllerType;
use virt_conf::domain::input::{Input, InputBus, InputGrab, InputModel, InputType};
use virt_conf::domain::security::LaunchSecurity;
use virt_conf::domain::small::{
    CryptoBackend, MemballoonModel, PanicModel, RngModel, RngSource, ShmemModel, ShmemRole, Tpm, TpmBackend,
    TpmModel, VsockModel, WatchdogAction, WatchdogModel,
};
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::{DescriptorUse, Props, on_off};
use super::device::{VirtioVariant, alias};
use crate::capabilities::Flag;

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

/// Where certificates of smart cards are unless the guest says so.
const CERTIFICATE_DATABASE: &str = "/etc/pki/nssdb";

impl Builder<'_> {
    pub(super) fn inputs(&mut self) -> Result<()> {
        let domain = self.domain;
        for input in &domain.devices.inputs {
            self.zpci(&input.info)?;
            if input.kind == InputType::Evdev {
                let props = Props::object("input-linux", alias(&input.info)?)
                    .with("evdev", input.dev.as_deref().unwrap_or_default())
                    .maybe("repeat", input.repeat)
                    .maybe("grab_all", (input.grab == Some(InputGrab::All)).then_some(true))
                    .maybe("grab-toggle", input.grab_toggle.map(|toggle| toggle.as_str()));
                self.command.object(&props);
                continue;
            }
            let props = match input.bus {
                Some(InputBus::Usb) => self.usb_input(input)?,
                Some(InputBus::Virtio) => self.virtio_input(input)?,
                _ => continue,
            };
            self.device(props)?;
        }
        Ok(())
    }

    fn usb_input(&self, input: &Input) -> Result<Props> {
        let driver = match input.kind {
            InputType::Mouse => "usb-mouse",
            InputType::Tablet => "usb-tablet",
            InputType::Keyboard => "usb-kbd",
            kind => {
                return Err(unsupported(format_args!(
                    "input type '{kind}' is not supported on the USB bus"
                )));
            }
        };
        Ok(Props::device(driver)
            .with("id", alias(&input.info)?)
            .and(self.address(&input.info, None)?))
    }

    fn virtio_input(&self, input: &Input) -> Result<Props> {
        let (base, device) = match input.kind {
            InputType::Mouse => ("virtio-mouse", None),
            InputType::Tablet => ("virtio-tablet", None),
            InputType::Keyboard => ("virtio-keyboard", None),
            InputType::Passthrough => ("virtio-input-host", input.evdev.as_deref().map(str::to_owned)),
            InputType::Evdev => return Err(VirtError::internal("an event device is no virtio device")),
        };
        let variant = match input.model {
            Some(InputModel::VirtioTransitional) => VirtioVariant::Transitional,
            Some(InputModel::VirtioNonTransitional) => VirtioVariant::NonTransitional,
            _ => VirtioVariant::Plain,
        };
        Ok(self
            .virtio(base, &input.info, variant, Some(&input.virtio))?
            .with("id", alias(&input.info)?)
            .maybe("evdev", device)
            .and(self.address(&input.info, None)?))
    }

    pub(super) fn smartcards(&mut self) -> Result<()> {
        let Some(card) = self.domain.devices.smartcards.first() else {
            return Ok(());
        };
        let name = alias(&card.info)?;
        let props = match &card.source {
            SmartcardSource::Host => Props::device("ccid-card-emulated").with("backend", "nss-emulated"),
            SmartcardSource::HostCertificates {
                certificates,
                database,
            } => {
                let mut props = Props::device("ccid-card-emulated").with("backend", "certificates");
                for (number, certificate) in (1..).zip(certificates) {
                    props = props.with(&format!("cert{number}"), certificate.as_str());
                }
                props.with("db", database.as_deref().unwrap_or(CERTIFICATE_DATABASE))
            }
            SmartcardSource::Passthrough(host) => {
                let id = format!("char{name}");
                self.chardev_named(
                    host,
                    name,
                    &id,
                    virt_conf::domain::chardev::SpicevmcType::Smartcard,
                )?;
                Props::device("ccid-card-passthru").with("chardev", id)
            }
        };
        let controller = match &card.info.address {
            Some(Address::Ccid(address)) => address.controller,
            _ => 0,
        };
        let bus = self.controller_alias(ControllerType::Ccid, controller)?;
        let props = props.with("id", name).with("bus", format!("{bus}.0"));
        self.device(props)
    }

    pub(super) fn tpms(&mut self) -> Result<()> {
        let domain = self.domain;
        for tpm in &domain.devices.tpms {
            if tpm.model == Some(TpmModel::SpaprTpmProxy) {
                let TpmBackend::Passthrough { path } = &tpm.backend else {
                    return Err(unsupported("the TPM proxy needs a device of the host"));
                };
                let props = Props::device("spapr-tpm-proxy")
                    .with("id", alias(&tpm.info)?)
                    .with("host-path", path.as_deref().unwrap_or_default());
                self.device(props)?;
            } else {
                self.tpm(tpm)?;
            }
        }
        Ok(())
    }

    fn tpm(&mut self, tpm: &Tpm) -> Result<()> {
        let name = alias(&tpm.info)?;
        let backend = match &tpm.backend {
            TpmBackend::Passthrough { path } => {
                let path = path.clone().unwrap_or_else(|| "/dev/tpm0".to_owned());
                let mut sets = Vec::new();
                let device = self.descriptor(DescriptorUse::Tpm { path: path.clone() });
                let cancel = self.descriptor(DescriptorUse::TpmCancel { path });
                for (number, what) in [(device, "tpm"), (cancel, "cancel")] {
                    sets.push(self.fdset(number, &format!("{name}-{what}")));
                }
                let paths = [("path", 0), ("cancel-path", 1)].map(|(key, at)| {
                    let set = sets.get(at).copied().unwrap_or_default();
                    format!(",{key}=/dev/fdset/{set}")
                });
                format!("passthrough,id=tpm-{name}{}", paths.concat())
            }
            TpmBackend::Emulator(_) | TpmBackend::External { .. } => {
                let path = match &tpm.backend {
                    TpmBackend::External { source } => source.path.clone(),
                    _ => self.host.swtpm_socket(&self.layout.short_name),
                };
                let host = ChardevHost {
                    source: ChardevSource::Unix(UnixSource {
                        mode: SourceMode::Connect,
                        path: Some(path),
                        ..UnixSource::default()
                    }),
                    log: None,
                };
                self.chardev_named(
                    &host,
                    name,
                    "chrtpm",
                    virt_conf::domain::chardev::SpicevmcType::Vdagent,
                )?;
                format!("emulator,id=tpm-{name},chardev=chrtpm")
            }
        };
        self.command.option("-tpmdev", backend);
        let driver = match tpm.model {
            Some(TpmModel::TpmTis) if !self.arch.is_x86() => "tpm-tis-device",
            Some(model) => model.as_str(),
            None => return Err(VirtError::internal("a TPM has no model")),
        };
        let props = Props::device(driver)
            .with("tpmdev", format!("tpm-{name}"))
            .with("id", name)
            .and(self.address(&tpm.info, None)?);
        self.device(props)
    }

    pub(super) fn watchdogs(&mut self) -> Result<()> {
        let domain = self.domain;
        let Some(last) = domain.devices.watchdogs.last() else {
            return Ok(());
        };
        let mut on_chipset = false;
        for watchdog in &domain.devices.watchdogs {
            if watchdog.model == WatchdogModel::Itco {
                on_chipset = true;
                continue;
            }
            self.zpci(&watchdog.info)?;
            let props = Props::device(watchdog.model.as_str())
                .with("id", alias(&watchdog.info)?)
                .and(self.address(&watchdog.info, None)?);
            self.device(props)?;
        }
        if on_chipset {
            self.command.option("-global", "ICH9-LPC.noreboot=off");
        }
        // For a dump the guest stands still; the dump is ours.
        let action = match last.action {
            WatchdogAction::Dump => WatchdogAction::Pause,
            action => action,
        };
        self.command.option("-watchdog-action", action.as_str());
        Ok(())
    }

    pub(super) fn balloon(&mut self) -> Result<()> {
        let Some(balloon) = &self.domain.devices.memballoon else {
            return Ok(());
        };
        let variant = match balloon.model {
            MemballoonModel::None | MemballoonModel::Xen => return Ok(()),
            MemballoonModel::Virtio => VirtioVariant::Plain,
            MemballoonModel::VirtioTransitional => VirtioVariant::Transitional,
            MemballoonModel::VirtioNonTransitional => VirtioVariant::NonTransitional,
        };
        let props = self
            .virtio("virtio-balloon", &balloon.info, variant, Some(&balloon.virtio))?
            .with("id", alias(&balloon.info)?)
            .maybe("deflate-on-oom", balloon.autodeflate)
            .maybe("free-page-reporting", balloon.free_page_reporting)
            .and(self.address(&balloon.info, None)?);
        self.zpci(&balloon.info)?;
        self.device(props)
    }

    pub(super) fn rngs(&mut self) -> Result<()> {
        let domain = self.domain;
        for rng in &domain.devices.rngs {
            let name = alias(&rng.info)?;
            let object = format!("obj{name}");
            let props = match &rng.backend {
                RngSource::Random { path } => Props::object("rng-random", object.as_str())
                    .with("filename", path.as_deref().unwrap_or("/dev/urandom")),
                RngSource::Egd(host) => {
                    self.chardev(host, name)?;
                    Props::object("rng-egd", object.as_str()).with("chardev", format!("char{name}"))
                }
                RngSource::Builtin => Props::object("rng-builtin", object.as_str()),
            };
            self.command.object(&props);
            self.zpci(&rng.info)?;
            let variant = match rng.model {
                RngModel::Virtio => VirtioVariant::Plain,
                RngModel::VirtioTransitional => VirtioVariant::Transitional,
                RngModel::VirtioNonTransitional => VirtioVariant::NonTransitional,
            };
            let (bytes, period) = match rng.rate.as_ref().filter(|rate| rate.bytes > 0) {
                Some(rate) if rate.period == 0 => (rate.bytes, 1000),
                Some(rate) => (rate.bytes, rate.period),
                None => (0, 0),
            };
            let props = self
                .virtio("virtio-rng", &rng.info, variant, Some(&rng.virtio))?
                .with("rng", object)
                .with("id", name)
                .positive("max-bytes", bytes)
                .positive("period", period)
                .and(self.address(&rng.info, None)?);
            self.device(props)?;
        }
        Ok(())
    }

    pub(super) fn nvram(&mut self) {
        let Some(nvram) = &self.domain.devices.nvram else {
            return;
        };
        if let Some(Address::SpaprVio(address)) = &nvram.info.address {
            let reg = address.reg.unwrap_or(0);
            self.command
                .option("-global", format!("spapr-nvram.reg=0x{reg:x}"));
        }
    }

    pub(super) fn core_info(&mut self) -> Result<()> {
        if self.features.vmcoreinfo.is_some_and(|state| state.on) {
            self.device(Props::device("vmcoreinfo"))?;
        }
        Ok(())
    }

    pub(super) fn launch_security(&mut self) -> Result<()> {
        let props = match self.domain.launch_security.as_deref() {
            None => return Ok(()),
            Some(LaunchSecurity::Sev(sev)) => {
                let file =
                    |there: bool, name: &str| there.then(|| format!("{}/{name}", self.layout.directory));
                Props::object("sev-guest", "lsec0")
                    .with("cbitpos", sev.cbitpos.unwrap_or(0))
                    .with("reduced-phys-bits", sev.reduced_phys_bits.unwrap_or(0))
                    .with("policy", sev.policy)
                    .maybe("dh-cert-file", file(sev.dh_cert.is_some(), "dh_cert.base64"))
                    .maybe("session-file", file(sev.session.is_some(), "session.base64"))
                    .maybe("kernel-hashes", sev.kernel_hashes)
            }
            Some(LaunchSecurity::SevSnp(snp)) => Props::object("sev-snp-guest", "lsec0")
                .with("cbitpos", snp.cbitpos.unwrap_or(0))
                .with("reduced-phys-bits", snp.reduced_phys_bits.unwrap_or(0))
                .maybe("kernel-hashes", snp.kernel_hashes)
                .with("policy", snp.policy)
                .maybe("guest-visible-workarounds", snp.guest_visible_workarounds.clone())
                .maybe("id-block", snp.id_block.clone())
                .maybe("id-auth", snp.id_auth.clone())
                .maybe("host-data", snp.host_data.clone())
                .maybe("author-key-enabled", snp.author_key)
                .maybe("vcek-disabled", snp.vcek.map(|vcek| !vcek)),
            Some(LaunchSecurity::S390Pv) => Props::object("s390-pv-guest", "lsec0"),
        };
        self.command.object(&props);
        Ok(())
    }

    pub(super) fn panics(&mut self) -> Result<()> {
        let domain = self.domain;
        for panic in &domain.devices.panics {
            let props = match panic.model {
                Some(PanicModel::Isa) => match &panic.info.address {
                    Some(Address::Isa(address)) => Props::device("pvpanic").with("ioport", address.iobase),
                    _ => Props::device("pvpanic"),
                },
                Some(PanicModel::Pvpanic) => {
                    Props::device("pvpanic-pci").and(self.address(&panic.info, None)?)
                }
                _ => continue,
            };
            self.device(props)?;
        }
        Ok(())
    }

    pub(super) fn shared_memory(&mut self) -> Result<()> {
        let domain = self.domain;
        for shmem in &domain.devices.shmems {
            if !matches!(shmem.info.address, Some(Address::Pci(_))) {
                return Err(unsupported("shared memory takes an address of type 'pci' only"));
            }
            let name = alias(&shmem.info)?;
            let memory = format!("shmmem-{name}");
            match shmem.model {
                ShmemModel::Ivshmem => {
                    return Err(unsupported(
                        "ivshmem device is not supported with this QEMU binary",
                    ));
                }
                ShmemModel::IvshmemPlain => {
                    let size = shmem.size.unwrap_or(4) << 20;
                    let props = Props::object("memory-backend-file", memory.as_str())
                        .with("mem-path", format!("/dev/shm/{}", shmem.name))
                        .with("size", size)
                        .with("share", true);
                    self.command.object(&props);
                }
                ShmemModel::IvshmemDoorbell => {}
            }
            let (vectors, ioeventfd) = shmem
                .msi
                .as_ref()
                .map_or((0, None), |msi| (msi.vectors, msi.ioeventfd));
            let mut props = Props::device(shmem.model.as_str()).with("id", name);
            if shmem.server.is_some() {
                props = props.with("chardev", format!("char{name}"));
            } else {
                let master = shmem.role.map(|role| role == ShmemRole::Master);
                props = props.with("memdev", memory).on_off("master", master);
            }
            let props = props
                .positive("vectors", vectors)
                .maybe("ioeventfd", ioeventfd)
                .and(self.address(&shmem.info, None)?);
            self.zpci(&shmem.info)?;
            self.device(props)?;
            if let Some(server) = &shmem.server {
                let path = server
                    .path
                    .clone()
                    .unwrap_or_else(|| format!("/var/lib/libvirt/shmem-{}-sock", shmem.name));
                let host = ChardevHost {
                    source: ChardevSource::Unix(UnixSource {
                        mode: SourceMode::Connect,
                        path: Some(path),
                        ..UnixSource::default()
                    }),
                    log: None,
                };
                self.chardev(&host, name)?;
            }
        }
        Ok(())
    }

    pub(super) fn vsock(&mut self) -> Result<()> {
        let Some(vsock) = &self.domain.devices.vsock else {
            return Ok(());
        };
        let name = alias(&vsock.info)?;
        let variant = match vsock.model {
            VsockModel::VirtioTransitional => VirtioVariant::Transitional,
            VsockModel::VirtioNonTransitional => VirtioVariant::NonTransitional,
            VsockModel::Default | VsockModel::Virtio => VirtioVariant::Plain,
        };
        let number = self.descriptor(DescriptorUse::VhostVsock {
            device: name.to_owned(),
        });
        let props = self
            .virtio("vhost-vsock", &vsock.info, variant, Some(&vsock.virtio))?
            .with("id", name)
            .with("guest-cid", vsock.cid)
            .with("vhostfd", number.to_string())
            .and(self.address(&vsock.info, None)?);
        self.zpci(&vsock.info)?;
        self.device(props)
    }

    pub(super) fn cryptos(&mut self) -> Result<()> {
        let domain = self.domain;
        for crypto in &domain.devices.cryptos {
            let name = alias(&crypto.info)?;
            let object = format!("obj{name}");
            let kind = match crypto.backend.model {
                CryptoBackend::Builtin => "cryptodev-backend-builtin",
                CryptoBackend::Lkcf => "cryptodev-backend-lkcf",
            };
            let props = Props::object(kind, object.as_str()).positive("queues", crypto.backend.queues);
            self.command.object(&props);
            self.zpci(&crypto.info)?;
            let props = self
                .virtio(
                    "virtio-crypto",
                    &crypto.info,
                    VirtioVariant::Plain,
                    Some(&crypto.virtio),
                )?
                .with("cryptodev", object)
                .with("id", name)
                .and(self.address(&crypto.info, None)?);
            self.device(props)?;
        }
        Ok(())
    }

    pub(super) fn persistent_store(&mut self) -> Result<()> {
        let Some(store) = &self.domain.devices.pstore else {
            return Ok(());
        };
        let name = alias(&store.info)?;
        let memory = format!("mem{name}");
        let object = Props::object("memory-backend-file", memory.as_str())
            .with("mem-path", store.path.as_deref().unwrap_or_default())
            .with("size", store.size.unwrap_or(0) * 1024)
            .with("share", true);
        self.command.object(&object);
        let props = Props::device("acpi-erst")
            .with("id", name)
            .with("memdev", memory)
            .and(self.address(&store.info, None)?);
        self.device(props)
    }

    pub(super) fn async_teardown(&mut self) {
        let Some(enabled) = self.features.async_teardown else {
            return;
        };
        if self.caps.has(Flag::RunWithAsyncTeardown) {
            self.command
                .option("-run-with", format!("async-teardown={}", on_off(enabled)));
        }
    }

    pub(super) fn throttle_groups(&mut self) {
        for group in &self.domain.throttle_groups {
            let Some(name) = &group.group else { continue };
            let limits = [
                ("bps-total", group.total_bytes),
                ("bps-read", group.read_bytes),
                ("bps-write", group.write_bytes),
                ("iops-total", group.total_iops),
                ("iops-read", group.read_iops),
                ("iops-write", group.write_iops),
                ("bps-total-max", group.total_bytes_max),
                ("bps-read-max", group.read_bytes_max),
                ("bps-write-max", group.write_bytes_max),
                ("iops-total-max", group.total_iops_max),
                ("iops-read-max", group.read_iops_max),
                ("iops-write-max", group.write_iops_max),
                ("iops-size", group.size_iops),
                ("bps-total-max-length", group.total_bytes_max_length),
                ("bps-read-max-length", group.read_bytes_max_length),
                ("bps-write-max-length", group.write_bytes_max_length),
                ("iops-total-max-length", group.total_iops_max_length),
                ("iops-read-max-length", group.read_iops_max_length),
                ("iops-write-max-length", group.write_iops_max_length),
            ];
            if limits.iter().all(|(_, value)| *value == 0) {
                continue;
            }
            let mut all = json!({});
            for (key, value) in limits {
                // A length stays what it is unless it is said.
                if value != 0 || !key.ends_with("-length") {
                    all[key] = json!(value);
                }
            }
            let props = Props::object("throttle-group", format!("throttle-{name}")).with("limits", all);
            self.command.object(&props);
        }
    }
}
