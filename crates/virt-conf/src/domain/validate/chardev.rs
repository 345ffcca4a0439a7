//! Character devices: what each kind of connection needs.

use virt_util::{ErrorCode, Result, VirtError};

use super::unsupported;
use crate::domain::chardev::{
    Channel, ChannelTarget, ChardevSource, Reconnect, Smartcard, SmartcardSource, SourceMode,
};
use crate::domain::device_info::Address;

fn missing(what: &str) -> VirtError {
    VirtError::internal(format_args!("Missing source {what} attribute for char device"))
}

/// A connection that waits for others is never lost.
fn reconnects(mode: SourceMode, reconnect: &Option<Reconnect>) -> Result<()> {
    let enabled = reconnect
        .as_ref()
        .is_some_and(|reconnect| reconnect.enabled.is_some());
    if mode == SourceMode::Bind && enabled {
        return Err(VirtError::internal(
            "<reconnect> is for mode 'connect', not 'bind'",
        ));
    }
    Ok(())
}

fn channel_name(name: &Option<String>) -> Result<()> {
    let Some(name) = name else {
        return Err(unsupported("type 'spiceport' needs <source channel='…'/>"));
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !name.bytes().all(valid) {
        let what = format!(
            "Invalid character in source channel '{name}' for char device: letters, digits, '_-.' are allowed"
        );
        return Err(VirtError::new(ErrorCode::INVALID_ARG, what));
    }
    Ok(())
}

/// `named_by_driver`: the driver chooses the path of a socket that has none.
pub(super) fn validate(source: &ChardevSource, named_by_driver: bool) -> Result<()> {
    match source {
        ChardevSource::File { path: None, .. }
        | ChardevSource::Dev { path: None, .. }
        | ChardevSource::Pipe { path: None, .. } => Err(missing("path")),
        ChardevSource::Nmdm { master, slave } if master.is_some() != slave.is_some() => {
            Err(VirtError::internal("type 'nmdm' needs both 'master' and 'slave'"))
        }
        ChardevSource::Tcp(tcp) => match (&tcp.host, &tcp.service) {
            (None, _) => Err(missing("host")),
            (_, None) => Err(missing("service")),
            _ => reconnects(tcp.mode, &tcp.reconnect),
        },
        ChardevSource::Udp(udp) if udp.connect.service.is_none() => Err(missing("service")),
        ChardevSource::Unix(unix) => {
            if unix.path.is_none() && !named_by_driver {
                return Err(missing("path"));
            }
            reconnects(unix.mode, &unix.reconnect)
        }
        ChardevSource::Spiceport { channel } | ChardevSource::Dbus { channel } => channel_name(channel),
        _ => Ok(()),
    }
}

pub(super) fn validate_channel(channel: &Channel) -> Result<()> {
    let named_by_driver = matches!(
        channel.target,
        ChannelTarget::Virtio { .. } | ChannelTarget::Xen { .. }
    );
    validate(&channel.host.source, named_by_driver)
}

pub(super) fn validate_smartcard(card: &Smartcard) -> Result<()> {
    if !matches!(card.info.address, None | Some(Address::Ccid(_))) {
        return Err(unsupported("a smartcard takes an address of type 'ccid' only"));
    }
    match &card.source {
        SmartcardSource::Passthrough(host) => validate(&host.source, false),
        _ => Ok(()),
    }
}
