//! Which processors of the host a guest's threads run on.

use std::time::{SystemTime, UNIX_EPOCH};

use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::remote::*;
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::domain::Domain as Definition;
use virt_conf::domain::tune::IoThread;
use virt_conf::values::CpuSet;
use virt_util::bitmap::Bitmap;
use virt_util::typed_param::{TypedParams, TypedValue};
use virt_util::types::params::iothread;
use virt_util::types::{DomainModificationImpact, VcpuState};
use virt_util::{ErrorCode, Result};

use super::{TestConnection, of_definitions, one_definition};
use crate::changes::edit_one;
use crate::domain::{Guest, Polling};
use crate::error;

const IMPACT: u32 = DomainModificationImpact::all().bits();

fn invalid<T>(what: std::fmt::Arguments<'_>) -> Result<T> {
    Err(error(ErrorCode::INVALID_ARG, what))
}

/// As many bytes of a set as the caller has room for.
fn bytes(set: &Bitmap, room: i32) -> Vec<u8> {
    let mut bytes = set.to_bytes();
    bytes.resize(usize::try_from(room).unwrap_or(0), 0);
    bytes
}

/// A set that is not empty.
fn pinned(cpumap: &[u8]) -> Result<CpuSet> {
    let set = Bitmap::from_bytes(cpumap);
    if set.is_empty() {
        return invalid(format_args!(
            "empty cpu list for pinning: expected one CPU at least"
        ));
    }
    Ok(CpuSet(set))
}

/// The host's processors that a thread may use that has `own`.
fn allowed<'a>(definition: &'a Definition, own: Option<&'a CpuSet>, all: &'a Bitmap) -> &'a Bitmap {
    let set = own.or(definition.vcpus.cpuset.as_ref());
    set.map_or(all, |set| &set.0)
}

fn thread_number(id: u32) -> Result<()> {
    match id {
        0 => invalid(format_args!(
            "I/O threads are counted from 1: there is none of number 0"
        )),
        _ => Ok(()),
    }
}

fn thread_to_add(args: &DomainAddIothreadArgs) -> Result<()> {
    thread_number(args.iothread_id)
}

fn thread_to_remove(args: &DomainDelIothreadArgs) -> Result<()> {
    thread_number(args.iothread_id)
}

fn thread_to_change(args: &DomainSetIothreadParamsArgs) -> Result<()> {
    thread_number(args.iothread_id)
}

/// The thread of that number, which must be there.
fn thread_at(definition: &Definition, id: u32) -> Result<usize> {
    let place = definition.iothreads.iter().position(|thread| thread.id == id);
    place.ok_or_else(|| {
        error(
            ErrorCode::INVALID_ARG,
            format_args!("cannot find IOThread '{id}' in <iothreadids>"),
        )
    })
}

/// What uses a thread, and keeps it from being removed.
fn user_of(definition: &Definition, id: u32) -> Option<String> {
    let devices = &definition.devices;
    let disk = devices.disks.iter().find(|disk| {
        let driver = &disk.driver;
        driver.iothread == id || driver.iothreads.iter().any(|mapping| mapping.id == id)
    });
    if let Some(disk) = disk {
        return Some(format!("disk '{}'", disk.target.dev));
    }
    let controller = devices.controllers.iter().any(|controller| {
        let driver = controller.driver.as_ref();
        driver.is_some_and(|driver| {
            driver.iothread == id || driver.iothreads.iter().any(|mapping| mapping.id == id)
        })
    });
    controller.then(|| "a controller".to_owned())
}

/// Sets how a thread polls; `None` forgets it.
fn poll(guest: &Guest, id: u32, polling: Option<Polling>) {
    guest.publish(|published| {
        let known = &mut published.state.lasting_mut().polling;
        known.retain(|known| known.id != id || polling.is_some());
        let Some(polling) = polling else { return };
        match known.iter_mut().find(|known| known.id == id) {
            Some(known) => *known = polling,
            None => known.push(polling),
        }
    });
}

impl TestConnection {
    /// The processors of the host.
    fn processors(&self) -> Bitmap {
        let node = self.world().node();
        let count = [node.nodes, node.sockets, node.cores, node.threads]
            .into_iter()
            .fold(1, u32::saturating_mul);
        (0..usize::try_from(count.min(16_384)).unwrap_or(0)).collect()
    }
}

#[virt_api::implements(part)]
impl HypervisorDriver for TestConnection {
    #[inline_safe]
    fn domain_get_vcpus(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        maxinfo: i32,
        maplen: i32,
    ) -> Result<DomainGetVcpusReply> {
        let snapshot = domain.handle::<Guest>()?.snapshot();
        if !snapshot.is_active() {
            return Err(error(
                ErrorCode::OPERATION_INVALID,
                "cannot list vcpus for an inactive domain",
            ));
        }
        let definition = snapshot.life.current();
        let all = self.processors();
        let most = u32::try_from(maxinfo).unwrap_or(0).min(definition.vcpus());
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let cpu_time = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX) / 10;
        let (mut info, mut cpumaps) = (Vec::new(), Vec::new());
        for number in 0..most {
            let tune = definition.domain.cpu_tune.as_ref();
            let own = tune.and_then(|tune| tune.vcpu_pin.get(&number));
            let set = allowed(&definition.domain, own, &all);
            cpumaps.extend(bytes(set, maplen));
            info.push(VcpuInfo {
                number,
                state: VcpuState::RUNNING.0,
                cpu_time,
                cpu: set.last().and_then(|last| i32::try_from(last).ok()).unwrap_or(-1),
            });
        }
        Ok(DomainGetVcpusReply { info, cpumaps })
    }

    fn domain_pin_vcpu(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        vcpu: u32,
        cpumap: Vec<u8>,
    ) -> Result<()> {
        self.domain_pin_vcpu_flags(cx, domain, vcpu, cpumap, 0)
    }

    #[flags("testDomainPinVcpuFlags", 0)]
    fn domain_pin_vcpu_flags(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        vcpu: u32,
        cpumap: Vec<u8>,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainPinVcpuFlags", |_, guest| {
            if !guest.snapshot().is_active() {
                return Err(error(
                    ErrorCode::OPERATION_INVALID,
                    "cannot pin vcpus on an inactive domain",
                ));
            }
            edit_one(guest, flags, |definition| {
                if vcpu >= definition.vcpus() {
                    return invalid(format_args!(
                        "requested vcpu '{vcpu}' is not present in the domain"
                    ));
                }
                let pins = &mut definition.domain.cpu_tune.get_or_insert_default().vcpu_pin;
                pins.insert(vcpu, CpuSet(Bitmap::from_bytes(&cpumap)));
                Ok(())
            })
        })
    }

    #[inline_safe]
    fn domain_get_vcpu_pin_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        ncpumaps: i32,
        maplen: i32,
        flags: u32,
    ) -> Result<DomainGetVcpuPinInfoReply> {
        let definition = one_definition(&domain, flags)?;
        let all = self.processors();
        let most = u32::try_from(ncpumaps).unwrap_or(0).min(definition.max_vcpus());
        let tune = definition.domain.cpu_tune.as_ref();
        let map_of = |vcpu: u32| {
            let own = tune.and_then(|tune| tune.vcpu_pin.get(&vcpu));
            bytes(allowed(&definition.domain, own, &all), maplen)
        };
        Ok(DomainGetVcpuPinInfoReply {
            cpumaps: (0..most).flat_map(map_of).collect(),
            num: i32::try_from(most).unwrap_or(i32::MAX),
        })
    }

    #[flags("testDomainPinEmulator", IMPACT)]
    fn domain_pin_emulator(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        cpumap: Vec<u8>,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainPinEmulator", |_, guest| {
            edit_one(guest, flags, |definition| {
                let tune = definition.domain.cpu_tune.get_or_insert_default();
                tune.emulator_pin = Some(pinned(&cpumap)?);
                Ok(())
            })
        })
    }

    #[inline_safe]
    #[flags("testDomainGetEmulatorPinInfo", IMPACT)]
    fn domain_get_emulator_pin_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        maplen: i32,
        flags: u32,
    ) -> Result<DomainGetEmulatorPinInfoReply> {
        let definition = one_definition(&domain, flags)?;
        let all = self.processors();
        let tune = definition.domain.cpu_tune.as_ref();
        let own = tune.and_then(|tune| tune.emulator_pin.as_ref());
        Ok(DomainGetEmulatorPinInfoReply {
            cpumaps: bytes(allowed(&definition.domain, own, &all), maplen),
            ret: 1,
        })
    }

    #[inline_safe]
    #[flags("testDomainGetIOThreadInfo", IMPACT)]
    fn domain_get_iothread_info(
        &self,
        _: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        flags: u32,
    ) -> Result<DomainGetIothreadInfoReply> {
        let definition = one_definition(&domain, flags)?;
        // libvirt's simulator takes the guest's processors for the host's here.
        let all: Bitmap = (0..usize::try_from(definition.vcpus()).unwrap_or(0)).collect();
        let tune = definition.domain.cpu_tune.as_ref();
        let about = |thread: &IoThread| {
            let own = tune.and_then(|tune| tune.iothread_pin.get(&thread.id));
            DomainIoThreadInfo {
                iothread_id: thread.id,
                cpumap: allowed(&definition.domain, own, &all).to_bytes(),
            }
        };
        let info: Vec<_> = definition.domain.iothreads.iter().map(about).collect();
        Ok(DomainGetIothreadInfoReply {
            ret: u32::try_from(info.len()).unwrap_or(u32::MAX),
            info,
        })
    }

    #[flags("testDomainAddIOThread", IMPACT)]
    #[first(thread_to_add)]
    fn domain_add_iothread(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        iothread_id: u32,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainAddIOThread", |_, guest| {
            edit_one(guest, flags, |definition| {
                let domain = &mut definition.domain;
                if domain.iothreads.iter().any(|thread| thread.id == iothread_id) {
                    return invalid(format_args!(
                        "an IOThread is already using iothread_id '{iothread_id}'"
                    ))
                    .map_err(of_definitions);
                }
                domain.iothreads.push(IoThread {
                    id: iothread_id,
                    ..IoThread::default()
                });
                domain.iothread_count = u32::try_from(domain.iothreads.len()).unwrap_or(u32::MAX);
                Ok(())
            })?;
            poll(guest, iothread_id, Some(Polling::of(iothread_id)));
            Ok(())
        })
    }

    #[flags("testDomainDelIOThread", IMPACT)]
    #[first(thread_to_remove)]
    fn domain_del_iothread(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        iothread_id: u32,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainDelIOThread", |_, guest| {
            edit_one(guest, flags, |definition| {
                let domain = &mut definition.domain;
                let place = thread_at(domain, iothread_id).map_err(of_definitions)?;
                if let Some(user) = user_of(domain, iothread_id) {
                    return invalid(format_args!(
                        "cannot remove IOThread {iothread_id} since it is being used by {user}"
                    ))
                    .map_err(of_definitions);
                }
                domain.iothreads.remove(place);
                domain.iothread_count = u32::try_from(domain.iothreads.len()).unwrap_or(u32::MAX);
                if let Some(tune) = &mut domain.cpu_tune {
                    tune.iothread_pin.remove(&iothread_id);
                    tune.iothread_scheduler.remove(&iothread_id);
                }
                Ok(())
            })?;
            poll(guest, iothread_id, None);
            Ok(())
        })
    }

    #[flags("testDomainPinIOThread", IMPACT)]
    fn domain_pin_iothread(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        iothreads_id: u32,
        cpumap: Vec<u8>,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainPinIOThread", |_, guest| {
            edit_one(guest, flags, |definition| {
                let set = pinned(&cpumap)?;
                let domain = &mut definition.domain;
                let place = thread_at(domain, iothreads_id)?;
                if let Some(thread) = domain.iothreads.get_mut(place) {
                    thread.autofill = false;
                }
                let pins = &mut domain.cpu_tune.get_or_insert_default().iothread_pin;
                pins.insert(iothreads_id, set);
                Ok(())
            })
        })
    }

    #[flags("testDomainSetIOThreadParams", DomainModificationImpact::LIVE.bits())]
    #[first(thread_to_change)]
    fn domain_set_iothread_params(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        iothread_id: u32,
        params: TypedParams,
        flags: u32,
    ) -> Result<()> {
        self.change(cx, &domain, "virDomainSetIOThreadParams", |_, guest| {
            let snapshot = guest.snapshot();
            let (definition, _) = snapshot.one_definition(flags)?;
            thread_at(&definition.domain, iothread_id)?;
            params.check(&[
                (iothread::POLL_MAX_NS, TypedValue::ULLong(0)),
                (iothread::POLL_GROW, TypedValue::UInt(0)),
                (iothread::POLL_SHRINK, TypedValue::UInt(0)),
            ])?;
            let known = &snapshot.state.lasting.polling;
            let known = known.iter().find(|known| known.id == iothread_id);
            let mut polling = known.copied().unwrap_or(Polling::of(iothread_id));
            polling.max_ns = params.get_u64(iothread::POLL_MAX_NS)?.unwrap_or(polling.max_ns);
            polling.grow = params.get_u32(iothread::POLL_GROW)?.unwrap_or(polling.grow);
            polling.shrink = params.get_u32(iothread::POLL_SHRINK)?.unwrap_or(polling.shrink);
            poll(guest, iothread_id, Some(polling));
            Ok(())
        })
    }
}
