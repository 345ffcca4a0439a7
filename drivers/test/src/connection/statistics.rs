//! What is counted and measured of a guest. Nothing is: the numbers are made up so that they grow with time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::domain::interface::{Interface, InterfaceSource};
use virt_conf::moment;
use virt_util::typed_param::{TypedParam, TypedParams};
use virt_util::types::params::cpu_stats;
use virt_util::types::{DomainInterfaceAddressesSource, DomainMemoryFlags, DomainMessageType};
use virt_util::{ErrorCode, ErrorDomain, Result};

use super::TestConnection;
use crate::domain::Guest;
use crate::error;
use crate::life;

/// Nanoseconds that all processors of a guest have been busy.
const BUSY: u64 = 48_772_617_035;
/// What every disk of a guest is said to hold, and to take, in bytes.
const CAPACITY: u64 = 1_099_506_450_432;
const ALLOCATION: u64 = 1_099_511_627_776;
/// The most bytes of memory that one call reads.
const PEEK_MAX: u32 = 4 * 1024 * 1024;

fn invalid<T>(what: std::fmt::Arguments<'_>) -> Result<T> {
    Err(error(ErrorCode::INVALID_ARG, what))
}

/// Microseconds since 1970, of which most numbers here are made.
fn ticks() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// The interface of that name or MAC address.
pub(super) fn interface_at(interfaces: &[Interface], device: &str) -> Result<usize> {
    let mac = device.to_ascii_lowercase();
    let found = interfaces.iter().position(|interface| {
        let name = interface.target.as_ref().and_then(|target| target.dev.as_deref());
        let address = interface.mac.address.map(|address| address.to_string());
        name == Some(device) || address.as_deref() == Some(&*mac)
    });
    found.ok_or_else(|| {
        error(
            ErrorCode::INVALID_ARG,
            format_args!("'{device}' is not a known interface: expected its name or its MAC address"),
        )
        .in_domain(ErrorDomain::DOMAIN)
    })
}

impl TestConnection {
    /// The address that a network has for the interface at `place` of a guest.
    fn leased(&self, network: &str, id: i32, place: usize) -> Result<DomainIpAddr> {
        let network = self.world().networks().find_name(network)?.snapshot();
        let definition = network.life.current();
        let Some(ip) = definition.ips.first() else {
            return invalid(format_args!("network '{}' has no <ip>", definition.name));
        };
        let first = ip.dhcp.as_ref().and_then(|dhcp| dhcp.ranges.first());
        let base = first.map_or(ip.address, |range| range.start);
        // Guests and interfaces get addresses of their own as long as they last.
        let guest = u32::try_from(id).unwrap_or(1).saturating_sub(1);
        let offset = guest
            .wrapping_mul(20)
            .wrapping_add(u32::try_from(place).unwrap_or(0))
            .wrapping_add(1);
        let (kind, addr, prefix) = match base {
            IpAddr::V4(address) => {
                let address = Ipv4Addr::from(u32::from(address).wrapping_add(offset));
                let bits = match ip.netmask {
                    Some(IpAddr::V4(mask)) => u32::from(mask).leading_ones(),
                    _ if ip.prefix_length > 0 => ip.prefix_length,
                    _ => 24,
                };
                (0, address.to_string(), bits)
            }
            IpAddr::V6(address) => {
                let address = u128::from(address).wrapping_add(u128::from(offset & 0xff));
                let bits = match ip.prefix_length {
                    0 => 64,
                    bits => bits,
                };
                (1, Ipv6Addr::from(address).to_string(), bits)
            }
        };
        Ok(DomainIpAddr { kind, addr, prefix })
    }
}

fn one_disk(args: &DomainBlockStatsArgs) -> Result<()> {
    if args.path.is_empty() {
        return Err(error(
            ErrorCode::OPERATION_UNSUPPORTED,
            "statistics of all disks together are not supported: name one",
        ));
    }
    Ok(())
}

fn known_source(args: &DomainInterfaceAddressesArgs) -> Result<()> {
    let source = args.source;
    let known =
        i32::try_from(source).is_ok_and(|source| DomainInterfaceAddressesSource(source).name().is_some());
    if !known {
        return Err(error(
            ErrorCode::ARGUMENT_UNSUPPORTED,
            format_args!("unknown source of addresses {source}: expected 0 to 2"),
        ));
    }
    Ok(())
}

fn one_space(args: &DomainMemoryPeekArgs) -> Result<()> {
    type Space = DomainMemoryFlags;
    let flags = args.flags;
    if ![Space::VIRTUAL.bits(), Space::PHYSICAL.bits()].contains(&flags) {
        return invalid(format_args!(
            "flags {flags:#x}: expected either virtual (1) or physical (2) memory"
        ));
    }
    Ok(())
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[inline_safe]
    #[flags("testDomainGetMessages", DomainMessageType::all().bits())]
    fn domain_get_messages(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetMessagesReply> {
        let snapshot = domain.handle::<Guest>()?.snapshot();
        let msgs = snapshot.state.lasting.messages.texts(flags.into());
        Ok(DomainGetMessagesReply { msgs })
    }

    #[inline_safe]
    #[first(one_disk)]
    fn domain_block_stats(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        path: String,
    ) -> Result<DomainBlockStatsReply> {
        let snapshot = life::active(domain.handle::<Guest>()?)?;
        if moment::disk_by_name(&snapshot.life.current().domain, &path).is_none() {
            return invalid(format_args!(
                "invalid path: {path}: no disk has this target or source"
            ));
        }
        let ticks = ticks();
        Ok(DomainBlockStatsReply {
            rd_req: ticks / 10,
            rd_bytes: ticks / 20,
            wr_req: ticks / 30,
            wr_bytes: ticks / 40,
            errs: ticks / 2_000_000,
        })
    }

    #[inline_safe]
    #[flags("testDomainGetBlockInfo", 0)]
    fn domain_get_block_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        path: String,
        _: u32,
    ) -> Result<DomainGetBlockInfoReply> {
        let snapshot = domain.handle::<Guest>()?.snapshot();
        let definition = &snapshot.life.current().domain;
        let found = moment::disk_by_name(definition, &path);
        let Some(disk) = found.and_then(|place| definition.devices.disks.get(place)) else {
            return invalid(format_args!("invalid path {path} not assigned to domain"));
        };
        if disk.is_empty() {
            return invalid(format_args!(
                "disk '{path}' does not currently have a source assigned"
            ));
        }
        Ok(DomainGetBlockInfoReply {
            allocation: ALLOCATION,
            capacity: CAPACITY,
            physical: ALLOCATION,
        })
    }

    #[inline_safe]
    #[flags("testDomainGetDiskErrors", 0)]
    fn domain_get_disk_errors(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        maxerrors: u32,
        _: u32,
    ) -> Result<DomainGetDiskErrorsReply> {
        let snapshot = life::active(domain.handle::<Guest>()?)?;
        let disks = &snapshot.life.current().domain.devices.disks;
        let most = usize::try_from(maxerrors).unwrap_or(usize::MAX);
        let errors: Vec<_> = disks
            .iter()
            .take(most)
            .zip([1, 2].into_iter().cycle())
            .map(|(disk, error)| DomainDiskError {
                disk: disk.target.dev.clone(),
                error,
            })
            .collect();
        // Asked for none, the call tells how many there are.
        let count = if maxerrors == 0 { disks.len() } else { errors.len() };
        Ok(DomainGetDiskErrorsReply {
            errors,
            nerrors: i32::try_from(count).unwrap_or(i32::MAX),
        })
    }

    #[inline_safe]
    fn domain_interface_stats(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        device: String,
    ) -> Result<DomainInterfaceStatsReply> {
        let snapshot = life::active(domain.handle::<Guest>()?)?;
        interface_at(&snapshot.life.current().domain.devices.interfaces, &device)?;
        let ticks = ticks();
        Ok(DomainInterfaceStatsReply {
            rx_bytes: ticks / 10,
            rx_packets: ticks / 100,
            rx_errs: ticks / 1_000_000,
            rx_drop: ticks / 2_000_000,
            tx_bytes: ticks / 20,
            tx_packets: ticks / 110,
            tx_errs: ticks / 3_000_000,
            tx_drop: ticks / 4_000_000,
        })
    }

    #[inline_safe]
    #[flags("testDomainInterfaceAddresses", 0)]
    #[first(known_source)]
    fn domain_interface_addresses(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
        _: u32,
    ) -> Result<DomainInterfaceAddressesReply> {
        let snapshot = life::active(domain.handle::<Guest>()?)?;
        let mut interfaces = Vec::new();
        let all = &snapshot.life.current().domain.devices.interfaces;
        for (place, interface) in all.iter().enumerate() {
            let address = match &interface.source {
                InterfaceSource::Network { network, .. } => self.leased(network, snapshot.state.id, place)?,
                _ => DomainIpAddr {
                    kind: 0,
                    addr: format!("192.168.0.{}", place.saturating_add(1)),
                    prefix: 24,
                },
            };
            let name = interface.target.as_ref().and_then(|target| target.dev.clone());
            interfaces.push(DomainInterface {
                name: name.unwrap_or_default(),
                hwaddr: interface.mac.address.map(|address| address.to_string()),
                addrs: vec![address],
            });
        }
        Ok(DomainInterfaceAddressesReply { interfaces })
    }

    #[inline_safe]
    #[flags("testDomainGetCPUStats", 0)]
    fn domain_get_cpu_stats(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        nparams: u32,
        start_cpu: i32,
        ncpus: u32,
        _: u32,
    ) -> Result<DomainGetCpuStatsReply> {
        life::active(domain.handle::<Guest>()?)?;
        let most = usize::try_from(nparams).unwrap_or(usize::MAX);
        let answer = |params: Vec<TypedParam>, count: usize| {
            Ok(DomainGetCpuStatsReply {
                params: TypedParams(params),
                nparams: i32::try_from(count).unwrap_or(i32::MAX),
            })
        };
        if start_cpu == -1 {
            let stats = [
                (cpu_stats::CPUTIME, BUSY),
                (cpu_stats::USERTIME, 5_540_000_000),
                (cpu_stats::SYSTEMTIME, 6_460_000_000),
            ];
            let count = if most == 0 { 3 } else { most.min(3) };
            let stats = stats.into_iter().take(most);
            return answer(
                stats.map(|(name, value)| TypedParam::new(name, value)).collect(),
                count,
            );
        }
        let all = self.world().node().cores;
        if ncpus == 0 {
            return answer(Vec::new(), usize::try_from(all).unwrap_or(usize::MAX));
        }
        if most == 0 {
            return answer(Vec::new(), 2);
        }
        let Some(first) = u32::try_from(start_cpu).ok().filter(|first| *first < all) else {
            return invalid(format_args!(
                "start_cpu {start_cpu} larger than maximum of {}",
                all.saturating_sub(1)
            ));
        };
        let each = BUSY / u64::from(all);
        let of_cpu = |cpu: u32| {
            let time = each.saturating_add(cpu.into());
            let both = [
                TypedParam::new(cpu_stats::CPUTIME, time),
                TypedParam::new(cpu_stats::VCPUTIME, time.saturating_sub(1_234_567_890)),
            ];
            both.into_iter().take(most)
        };
        let last = all.min(first.saturating_add(ncpus));
        answer((first..last).flat_map(of_cpu).collect(), most.min(2))
    }

    #[inline_safe]
    #[flags("testDomainMemoryPeek", DomainMemoryFlags::all().bits())]
    #[first(one_space)]
    fn domain_memory_peek(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        offset: u64,
        size: u32,
        _: u32,
    ) -> Result<DomainMemoryPeekReply> {
        life::active(domain.handle::<Guest>()?)?;
        if size > PEEK_MAX {
            return invalid(format_args!(
                "{size} bytes are too many: expected at most {PEEK_MAX}"
            ));
        }
        // Each byte of a simulated memory is its own address.
        let [first, ..] = offset.to_le_bytes();
        let buffer = (first..=u8::MAX).chain((0..=u8::MAX).cycle());
        Ok(DomainMemoryPeekReply {
            buffer: buffer.take(usize::try_from(size).unwrap_or(0)).collect(),
        })
    }

    #[inline_safe]
    #[flags("testDomainGetLaunchSecurityInfo", 0)]
    fn domain_get_launch_security_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        _: u32,
    ) -> Result<DomainGetLaunchSecurityInfoReply> {
        domain.handle::<Guest>()?;
        let params = TypedParams::new();
        Ok(DomainGetLaunchSecurityInfoReply { params })
    }
}
