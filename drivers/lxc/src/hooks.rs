//! What the driver adds to the definition of a container.

use virt_conf::domain::chardev::ConsoleTargetType;
use virt_conf::domain::normalize::{DeviceRef, DomainHooks, NormalizeContext};
use virt_conf::domain::os::OsType;
use virt_conf::domain::{Domain, VirtType};
use virt_util::{ErrorCode, Result, VirtError};

/// Containers of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LxcGuest {
    /// The architecture.
    pub arch: String,
    /// The program that watches over a container.
    pub emulator: String,
}

/// The driver's part of normalizing.
#[derive(Clone, Copy, Debug)]
pub struct LxcHooks<'a> {
    /// Architecture of the host.
    pub host_arch: &'a str,
    /// What the host runs; its own architecture first.
    pub guests: &'a [LxcGuest],
}

impl DomainHooks for LxcHooks<'_> {
    fn default_arch(&self) -> Option<String> {
        Some(self.host_arch.to_owned())
    }

    fn domain(&self, domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        let kind = &domain.os.kind;
        let arch = kind.arch.as_deref();
        let guest = self
            .guests
            .iter()
            .find(|guest| arch.is_none_or(|arch| arch == guest.arch))
            .filter(|_| kind.os == OsType::Exe && domain.virt_type == VirtType::Lxc);
        let guest = guest.ok_or_else(|| {
            VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "could not find capabilities for domaintype={} ostype={} arch={}: containers have type 'lxc' and \
                     ostype 'exe'",
                    domain.virt_type,
                    kind.os,
                    arch.unwrap_or_default()
                ),
            )
        })?;
        domain
            .devices
            .emulator
            .get_or_insert_with(|| guest.emulator.clone());
        Ok(())
    }

    fn device(&self, domain: &mut Domain, device: DeviceRef, _cx: &NormalizeContext<'_>) -> Result<()> {
        if let DeviceRef::Console(at) = device
            && let Some(console) = domain.devices.consoles.get_mut(at)
            && console.target_type == ConsoleTargetType::None
        {
            console.target_type = ConsoleTargetType::Lxc;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virt_conf::domain::normalize::{NormalizeFlags, SystemRandomness, normalize};
    use virt_util::xml::XmlFlags;

    fn complete(os: &str) -> Result<Domain> {
        let guests = ["x86_64", "i686"].map(|arch| LxcGuest {
            arch: arch.to_owned(),
            emulator: format!("/{arch}"),
        });
        let hooks = LxcHooks {
            host_arch: "x86_64",
            guests: &guests,
        };
        let text = format!(
            "<domain type='lxc'><name>a</name><memory>4096</memory><os>{os}<init>/i</init></os>\
             <devices><console type='pty'/></devices></domain>"
        );
        let mut domain = Domain::parse(&text, XmlFlags::INACTIVE, "a")?;
        let cx = NormalizeContext {
            flags: NormalizeFlags::INACTIVE,
            random: &SystemRandomness,
        };
        normalize(&mut domain, &hooks, &cx)?;
        Ok(domain)
    }

    #[test]
    fn containers_get_their_watcher_and_console() {
        let domain = complete("<type>exe</type>").unwrap();
        assert_eq!(domain.devices.emulator.as_deref(), Some("/x86_64"));
        assert_eq!(domain.devices.consoles[0].target_type, ConsoleTargetType::Lxc);
        let domain = complete("<type arch='i686'>exe</type>").unwrap();
        assert_eq!(domain.devices.emulator.as_deref(), Some("/i686"));
    }

    #[test]
    fn machines_are_no_containers() {
        assert_eq!(
            complete("<type>hvm</type>").unwrap_err().code(),
            ErrorCode::INVALID_ARG
        );
        let error = complete("<type arch='s390x'>exe</type>").unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_ARG);
    }
}
