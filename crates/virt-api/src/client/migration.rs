//! Migration as the client drives it: over two connections step by step, or by telling the source where to.
//!
//! Three forms exist, and the third with plain arguments or typed parameters. The newest that both ends know is used:
//! they say so as features. The steps are in [`steps`]; here is what libvirt's public functions check and choose.
//! [`migrate`], [`migrate2`] and [`migrate3`] have both ends in hand; [`migrate_to_uri`] and its siblings tell the
//! source, which reaches the destination by itself (peer to peer) or needs no daemon there (direct).

use virt_util::typed_param::TypedParams;
use virt_util::types::DomainMigrateFlags as Flags;
use virt_util::types::params::migration as param;
use virt_util::uri::Uri;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError, bail};

use crate::objects::{Connect, Domain};
use crate::protocol::clients::RemoteClient;
use crate::protocol::remote::DomainRef;

mod steps;
#[cfg(test)]
mod tests;

/// libvirt's numbers of what drivers can do (`VIR_DRV_FEATURE_…`).
mod feature {
    pub const V1: i32 = 1;
    pub const V2: i32 = 3;
    pub const PEER_TO_PEER: i32 = 4;
    pub const DIRECT: i32 = 5;
    pub const V3: i32 = 6;
    pub const CHANGE_PROTECTION: i32 = 7;
    pub const XML_MIGRATABLE: i32 = 11;
    pub const OFFLINE: i32 = 12;
    pub const PARAMS: i32 = 13;
}

/// One end of a migration.
pub(crate) struct End<'a> {
    pub calls: RemoteClient<'a>,
    pub read_only: bool,
}

impl<'a> End<'a> {
    fn of(connection: &'a Connect) -> Self {
        Self {
            calls: connection.remote(),
            read_only: connection.is_read_only(),
        }
    }

    fn supports(&self, feature: i32) -> Result<bool> {
        match self.calls.connect_supports_feature(feature) {
            Ok(reply) => Ok(reply.supported != 0),
            // A driver without features.
            Err(error) if error.code() == ErrorCode::NO_SUPPORT => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn check_writable(&self, function: &str) -> Result<()> {
        if self.read_only {
            bail!(
                ErrorCode::OPERATION_DENIED,
                "read only access prevents {function}"
            );
        }
        Ok(())
    }
}

/// A migration between two connections.
pub(crate) struct Between<'a> {
    pub source: End<'a>,
    pub target: End<'a>,
    pub domain: DomainRef,
}

/// What the older forms can say.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plain<'p> {
    pub xml: Option<&'p str>,
    pub name: Option<&'p str>,
    pub uri: Option<&'p str>,
    /// MiB a second, 0 for no limit.
    pub bandwidth: u64,
}

/// Parameters that have a place in the older forms too.
const OLD_PARAMS: [&str; 4] = [param::URI, param::DEST_NAME, param::DEST_XML, param::BANDWIDTH];

fn unsupported(detail: &str) -> VirtError {
    VirtError::new(ErrorCode::ARGUMENT_UNSUPPORTED, detail)
}

fn flag_name(flag: Flags) -> String {
    format!(
        "VIR_MIGRATE_{}",
        flag.iter_names().map(|(name, _)| name).next().unwrap_or("?")
    )
}

fn exclusive(flags: Flags, one: Flags, other: Flags) -> Result<()> {
    if flags.contains(one) && flags.contains(other) {
        return Err(VirtError::invalid_arg(format_args!(
            "flags '{}' and '{}' exclude each other",
            flag_name(one),
            flag_name(other)
        )));
    }
    Ok(())
}

/// What holds for flags however the guest goes.
fn check_storage_flags(flags: Flags) -> Result<()> {
    exclusive(flags, Flags::NON_SHARED_DISK, Flags::NON_SHARED_INC)?;
    let copies = Flags::NON_SHARED_DISK | Flags::NON_SHARED_INC;
    if flags.contains(Flags::NON_SHARED_SYNCHRONOUS_WRITES) && !flags.intersects(copies) {
        return Err(VirtError::invalid_arg(
            "flag VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES needs VIR_MIGRATE_NON_SHARED_DISK or \
             VIR_MIGRATE_NON_SHARED_INC",
        ));
    }
    Ok(())
}

fn check_name(name: Option<&str>) -> Result<()> {
    match name {
        Some("") => Err(VirtError::invalid_arg("string dname must not be empty")),
        _ => Ok(()),
    }
}

/// Migrates over both connections (`virDomainMigrate`). Peer to peer, `uri` is how the source reaches the destination's
/// daemon; otherwise how it reaches the destination's hypervisor.
pub fn migrate(
    domain: &Domain,
    target: &Connect,
    flags: Flags,
    name: Option<&str>,
    uri: Option<&str>,
    bandwidth: u64,
) -> Result<Domain> {
    let plain = Plain {
        xml: None,
        name,
        uri,
        bandwidth,
    };
    between(domain, target)
        .run_plain("virDomainMigrate", flags, plain, PeerUri::Given)
        .map(|moved| target.domain(moved))
}

/// [`migrate`] with another definition for the destination (`virDomainMigrate2`). Peer to peer, the source takes the
/// destination's own URI, and `uri` is the hypervisor's.
pub fn migrate2(
    domain: &Domain,
    target: &Connect,
    xml: Option<&str>,
    flags: Flags,
    name: Option<&str>,
    uri: Option<&str>,
    bandwidth: u64,
) -> Result<Domain> {
    let plain = Plain {
        xml,
        name,
        uri,
        bandwidth,
    };
    between(domain, target)
        .run_plain("virDomainMigrate2", flags, plain, PeerUri::Targets)
        .map(|moved| target.domain(moved))
}

/// Migrates over both connections with typed parameters (`virDomainMigrate3`, names in
/// `virt_util::types::params::migration`).
pub fn migrate3(domain: &Domain, target: &Connect, params: &TypedParams, flags: Flags) -> Result<Domain> {
    between(domain, target)
        .run_params(params, flags)
        .map(|moved| target.domain(moved))
}

fn between<'a>(domain: &'a Domain, target: &'a Connect) -> Between<'a> {
    Between {
        source: End::of(domain.connection()),
        target: End::of(target),
        domain: domain.reference(),
    }
}

/// Where a source that goes by itself learns the destination's URI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerUri {
    /// It is the URI that was given, or else the target's.
    Given,
    /// It is the target's; the one that was given is the hypervisor's.
    Targets,
}

/// The forms, newest first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    V3,
    V2,
    V1,
}

impl Between<'_> {
    fn both(&self, feature: i32) -> Result<bool> {
        // Both are asked, so that a connection that is gone is noticed.
        let (source, target) = (self.source.supports(feature)?, self.target.supports(feature)?);
        Ok(source && target)
    }

    fn check_offline(&self, flags: Flags) -> Result<()> {
        if !flags.contains(Flags::OFFLINE) {
            return Ok(());
        }
        if !self.source.supports(feature::OFFLINE)? {
            return Err(unsupported("the source does not move domains that are off"));
        }
        if !self.target.supports(feature::OFFLINE)? {
            return Err(unsupported("the destination does not move domains that are off"));
        }
        Ok(())
    }

    /// The flags without protection against changes: the third form adds it by itself at the source, and an old
    /// destination would refuse it.
    fn without_protection(&self, flags: Flags) -> Result<Flags> {
        if flags.contains(Flags::CHANGE_PROTECTION) && !self.source.supports(feature::CHANGE_PROTECTION)? {
            return Err(unsupported(
                "the source cannot keep others from changing the domain meanwhile",
            ));
        }
        Ok(flags - Flags::CHANGE_PROTECTION)
    }

    fn check_ends(&self, function: &str) -> Result<()> {
        self.source.check_writable(function)?;
        self.target.check_writable(function)
    }

    pub(crate) fn run_plain(
        &self,
        function: &str,
        flags: Flags,
        plain: Plain<'_>,
        peer: PeerUri,
    ) -> Result<DomainRef> {
        self.check_ends(function)?;
        check_name(plain.name)?;
        check_storage_flags(flags)?;
        exclusive(flags, Flags::TUNNELLED, Flags::PARALLEL)?;
        self.check_offline(flags)?;
        if flags.contains(Flags::PEER2PEER) {
            return self.peer_to_peer(function, flags, plain, peer);
        }
        let flags = self.without_protection(flags)?;
        if flags.contains(Flags::TUNNELLED) {
            bail!(
                ErrorCode::OPERATION_INVALID,
                "flag VIR_MIGRATE_TUNNELLED needs VIR_MIGRATE_PEER2PEER"
            );
        }
        self.newest_form(function, flags, plain)
    }

    fn newest_form(&self, function: &str, flags: Flags, plain: Plain<'_>) -> Result<DomainRef> {
        let form = if self.both(feature::V3)? {
            Form::V3
        } else if self.both(feature::V2)? {
            Form::V2
        } else if self.both(feature::V1)? {
            Form::V1
        } else {
            return Err(VirtError::no_support(function));
        };
        if form == Form::V3 {
            return steps::third(self, flags, steps::Arguments::Plain(plain));
        }
        if plain.xml.is_some() {
            return Err(unsupported(
                "the source takes no other definition for the destination",
            ));
        }
        match form {
            Form::V2 => steps::second(self, flags, plain),
            _ => steps::first(self, flags, plain),
        }
    }

    fn peer_to_peer(
        &self,
        function: &str,
        flags: Flags,
        plain: Plain<'_>,
        peer: PeerUri,
    ) -> Result<DomainRef> {
        if !self.source.supports(feature::PEER_TO_PEER)? {
            return Err(VirtError::no_support(function));
        }
        let (daemon, hypervisor) = match (peer, plain.uri) {
            (PeerUri::Given, Some(uri)) => (uri.to_owned(), None),
            (_, uri) => (self.target.calls.connect_get_uri()?.uri, uri),
        };
        let hypervisor = hypervisor.filter(|_| peer == PeerUri::Targets);
        let plain = Plain {
            uri: hypervisor,
            ..plain
        };
        alone_plain(&self.source, &self.domain, Some(&daemon), plain, flags)?;
        let name = plain.name.unwrap_or(&self.domain.name);
        Ok(self.target.calls.domain_lookup_by_name(name)?.domain)
    }

    pub(crate) fn run_params(&self, params: &TypedParams, flags: Flags) -> Result<DomainRef> {
        let function = "virDomainMigrate3";
        self.check_ends(function)?;
        check_storage_flags(flags)?;
        if flags.contains(Flags::PEER2PEER) {
            return Err(VirtError::invalid_arg(
                "VIR_MIGRATE_PEER2PEER is for virDomainMigrateToURI3",
            ));
        }
        if flags.contains(Flags::TUNNELLED) {
            return Err(VirtError::invalid_arg(
                "flag VIR_MIGRATE_TUNNELLED needs VIR_MIGRATE_PEER2PEER",
            ));
        }
        let plain = plain_of(params)?;
        check_name(plain.name)?;
        self.check_offline(flags)?;
        let flags = self.without_protection(flags)?;
        if self.both(feature::PARAMS)? {
            return steps::third(self, flags, steps::Arguments::Params(params.clone()));
        }
        check_only(params, &OLD_PARAMS, "the source knows the parameters of old only")?;
        self.newest_form(function, flags, plain)
    }
}

fn plain_of(params: &TypedParams) -> Result<Plain<'_>> {
    Ok(Plain {
        xml: params.get_string(param::DEST_XML)?,
        name: params.get_string(param::DEST_NAME)?,
        uri: params.get_string(param::URI)?,
        bandwidth: params.get_u64(param::BANDWIDTH)?.unwrap_or_default(),
    })
}

fn check_only(params: &TypedParams, known: &[&str], error: &str) -> Result<()> {
    if params.iter().all(|one| known.contains(&one.field.as_str())) {
        return Ok(());
    }
    Err(unsupported(error))
}

/// Has the source migrate by itself (`virDomainMigrateToURI`): `uri` is the destination's daemon, peer to peer, or its
/// hypervisor.
pub fn migrate_to_uri(
    domain: &Domain,
    uri: &str,
    flags: Flags,
    name: Option<&str>,
    bandwidth: u64,
) -> Result<()> {
    let (source, guest) = (End::of(domain.connection()), domain.reference());
    let (daemon, hypervisor) = if flags.contains(Flags::PEER2PEER) {
        (Some(uri), None)
    } else {
        (None, Some(uri))
    };
    let plain = Plain {
        xml: None,
        name,
        uri: hypervisor,
        bandwidth,
    };
    alone_checked("virDomainMigrateToURI", &source, &guest, daemon, plain, flags)
}

/// [`migrate_to_uri`] with both URIs and another definition (`virDomainMigrateToURI2`).
pub fn migrate_to_uri2(
    domain: &Domain,
    daemon: Option<&str>,
    hypervisor: Option<&str>,
    xml: Option<&str>,
    flags: Flags,
    name: Option<&str>,
    bandwidth: u64,
) -> Result<()> {
    let (source, guest) = (End::of(domain.connection()), domain.reference());
    let plain = Plain {
        xml,
        name,
        uri: hypervisor,
        bandwidth,
    };
    alone_checked("virDomainMigrateToURI2", &source, &guest, daemon, plain, flags)
}

/// [`migrate_to_uri`] with typed parameters (`virDomainMigrateToURI3`).
pub fn migrate_to_uri3(
    domain: &Domain,
    daemon: Option<&str>,
    params: &TypedParams,
    flags: Flags,
) -> Result<()> {
    let (source, guest) = (End::of(domain.connection()), domain.reference());
    check_alone("virDomainMigrateToURI3", &source, daemon, flags)?;
    alone(
        &source,
        &guest,
        daemon.filter(|_| flags.contains(Flags::PEER2PEER)),
        params,
        flags,
    )
}

/// What must hold before a source is told to migrate by itself.
fn check_alone(function: &str, source: &End<'_>, daemon: Option<&str>, flags: Flags) -> Result<()> {
    source.check_writable(function)?;
    exclusive(flags, Flags::TUNNELLED, Flags::PARALLEL)?;
    check_storage_flags(flags)?;
    if flags.contains(Flags::OFFLINE) && !source.supports(feature::OFFLINE)? {
        return Err(unsupported("the source does not move domains that are off"));
    }
    if flags.contains(Flags::PEER2PEER) {
        if !source.supports(feature::PEER_TO_PEER)? {
            return Err(unsupported("the source does not migrate peer to peer"));
        }
        if daemon.is_none() {
            return Err(VirtError::invalid_arg(
                "dconnuri in virDomainMigrateToURI must not be NULL",
            ));
        }
    } else if !source.supports(feature::DIRECT)? {
        return Err(unsupported("the source does not migrate directly"));
    }
    Ok(())
}

pub(crate) fn alone_checked(
    function: &str,
    source: &End<'_>,
    guest: &DomainRef,
    daemon: Option<&str>,
    plain: Plain<'_>,
    flags: Flags,
) -> Result<()> {
    check_name(plain.name)?;
    check_alone(function, source, daemon, flags)?;
    let daemon = daemon.filter(|_| flags.contains(Flags::PEER2PEER));
    alone_plain(source, guest, daemon, plain, flags)
}

fn alone_plain(
    source: &End<'_>,
    guest: &DomainRef,
    daemon: Option<&str>,
    plain: Plain<'_>,
    flags: Flags,
) -> Result<()> {
    let mut params = TypedParams::new();
    for (name, value) in [
        (param::URI, plain.uri),
        (param::DEST_NAME, plain.name),
        (param::DEST_XML, plain.xml),
    ] {
        if let Some(value) = value {
            params.push(name, value);
        }
    }
    params.push(param::BANDWIDTH, plain.bandwidth);
    alone(source, guest, daemon, &params, flags)
}

/// A guest that is sent to its own host would be thrown away by its own arrival. Who names a socket knows what it means.
fn check_not_local(daemon: &str) -> Result<()> {
    let uri = Uri::parse(daemon)?;
    let here = match &uri.server {
        Some(server) => server.starts_with("localhost"),
        None => !uri.names_unix_socket(),
    };
    if here {
        return Err(VirtError::invalid_arg(format_args!(
            "'{daemon}' is the host where the domain runs"
        )));
    }
    Ok(())
}

/// Tells the source, in the newest form that it knows and that the parameters fit in.
pub(crate) fn alone(
    source: &End<'_>,
    guest: &DomainRef,
    daemon: Option<&str>,
    params: &TypedParams,
    flags: Flags,
) -> Result<()> {
    if let Some(daemon) = daemon {
        check_not_local(daemon)?;
        if source.supports(feature::PARAMS)? {
            let perform =
                source
                    .calls
                    .domain_migrate_perform3_params(guest, Some(daemon), params, &[], flags.bits());
            return perform.map(drop);
        }
    }
    let plain = plain_of(params)?;
    if source.supports(feature::V3)? {
        check_only(
            params,
            &OLD_PARAMS,
            "the source migrates by protocol 3, which knows the parameters of old only",
        )?;
        check_name(plain.name)?;
        let perform = source.calls.domain_migrate_perform3(
            guest,
            plain.xml,
            &[],
            daemon,
            plain.uri,
            u64::from(flags.bits()),
            plain.name,
            plain.bandwidth,
        );
        return perform.map(drop);
    }
    check_only(
        params,
        &[param::DEST_NAME, param::BANDWIDTH, param::URI],
        "the source migrates by protocol 2, which knows the destination's name, bandwidth and URI only",
    )?;
    check_name(plain.name)?;
    let uri = match (daemon, plain.uri) {
        (Some(_), Some(_)) => {
            return Err(VirtError::internal(
                "the source migrates by protocol 2, which goes to the URI of the daemon: no other one can be said",
            ));
        }
        (Some(daemon), None) => daemon,
        (None, Some(uri)) => uri,
        (None, None) => {
            return Err(
                VirtError::invalid_arg("direct migration needs the destination's URI")
                    .in_domain(ErrorDomain::DOM),
            );
        }
    };
    source.calls.domain_migrate_perform(
        guest,
        &[],
        uri,
        u64::from(flags.bits()),
        plain.name,
        plain.bandwidth,
    )
}
