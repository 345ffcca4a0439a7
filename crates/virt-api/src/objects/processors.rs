//! A domain's processors, I/O threads, scheduler and statistics.

use super::{Connect, Domain};
use virt_util::Result;
use virt_util::error::ErrorLevel;
use virt_util::typed_param::TypedParams;
use virt_util::types::{DomainMemoryModFlags, DomainModificationImpact};
use virt_util::{ErrorCode, ErrorDomain, VirtError};

impl Domain {
    /// Sets how many virtual CPUs it has; without flags through the older call.
    pub fn set_vcpus(&self, count: u32, flags: Option<u32>) -> Result<()> {
        let remote = self.connection().remote();
        match flags {
            None => remote.domain_set_vcpus(&self.reference(), count),
            Some(flags) => remote.domain_set_vcpus_flags(&self.reference(), count, flags),
        }
    }

    /// Sets on which CPUs of the host a virtual CPU runs, as bits; without flags through the older call.
    pub fn pin_vcpu(&self, vcpu: u32, cpus: &[u8], flags: Option<DomainModificationImpact>) -> Result<()> {
        let remote = self.connection().remote();
        match flags {
            None => remote.domain_pin_vcpu(&self.reference(), vcpu, cpus),
            Some(flags) => remote.domain_pin_vcpu_flags(&self.reference(), vcpu, cpus, flags.bits()),
        }
    }

    /// On which CPUs of the host its first `count` virtual CPUs run: `room` bytes of bits for each.
    pub fn vcpu_pins(&self, count: i32, room: i32, flags: DomainModificationImpact) -> Result<Vec<u8>> {
        let remote = self.connection().remote();
        let reply = remote.domain_get_vcpu_pin_info(&self.reference(), count, room, flags.bits())?;
        Ok(reply.cpumaps)
    }

    /// Sets on which CPUs of the host the emulator's threads run, as bits.
    pub fn pin_emulator(&self, cpus: &[u8], flags: DomainModificationImpact) -> Result<()> {
        let remote = self.connection().remote();
        remote.domain_pin_emulator(&self.reference(), cpus, flags.bits())
    }

    /// On which CPUs of the host the emulator's threads run: `room` bytes of bits.
    pub fn emulator_pin(&self, room: i32, flags: DomainModificationImpact) -> Result<Vec<u8>> {
        let remote = self.connection().remote();
        let reply = remote.domain_get_emulator_pin_info(&self.reference(), room, flags.bits())?;
        Ok(reply.cpumaps)
    }

    /// Its I/O threads: their numbers, and on which CPUs of the host they run, as bits.
    pub fn iothreads(&self, flags: DomainModificationImpact) -> Result<Vec<(u32, Vec<u8>)>> {
        let remote = self.connection().remote();
        let reply = remote.domain_get_iothread_info(&self.reference(), flags.bits())?;
        let threads = reply.info.into_iter();
        Ok(threads
            .map(|thread| (thread.iothread_id, thread.cpumap))
            .collect())
    }

    /// Gives it an I/O thread of that number.
    pub fn add_iothread(&self, id: u32, flags: DomainModificationImpact) -> Result<()> {
        let remote = self.connection().remote();
        remote.domain_add_iothread(&self.reference(), id, flags.bits())
    }

    /// Takes the I/O thread of that number from it.
    pub fn remove_iothread(&self, id: u32, flags: DomainModificationImpact) -> Result<()> {
        let remote = self.connection().remote();
        remote.domain_del_iothread(&self.reference(), id, flags.bits())
    }

    /// Sets on which CPUs of the host an I/O thread runs, as bits.
    pub fn pin_iothread(&self, id: u32, cpus: &[u8], flags: DomainModificationImpact) -> Result<()> {
        let remote = self.connection().remote();
        remote.domain_pin_iothread(&self.reference(), id, cpus, flags.bits())
    }

    /// Sets how an I/O thread polls.
    pub fn set_iothread(&self, id: u32, params: &TypedParams, flags: DomainModificationImpact) -> Result<()> {
        let remote = self.connection().remote();
        remote.domain_set_iothread_params(&self.reference(), id, params, flags.bits())
    }

    /// CPU time used: at most `kinds` numbers for each of `count` CPUs from `start` on, or in total for -1; and how many
    /// numbers there are for each. For 0 kinds, how many kinds there are; for 0 CPUs, how many CPUs.
    pub fn cpu_stats(&self, kinds: u32, start: i32, count: u32) -> Result<(TypedParams, i32)> {
        let remote = self.connection().remote();
        let reply = remote.domain_get_cpu_stats(&self.reference(), kinds, start, count, 0)?;
        Ok((reply.params, reply.nparams))
    }

    /// The kind of its scheduler, and how many parameters that has.
    pub fn scheduler(&self) -> Result<(String, i32)> {
        let remote = self.connection().remote();
        let reply = remote.domain_get_scheduler_type(&self.reference())?;
        Ok((reply.kind, reply.nparams))
    }

    /// The parameters of its scheduler; without flags through the older call.
    pub fn scheduler_parameters(
        &self,
        count: i32,
        flags: Option<DomainModificationImpact>,
    ) -> Result<TypedParams> {
        let (remote, reference) = (self.connection().remote(), self.reference());
        Ok(match flags {
            None => remote.domain_get_scheduler_parameters(&reference, count)?.params,
            Some(flags) => {
                remote
                    .domain_get_scheduler_parameters_flags(&reference, count, flags.bits())?
                    .params
            }
        })
    }

    /// Sets parameters of its scheduler; without flags through the older call.
    pub fn set_scheduler_parameters(
        &self,
        params: &TypedParams,
        flags: Option<DomainModificationImpact>,
    ) -> Result<()> {
        let (remote, reference) = (self.connection().remote(), self.reference());
        match flags {
            None => remote.domain_set_scheduler_parameters(&reference, params),
            Some(flags) => remote.domain_set_scheduler_parameters_flags(&reference, params, flags.bits()),
        }
    }

    /// Sets the memory that it has, or may have, in KiB.
    pub fn set_memory(&self, kib: u64, flags: DomainMemoryModFlags) -> Result<()> {
        if kib == 0 {
            return Err(VirtError::from_parts(
                ErrorCode::INVALID_ARG,
                ErrorDomain::DOMAIN,
                ErrorLevel::ERROR,
                "memory in virDomainSetMemoryFlags must not be zero".to_owned(),
            ));
        }
        let remote = self.connection().remote();
        remote.domain_set_memory_flags(&self.reference(), kib, flags.bits())
    }
}

impl Connect {
    /// Statistics of these domains, or of all: the domains' names, and what was counted.
    pub fn domain_stats(
        &self,
        domains: &[Domain],
        stats: u32,
        flags: u32,
    ) -> Result<Vec<(String, TypedParams)>> {
        let references: Vec<_> = domains.iter().map(Domain::reference).collect();
        let reply = self
            .remote()
            .connect_get_all_domain_stats(&references, stats, flags)?;
        let records = reply.ret_stats.into_iter();
        Ok(records
            .map(|record| (record.domain.name, record.params))
            .collect())
    }
}
