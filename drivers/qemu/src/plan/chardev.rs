//! Character devices on the host's side: `-chardev`.

use virt_conf::domain::chardev::{
    ChardevHost, ChardevSource, MouseMode, Reconnect, SourceMode, SpicevmcType, TcpProtocol,
};
use virt_conf::domain::interface::{VhostUserMode, VhostUserSource};
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::{DescriptorUse, Props};
use super::secrets::{SecretKey, TlsEndpoint};
use crate::capabilities::Flag;

impl Builder<'_> {
    /// Adds `-chardev` for a device, under the id `char<alias>`.
    pub(super) fn chardev(&mut self, host: &ChardevHost, alias: &str) -> Result<()> {
        self.chardev_named(host, alias, &format!("char{alias}"), SpicevmcType::Vdagent)
    }

    /// The same with an id of its own.
    pub(super) fn chardev_named(
        &mut self,
        host: &ChardevHost,
        alias: &str,
        id: &str,
        spicevmc: SpicevmcType,
    ) -> Result<()> {
        let unset = |what: &str| {
            VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                format_args!("the character device '{alias}' has no {what}"),
            )
        };
        let (kind, mut props) = match &host.source {
            ChardevSource::Null => ("null", Props::new()),
            ChardevSource::Vc => ("vc", Props::new()),
            ChardevSource::Pty { .. } => ("pty", Props::new()),
            ChardevSource::Stdio => ("stdio", Props::new()),
            ChardevSource::File { path, append, .. } => {
                let path = path.as_deref().ok_or_else(|| unset("path"))?;
                let usage = DescriptorUse::ChardevFile {
                    path: path.to_owned(),
                    append: append.unwrap_or(false),
                    device: alias.to_owned(),
                };
                (
                    "file",
                    self.file_or_fdset(usage, path, *append, &format!("{alias}-source"), "path", "append"),
                )
            }
            ChardevSource::Pipe { path, .. } => (
                "pipe",
                Props::new().with("path", path.as_deref().ok_or_else(|| unset("path"))?),
            ),
            ChardevSource::Dev { path, .. } => {
                let kind = if id.starts_with("charparallel") {
                    "parallel"
                } else {
                    "serial"
                };
                (
                    kind,
                    Props::new().with("path", path.as_deref().ok_or_else(|| unset("path"))?),
                )
            }
            ChardevSource::Unix(unix) => {
                let path = unix.path.as_deref().ok_or_else(|| unset("path"))?;
                let listens = unix.mode == SourceMode::Bind;
                let mut props = Props::new();
                let mut reconnect = None;
                if listens {
                    // The socket exists and is ours before QEMU runs: nobody can come first, and it survives.
                    let usage = DescriptorUse::ListenSocket {
                        path: path.to_owned(),
                        chardev: id.to_owned(),
                    };
                    props = props.with("fd", self.descriptor(usage).to_string());
                } else {
                    props = props.with("path", path);
                    reconnect = reconnect_seconds(unix.reconnect.as_ref());
                }
                ("socket", self.socket_tail(props, None, listens, reconnect))
            }
            ChardevSource::Tcp(tcp) => {
                let listens = tcp.mode == SourceMode::Bind;
                let props = Props::new()
                    .with("host", tcp.host.as_deref().unwrap_or_default())
                    .with("port", tcp.service.as_deref().unwrap_or_default());
                let credentials = match tcp.tls {
                    Some(true) => Some(self.chardev_credentials(id, listens)?),
                    _ => None,
                };
                let telnet = (tcp.protocol == TcpProtocol::Telnet).then_some(true);
                (
                    "socket",
                    self.socket_tail(props, telnet, listens, reconnect_seconds(tcp.reconnect.as_ref()))
                        .maybe("tls-creds", credentials),
                )
            }
            ChardevSource::Udp(udp) => {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                let props = Props::new()
                    .with("host", text(&udp.connect.host))
                    .with("port", text(&udp.connect.service))
                    .with("localaddr", text(&udp.bind.host))
                    .with(
                        "localport",
                        udp.bind.service.clone().unwrap_or_else(|| "0".to_owned()),
                    );
                ("udp", props)
            }
            ChardevSource::Spicevmc => ("spicevmc", Props::new().with("name", spicevmc.as_str())),
            ChardevSource::Spiceport { channel } => (
                "spiceport",
                Props::new().with("name", channel.as_deref().ok_or_else(|| unset("channel"))?),
            ),
            ChardevSource::QemuVdagent { clipboard, mouse } => {
                let props = Props::new()
                    .with("name", "vdagent")
                    .maybe("clipboard", *clipboard)
                    .maybe("mouse", mouse.map(|mouse| mouse == MouseMode::Client));
                ("qemu-vdagent", props)
            }
            ChardevSource::Dbus { channel } => (
                "dbus",
                Props::new().with("name", channel.as_deref().ok_or_else(|| unset("channel"))?),
            ),
            ChardevSource::Nmdm { .. } => {
                let what = format!("QEMU has no null modem: character device '{alias}'");
                return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
            }
        };
        if let Some(log) = &host.log
            && let Some(path) = log.file.as_deref()
        {
            let usage = DescriptorUse::ChardevLog {
                path: path.to_owned(),
                append: log.append.unwrap_or(false),
                device: alias.to_owned(),
            };
            let opaque = format!("{alias}-log");
            props = props.and(self.file_or_fdset(usage, path, log.append, &opaque, "logfile", "logappend"));
        }
        let mut value = format!("{kind},id={id}");
        if !props.is_empty() {
            value.push(',');
            value.push_str(&props.to_key_values(None)?);
        }
        self.command.option("-chardev", value);
        Ok(())
    }

    /// The connection to the program behind a vhost-user interface. QEMU opens the socket itself, also where it listens,
    /// and waits for the program then.
    pub(super) fn vhost_user_chardev(&mut self, source: &VhostUserSource, alias: &str) -> Result<()> {
        let path = source.path.as_deref().ok_or_else(|| {
            VirtError::new(
                ErrorCode::CONFIG_UNSUPPORTED,
                format_args!("the vhost-user interface '{alias}' has no path of a socket"),
            )
        })?;
        let listens = source.mode == Some(VhostUserMode::Server);
        let props = Props::new()
            .with("path", path)
            .maybe("server", listens.then_some(true))
            .and(self.reconnect(reconnect_seconds(source.reconnect.as_ref())));
        let value = format!("socket,id=char{alias},{}", props.to_key_values(None)?);
        self.command.option("-chardev", value);
        Ok(())
    }

    /// What an encrypted connection of a character device needs; answers the object's id.
    fn chardev_credentials(&mut self, id: &str, listens: bool) -> Result<String> {
        let host = self.host;
        let tls = &host.config.chardev_tls;
        let object = format!("obj{id}_tls0");
        let password = tls
            .secret
            .map(|uuid| (format!("{id}-secret0"), SecretKey::tls(uuid)));
        if let Some((id, key)) = &password {
            self.secret(id, key)?;
        }
        let endpoint = match listens {
            true => TlsEndpoint::Server { verify: tls.verify },
            false => TlsEndpoint::Client,
        };
        self.tls_credentials(&object, &tls.dir, endpoint, password.map(|(id, _)| id));
        Ok(object)
    }

    fn socket_tail(
        &self,
        props: Props,
        telnet: Option<bool>,
        listens: bool,
        reconnect: Option<u64>,
    ) -> Props {
        props
            .maybe("telnet", telnet)
            .maybe("server", listens.then_some(true))
            .maybe("wait", listens.then_some(false))
            .and(self.reconnect(reconnect))
    }

    /// After how long a lost connection is made again.
    fn reconnect(&self, seconds: Option<u64>) -> Props {
        if self.caps.has(Flag::ChardevReconnectMiliseconds) {
            Props::new().maybe(
                "reconnect-ms",
                seconds.map(|seconds| seconds.saturating_mul(1000)),
            )
        } else {
            Props::new().maybe("reconnect", seconds)
        }
    }

    /// A file that QEMU opens itself, or that is opened for it so that somebody else turns it over when it grows.
    fn file_or_fdset(
        &mut self,
        usage: DescriptorUse,
        path: &str,
        append: Option<bool>,
        opaque: &str,
        path_key: &str,
        append_key: &str,
    ) -> Props {
        if !self.host.config.stdio_by_log_daemon {
            return Props::new().with(path_key, path).maybe(append_key, append);
        }
        let number = self.descriptor(usage);
        let set = self.fdset(number, opaque);
        Props::new()
            .with(path_key, format!("/dev/fdset/{set}"))
            .with(append_key, true)
    }

    /// Puts a descriptor into a set of its own; says which.
    pub(super) fn fdset(&mut self, number: i32, opaque: &str) -> u32 {
        let set = self.next_fdset;
        self.next_fdset += 1;
        self.command
            .option("-add-fd", format!("set={set},fd={number},opaque={opaque}"));
        set
    }
}

fn reconnect_seconds(reconnect: Option<&Reconnect>) -> Option<u64> {
    match reconnect?.enabled {
        Some(true) => Some(reconnect?.timeout.unwrap_or(0).into()),
        Some(false) => Some(0),
        None => None,
    }
}
