//! What a search for pools finds: made up, and always the same.

use virt_conf::storage_pool::{PoolDevice, PoolFormat, PoolHost, PoolSource, PoolType, format_sources};
use virt_util::{ErrorCode, Result};

use crate::error;

/// The sources for pools of type `kind`, as a document; `spec` is one that says where to look.
pub(super) fn find_sources(kind: &str, spec: Option<&str>) -> Result<String> {
    // The codes are libvirt's, odd as they are: its simulator takes the first type for none.
    let refused = |code| {
        let what = format_args!("pools of type '{kind}' are not searched for: expected 'netfs' or 'iscsi'");
        Err(error(code, what))
    };
    let pool = PoolType::from_word(kind);
    let source = match spec {
        None => None,
        Some(text) => {
            let read_as = pool.unwrap_or(PoolType::Dir);
            Some(PoolSource::parse(
                text,
                read_as,
                "(storage_source_specification)",
            )?)
        }
    };
    let Some(pool) = pool else {
        return refused(ErrorCode::NO_SUPPORT);
    };
    let sources = match pool {
        PoolType::Logical => [("testvg1", "/dev/sda20"), ("testvg2", "/dev/sda21")]
            .map(|(group, device)| PoolSource {
                devices: vec![PoolDevice {
                    path: device.to_owned(),
                    ..PoolDevice::default()
                }],
                name: Some(group.to_owned()),
                format: Some(PoolFormat::Lvm2),
                ..PoolSource::default()
            })
            .to_vec(),
        PoolType::Netfs => {
            let host = source.and_then(|source| source.hosts.into_iter().next());
            let Some(host) = host.filter(|host| !host.name.is_empty()) else {
                return Err(error(
                    ErrorCode::INVALID_ARG,
                    "sources of type 'netfs' need the <host> that has them",
                ));
            };
            vec![PoolSource {
                hosts: vec![PoolHost {
                    name: host.name,
                    ..PoolHost::default()
                }],
                dir: Some("/testshare".to_owned()),
                format: Some(PoolFormat::Nfs),
                ..PoolSource::default()
            }]
        }
        PoolType::Dir => return refused(ErrorCode::INTERNAL_ERROR),
        _ => return refused(ErrorCode::NO_SUPPORT),
    };
    Ok(format_sources(&sources))
}
