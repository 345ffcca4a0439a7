//! What OpenVZ adds to the definition of a container.

use virt_conf::domain::chardev::ConsoleTargetType;
use virt_conf::domain::hostdev::HostdevPass;
use virt_conf::domain::normalize::{DeviceRef, DomainFeatures, DomainHooks, NormalizeContext};
use virt_conf::domain::os::OsType;
use virt_conf::domain::video::VideoModelType;
use virt_conf::domain::{Domain, VirtType};
use virt_util::{ErrorCode, Result, VirtError};

/// The driver's part of normalizing.
#[derive(Clone, Copy, Debug)]
pub struct OpenvzHooks<'a> {
    /// Architecture of the host, which is that of its containers.
    pub host_arch: &'a str,
}

impl DomainHooks for OpenvzHooks<'_> {
    fn features(&self) -> DomainFeatures {
        // A container without a limit has all the host's memory.
        DomainFeatures::NAME_SLASH | DomainFeatures::UNLIMITED_MEMORY
    }

    fn default_arch(&self) -> Option<String> {
        Some(self.host_arch.to_owned())
    }

    fn domain(&self, domain: &mut Domain, _cx: &NormalizeContext<'_>) -> Result<()> {
        let kind = &domain.os.kind;
        let arch = kind.arch.as_deref();
        let known = kind.os == OsType::Exe
            && domain.virt_type == VirtType::Openvz
            && arch.is_none_or(|arch| arch == self.host_arch);
        if !known {
            return Err(VirtError::new(
                ErrorCode::INVALID_ARG,
                format_args!(
                    "could not find capabilities for domaintype={} ostype={} arch={}: containers have type 'openvz', ostype \
                     'exe' and arch '{}'",
                    domain.virt_type,
                    kind.os,
                    arch.unwrap_or_default(),
                    self.host_arch
                ),
            ));
        }
        domain.os.init.get_or_insert_with(|| "/sbin/init".to_owned());
        Ok(())
    }

    fn device(&self, domain: &mut Domain, device: DeviceRef, _cx: &NormalizeContext<'_>) -> Result<()> {
        let virt_type = domain.virt_type;
        match device {
            DeviceRef::Console(at) => {
                if let Some(console) = domain.devices.consoles.get_mut(at)
                    && console.target_type == ConsoleTargetType::None
                {
                    console.target_type = ConsoleTargetType::Openvz;
                }
            }
            DeviceRef::Hostdev(at) => {
                if let Some(HostdevPass::Capabilities(_)) =
                    domain.devices.hostdevs.get(at).map(|hostdev| &hostdev.mode)
                {
                    return Err(VirtError::new(
                        ErrorCode::CONFIG_UNSUPPORTED,
                        format_args!("<hostdev mode='capabilities'> is not for guests of type '{virt_type}'"),
                    ));
                }
            }
            DeviceRef::Video(at) => {
                if let Some(video) = domain.devices.videos.get_mut(at)
                    && video.model.kind == VideoModelType::Default
                {
                    video.model.kind = VideoModelType::Parallels;
                }
            }
            _ => {}
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
        let text = format!(
            "<domain type='openvz'><name>1/2</name><memory>4096</memory><os><type>{os}</type></os>\
             <devices><console type='pty'/></devices></domain>"
        );
        let mut domain = Domain::parse(&text, XmlFlags::INACTIVE, "a")?;
        let cx = NormalizeContext {
            flags: NormalizeFlags::INACTIVE,
            random: &SystemRandomness,
        };
        normalize(&mut domain, &OpenvzHooks { host_arch: "x86_64" }, &cx)?;
        Ok(domain)
    }

    #[test]
    fn containers_are_completed_and_machines_refused() {
        let domain = complete("exe").unwrap();
        assert_eq!(domain.os.init.as_deref(), Some("/sbin/init"));
        assert_eq!(domain.devices.consoles[0].target_type, ConsoleTargetType::Openvz);
        assert_eq!(complete("hvm").unwrap_err().code(), ErrorCode::INVALID_ARG);
    }
}
