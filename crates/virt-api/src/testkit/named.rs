//! Objects that are nothing but a UUID and a name, for drivers of tests that have one of every kind.

use uuid::Uuid;

use crate::Result;
use crate::access::*;

/// Finds objects by UUID where their kind has one, as libvirt does, and says their true name whatever the client
/// claims. Objects that have only a name are found by it.
#[derive(Clone, Copy, Debug)]
pub struct Named(pub &'static [(Uuid, &'static str)]);

impl Named {
    /// The name of that UUID's object; one that nobody named is called by its UUID.
    fn name_of(&self, uuid: Uuid) -> String {
        let known = self.0.iter().find(|(known, _)| *known == uuid);
        known.map_or_else(|| uuid.to_string(), |(_, name)| (*name).to_owned())
    }

    fn domain(&self, key: &Domain) -> Domain {
        Domain {
            name: self.name_of(key.uuid),
            ..key.clone()
        }
    }

    fn network(&self, key: &Network) -> Network {
        Network {
            name: self.name_of(key.uuid),
            uuid: key.uuid,
        }
    }
}

impl Resolver for Named {
    fn domain(&self, key: &Domain) -> Result<Found<Domain>> {
        Ok(Found::attributes(Self::domain(self, key)))
    }

    fn domain_snapshot(&self, key: &DomainSnapshot) -> Result<Found<DomainSnapshot>> {
        Ok(Found::attributes(DomainSnapshot {
            domain: Self::domain(self, &key.domain),
            name: key.name.clone(),
        }))
    }

    fn domain_checkpoint(&self, key: &DomainCheckpoint) -> Result<Found<DomainCheckpoint>> {
        Ok(Found::attributes(DomainCheckpoint {
            domain: Self::domain(self, &key.domain),
            name: key.name.clone(),
        }))
    }

    fn network(&self, key: &Network) -> Result<Found<Network>> {
        Ok(Found::attributes(Self::network(self, key)))
    }

    fn network_port(&self, key: &NetworkPort) -> Result<Found<NetworkPort>> {
        Ok(Found::attributes(NetworkPort {
            network: Self::network(self, &key.network),
            uuid: key.uuid,
        }))
    }

    fn interface(&self, key: &Interface) -> Result<Found<Interface>> {
        Ok(Found::attributes(key.clone()))
    }

    fn storage_pool(&self, key: &StoragePool) -> Result<Found<StoragePool>> {
        Ok(Found::attributes(StoragePool {
            name: self.name_of(key.uuid),
            uuid: key.uuid,
        }))
    }

    fn storage_vol(&self, key: &StorageVol) -> Result<Found<StorageVol>> {
        Ok(Found::attributes(key.clone()))
    }

    fn node_device(&self, key: &NodeDevice) -> Result<Found<NodeDevice>> {
        Ok(Found::attributes(key.clone()))
    }

    fn secret(&self, key: &Secret) -> Result<Found<Secret>> {
        Ok(Found::attributes(key.clone()))
    }

    fn nwfilter(&self, key: &Nwfilter) -> Result<Found<Nwfilter>> {
        Ok(Found::attributes(Nwfilter {
            name: self.name_of(key.uuid),
            uuid: key.uuid,
        }))
    }

    fn nwfilter_binding(&self, key: &NwfilterBinding) -> Result<Found<NwfilterBinding>> {
        Ok(Found::attributes(key.clone()))
    }
}
