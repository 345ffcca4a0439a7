//! Displays and video cards.

use virt_conf::domain::chardev::MouseMode;
use virt_conf::domain::graphics::{
    DbusGraphics, Graphics, ListenType, SdlGraphics, SpiceChannelMode, SpiceChannelName, SpiceGraphics,
    VncGraphics, VncSharePolicy,
};
use virt_conf::domain::video::{Video, VideoBackend, VideoModelType};
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::{DescriptorUse, Props, escape_commas, on_off};
use super::device::{VirtioVariant, alias, virtio_options};
use super::machine::Options;
use super::secrets::{SecretKey, TlsEndpoint};
use crate::capabilities::Flag;

fn unsupported(what: impl std::fmt::Display) -> VirtError {
    VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what)
}

impl Builder<'_> {
    pub(super) fn graphics(&mut self) -> Result<()> {
        let domain = self.domain;
        for graphics in &domain.devices.graphics {
            match graphics {
                Graphics::Sdl(sdl) => self.sdl(sdl),
                Graphics::Vnc(vnc) => self.vnc(vnc)?,
                Graphics::Spice(spice) => self.spice(spice)?,
                Graphics::EglHeadless { render_node } => {
                    let mut options = Options("egl-headless".to_owned());
                    if let Some(node) = render_node {
                        options.put("rendernode", escape_commas(node));
                    }
                    self.command.option("-display", options.0);
                }
                Graphics::Dbus(dbus) => self.dbus(dbus)?,
                // A server of its own speaks D-Bus with QEMU.
                Graphics::Rdp(_) => {}
                Graphics::Desktop { .. } => return Err(unsupported("unsupported graphics type 'desktop'")),
            }
        }
        Ok(())
    }

    fn sdl(&mut self, sdl: &SdlGraphics) {
        if let Some(xauth) = &sdl.xauth {
            self.command.set_environment("XAUTHORITY", xauth.as_str());
        }
        if let Some(display) = &sdl.display {
            self.command.set_environment("DISPLAY", display.as_str());
        }
        if sdl.fullscreen {
            self.command.flag("-full-screen");
        }
        let mut options = Options("sdl".to_owned());
        options.switch("gl", sdl.gl);
        self.command.option("-display", options.0);
    }

    fn dbus(&mut self, dbus: &DbusGraphics) -> Result<()> {
        let mut options = Options("dbus".to_owned());
        if dbus.p2p {
            options.put("p2p", "on");
        } else {
            options.put("addr", escape_commas(dbus.address.as_deref().unwrap_or_default()));
        }
        options.switch("gl", dbus.gl);
        if let Some(node) = &dbus.render_node {
            options.put("rendernode", escape_commas(node));
        }
        if dbus.audio > 0 {
            options.put("audiodev", self.audio_id(dbus.audio)?);
        }
        self.command.option("-display", options.0);
        Ok(())
    }

    fn vnc(&mut self, vnc: &VncGraphics) -> Result<()> {
        let config = &self.host.config.vnc;
        let listen = vnc
            .listens
            .first()
            .ok_or_else(|| VirtError::internal("missing listen element"))?;
        let mut options = Options::default();
        match listen.kind {
            ListenType::Socket => {
                let socket = listen.socket.as_deref().unwrap_or_default();
                options.0 = format!("vnc=unix:{}", escape_commas(socket));
            }
            ListenType::Address | ListenType::Network => {
                if !vnc.autoport && !(5900..=65535).contains(&vnc.port) {
                    return Err(unsupported(format_args!(
                        "port {} of VNC: expected 5900 to 65535",
                        vnc.port
                    )));
                }
                options.0 = match listen.address.as_deref() {
                    Some(address) if address.contains(':') => format!("[{address}]"),
                    address => address.unwrap_or_default().to_owned(),
                };
                options.0.push_str(&format!(":{}", vnc.port - 5900));
                if vnc.websocket != 0 {
                    options.put("websocket", vnc.websocket);
                }
            }
            ListenType::None => options.0.push_str("none"),
        }
        if vnc.share_policy != VncSharePolicy::Default {
            options.put("share", vnc.share_policy);
        }
        if vnc.auth.password.is_some() || config.password.is_some() {
            options.put("password", "on");
        }
        if config.tls {
            let password = config
                .tls_x509_secret
                .map(|uuid| ("vnc-tls-creds0-secret0".to_owned(), SecretKey::tls(uuid)));
            if let Some((id, key)) = &password {
                self.secret(id, key)?;
            }
            let endpoint = TlsEndpoint::Server {
                verify: config.tls_x509_verify,
            };
            let password = password.map(|(id, _)| id);
            self.tls_credentials("vnc-tls-creds0", &config.tls_x509_dir, endpoint, password);
            options.put("tls-creds", "vnc-tls-creds0");
        }
        if config.sasl {
            options.put("sasl", "on");
            if let Some(directory) = &config.sasl_dir {
                self.command.set_environment("SASL_CONF_PATH", directory.as_str());
            }
        }
        options.switch("power-control", vnc.power_control);
        options.put("audiodev", self.audio_id(vnc.audio)?);
        self.command.option("-vnc", options.0);
        if let Some(keymap) = &vnc.keymap {
            self.command.option("-k", keymap.as_str());
        }
        Ok(())
    }

    fn spice(&mut self, spice: &SpiceGraphics) -> Result<()> {
        let config = &self.host.config.spice;
        let listen = spice
            .listens
            .first()
            .ok_or_else(|| VirtError::internal("missing listen element"))?;
        let mut parts: Vec<String> = Vec::new();
        let (mut plain, mut secure) = (false, false);
        match listen.kind {
            ListenType::Socket => {
                let socket = listen.socket.as_deref().unwrap_or_default();
                parts.push(format!("unix=on,addr={}", escape_commas(socket)));
                plain = true;
            }
            ListenType::Address | ListenType::Network => {
                if spice.port > 0 {
                    parts.push(format!("port={}", spice.port));
                    plain = true;
                }
                if spice.tls_port > 0 {
                    if !config.tls {
                        return Err(unsupported(
                            "graphics 'spice' have a tlsPort, and spice_tls is off in qemu.conf",
                        ));
                    }
                    parts.push(format!("tls-port={}", spice.tls_port));
                    secure = true;
                }
                if let Some(address) = listen.address.as_ref().filter(|_| plain || secure) {
                    parts.push(format!("addr={address}"));
                }
            }
            ListenType::None => {
                parts.push("port=0".to_owned());
                plain = true;
            }
        }
        if config.sasl {
            parts.push("sasl=on".to_owned());
            if let Some(directory) = &config.sasl_dir {
                self.command.set_environment("SASL_CONF_PATH", directory.as_str());
            }
        }
        let options = &spice.options;
        if let Some(mode) = options.mouse {
            parts.push(format!("agent-mouse={}", on_off(mode == MouseMode::Client)));
        }
        if spice.auth.password.is_none() && config.password.is_none() {
            parts.push("disable-ticketing=on".to_owned());
        }
        if secure {
            parts.push(format!("x509-dir={}", escape_commas(&config.tls_x509_dir)));
        }
        let default = std::iter::once((options.default_mode, "default"));
        let channels = SpiceChannelName::ALL.iter().filter_map(|name| {
            let channel = options.channels.iter().find(|channel| channel.name == *name)?;
            Some((channel.mode, name.as_str()))
        });
        for (mode, name) in default.chain(channels) {
            match mode {
                SpiceChannelMode::Secure if !secure => {
                    return Err(unsupported(
                        "spice secure channels set in XML configuration, but TLS connection is not available",
                    ));
                }
                SpiceChannelMode::Secure => parts.push(format!("tls-channel={name}")),
                SpiceChannelMode::Insecure if !plain => {
                    return Err(unsupported(
                        "spice insecure channels set in XML configuration, but plaintext connection is not available",
                    ));
                }
                SpiceChannelMode::Insecure => parts.push(format!("plaintext-channel={name}")),
                SpiceChannelMode::Any => {}
            }
        }
        let mut put = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                parts.push(format!("{key}={value}"));
            }
        };
        put("image-compression", options.image.map(|word| word.as_str()));
        put("jpeg-wan-compression", options.jpeg.map(|word| word.as_str()));
        put("zlib-glz-wan-compression", options.zlib.map(|word| word.as_str()));
        put("playback-compression", options.playback.map(on_off));
        put("streaming-video", options.streaming.map(|word| word.as_str()));
        put(
            "disable-copy-paste",
            (options.clipboard == Some(false)).then_some("on"),
        );
        put(
            "disable-agent-file-xfer",
            (options.file_transfer == Some(false)).then_some("on"),
        );
        if options.gl == Some(true) {
            put("gl", Some("on"));
            let node = options.render_node.as_deref().map(escape_commas);
            put("rendernode", node.as_deref());
        }
        put("seamless-migration", Some("on"));
        self.command.option("-spice", parts.join(","));
        if let Some(keymap) = &options.keymap {
            self.command.option("-k", keymap.as_str());
        }
        Ok(())
    }

    pub(super) fn videos(&mut self) -> Result<()> {
        let domain = self.domain;
        for video in &domain.devices.videos {
            if video.model.kind == VideoModelType::None {
                continue;
            }
            if video.backend == Some(VideoBackend::Vhostuser) {
                let name = alias(&video.info)?;
                let usage = DescriptorUse::ListenSocket {
                    path: String::new(),
                    chardev: format!("chr-vu-{name}"),
                };
                let number = self.descriptor(usage);
                self.command
                    .option("-chardev", format!("socket,id=chr-vu-{name},fd={number}"));
            }
            self.zpci(&video.info)?;
            let device = self.video(video)?;
            self.device(device)?;
        }
        Ok(())
    }

    fn video(&self, video: &Video) -> Result<Props> {
        use VideoModelType as Type;
        let model = &video.model;
        let kind = model.kind;
        let vhost_user = video.backend == Some(VideoBackend::Vhostuser);
        let accel3d = model
            .acceleration
            .as_ref()
            .and_then(|acceleration| acceleration.accel3d);
        let vga = model.primary
            && match (kind, vhost_user) {
                (Type::Virtio, true) => self.caps.has(Flag::DeviceVhostUserVga),
                (Type::Virtio, false) => self.caps.has(Flag::DeviceVirtioVga),
                _ => true,
            };
        let gl = |flag: Flag| self.caps.has(flag) && accel3d == Some(true);
        let virtio = |base: &str| self.virtio(base, &video.info, VirtioVariant::Plain, Some(&video.virtio));
        let with_options = |driver: &str| Props::device(driver).and(virtio_options(Some(&video.virtio)));
        let props = match (kind, vhost_user, vga) {
            (_, true, true) => Props::device("vhost-user-vga"),
            (_, true, false) => virtio("vhost-user-gpu")?,
            (Type::Vga, _, true) => Props::device("VGA"),
            (Type::Cirrus, _, true) => Props::device("cirrus-vga"),
            (Type::Vmvga, _, true) => Props::device("vmware-svga"),
            (Type::Qxl, _, true) => Props::device("qxl-vga"),
            (Type::Virtio, _, true) if gl(Flag::VirtioVgaGl) => with_options("virtio-vga-gl"),
            (Type::Virtio, _, true) => with_options("virtio-vga"),
            (Type::Bochs, _, true) => Props::device("bochs-display"),
            (Type::Ramfb, _, true) => Props::device("ramfb"),
            (Type::Qxl, _, false) => Props::device("qxl"),
            (Type::Virtio, _, false) if gl(Flag::VirtioGpuGlPci) => virtio("virtio-gpu-gl")?,
            (Type::Virtio, _, false) => virtio("virtio-gpu")?,
            _ => {
                return Err(VirtError::internal(format_args!(
                    "QEMU has no video model '{kind}' as this one"
                )));
            }
        };
        let virgl =
            accel3d.filter(|_| !vhost_user && kind == Type::Virtio && self.caps.has(Flag::VirtioGpuVirgl));
        let heads = if matches!(kind, Type::Qxl | Type::Virtio) {
            model.heads
        } else {
            0
        };
        let mut props = props
            .with("id", alias(&video.info)?)
            .maybe("virgl", virgl)
            .positive("max_outputs", heads);
        let bytes = |kib: u32| u64::from(kib) * 1024;
        if kind == Type::Qxl {
            props = props
                .positive("ram_size", bytes(model.ram))
                .positive("vram_size", bytes(model.vram));
            if self.caps.has(Flag::QxlVram64) {
                props = props.with("vram64_size_mb", model.vram64 / 1024);
            }
            if self.caps.has(Flag::QxlVgamem) {
                props = props.with("vgamem_mb", model.vgamem / 1024);
            }
        } else if vhost_user {
            props = props.with("chardev", format!("chr-vu-{}", alias(&video.info)?));
        } else if (kind == Type::Vga && self.caps.has(Flag::VgaVgamem))
            || (kind == Type::Vmvga && self.caps.has(Flag::VmwareSvgaVgamem))
        {
            props = props.positive("vgamem_mb", model.vram / 1024);
        } else if kind == Type::Bochs {
            props = props.positive("vgamem", bytes(model.vram));
        } else if kind == Type::Virtio {
            props = props.maybe("blob", model.blob);
        }
        if let Some(resolution) = &model.resolution {
            props = props
                .positive("xres", resolution.x)
                .positive("yres", resolution.y);
        }
        Ok(props.and(self.address(&video.info, None)?))
    }
}
