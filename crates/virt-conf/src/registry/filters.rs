//! Network filters and their bindings in libvirt's layout.
//!
//! Filters are `CONFIG/NAME.xml` (`/etc/libvirt/nwfilter`); they are never transient and do not run. Bindings live with
//! their ports and are kept in `STATE/PORT.xml` (`/run/libvirt/nwfilter-binding`) alone.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use virt_util::uuid::Uuid;
use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use super::clash::Clash;
use super::kind::{Definition, Kind};
use super::store::{DiskFormat, StatusFolder, Store};
use crate::domain::normalize::Randomness;
use crate::nwfilter::Filter;
use crate::nwfilter_binding::{FilterBinding, FilterBindingStatus};

/// Filters of a driver that keeps `P` with each and tells events `E`.
#[derive(Debug)]
pub struct FilterKind<P = (), E = ()>(PhantomData<fn() -> (P, E)>);

impl<P: Send + Sync + 'static, E: Send + 'static> Kind for FilterKind<P, E> {
    type Definition = Filter;
    type State = ();
    type Private = P;
    type Key = ();
    type Event = E;

    const NOUN: &'static str = "nwfilter";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_NWFILTER;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::NWFILTER;

    fn clash(clash: &Clash<'_>) -> VirtError {
        match clash {
            Clash::Uuid { name, .. } => {
                clash.error::<Self>(format_args!("filter '{name}' has this UUID already"))
            }
            Clash::Name { name, uuid } => clash.error::<Self>(format_args!(
                "filter '{name}' already exists{}",
                super::kind::with_uuid(*uuid)
            )),
            Clash::Active { .. } => clash.usual::<Self>(),
        }
    }
}

/// Bindings of a driver that keeps `P` with each and tells events `E`. A binding's name is that of its port's device.
#[derive(Debug)]
pub struct BindingKind<P = (), E = ()>(PhantomData<fn() -> (P, E)>);

impl<P: Send + Sync + 'static, E: Send + 'static> Kind for BindingKind<P, E> {
    type Definition = FilterBinding;
    type State = ();
    type Private = P;
    type Key = ();
    type Event = E;

    const NOUN: &'static str = "nwfilter binding";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_NWFILTER_BINDING;
    const ERROR_DOMAIN: ErrorDomain = ErrorDomain::NWFILTER;

    fn clash(clash: &Clash<'_>) -> VirtError {
        match clash {
            // Bindings are made and never redefined.
            Clash::Active { name } | Clash::Name { name, .. } | Clash::Uuid { name, .. } => {
                super::kind::error::<Self>(
                    ErrorCode::OPERATION_FAILED,
                    format_args!("port '{name}' has a binding already"),
                )
            }
        }
    }

    fn no_such_name(name: &str) -> String {
        format!("no nwfilter binding for port dev '{name}'")
    }
}

impl Definition for Filter {
    fn name(&self) -> &str {
        &self.name
    }

    fn uuid(&self) -> Option<Uuid> {
        self.uuid
    }
}

impl DiskFormat for Filter {
    fn to_disk(&self) -> Result<String> {
        Ok(self.format())
    }

    fn from_disk(text: &str, path: &Path) -> Result<Self> {
        Self::parse(text, &path.display().to_string())
    }
}

impl Definition for FilterBinding {
    fn name(&self) -> &str {
        &self.port_device
    }

    fn uuid(&self) -> Option<Uuid> {
        None
    }
}

/// The files of filters.
#[derive(Clone, Debug)]
pub struct FilterFiles {
    /// The definitions.
    pub store: Store,
}

/// What the folder of filters held.
#[derive(Debug, Default)]
pub struct LoadedFilters {
    /// The filters, by name.
    pub filters: Vec<Arc<Filter>>,
    /// Files that could not be taken in, and why. They stay where they are.
    pub failed: Vec<(PathBuf, VirtError)>,
}

impl FilterFiles {
    /// Definitions in `config` (`/etc/libvirt/nwfilter`).
    pub fn new(config: impl Into<PathBuf>) -> Self {
        Self {
            store: Store::new(config, None, "nwfilter-edit"),
        }
    }

    /// Makes the folder if it is missing.
    pub fn prepare(&self) -> Result<()> {
        self.store.prepare()
    }

    /// Reads all filters. One without UUID gets one, and keeps it; one that leads back to itself is not taken in.
    pub fn load(&self, random: &dyn Randomness) -> Result<LoadedFilters> {
        let stored = self.store.load::<Filter>()?;
        let mut result = LoadedFilters {
            filters: Vec::new(),
            failed: stored.failed,
        };
        let mut known: BTreeMap<String, Arc<Filter>> = BTreeMap::new();
        let mut uuids: BTreeMap<Option<Uuid>, String> = BTreeMap::new();
        for loaded in stored.loaded {
            let path = self.store.path(loaded.definition.name())?;
            match self.admit(loaded.definition, &known, &uuids, random) {
                Ok(filter) => {
                    uuids.insert(filter.uuid, filter.name.clone());
                    known.insert(filter.name.clone(), filter);
                }
                Err(error) => result.failed.push((path, error)),
            }
        }
        result.filters = known.into_values().collect();
        Ok(result)
    }

    fn admit(
        &self,
        filter: Arc<Filter>,
        known: &BTreeMap<String, Arc<Filter>>,
        uuids: &BTreeMap<Option<Uuid>, String>,
        random: &dyn Randomness,
    ) -> Result<Arc<Filter>> {
        let mut filter = filter;
        if filter.uuid.is_none() {
            let mut completed = Filter::clone(&filter);
            completed.complete(random);
            self.store.save(&completed)?;
            filter = Arc::new(completed);
        }
        if let Some(name) = uuids.get(&filter.uuid) {
            return Err(<FilterKind as Kind>::clash(&Clash::Uuid {
                name,
                uuid: filter.uuid,
            }));
        }
        filter.check_loop(|name| known.get(name).cloned())?;
        Ok(filter)
    }
}

/// The files of bindings.
#[derive(Clone, Debug)]
pub struct BindingFiles {
    status: StatusFolder,
}

impl BindingFiles {
    /// Bindings in `state` (`/run/libvirt/nwfilter-binding`).
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            status: StatusFolder::new(state).with_command("nwfilter-binding-create"),
        }
    }

    /// Makes the folder if it is missing.
    pub fn prepare(&self) -> Result<()> {
        self.status.prepare()
    }

    /// Writes a binding.
    pub fn save(&self, binding: &FilterBinding) -> Result<()> {
        let status = FilterBindingStatus {
            binding: binding.clone(),
        };
        self.status.save(binding, &status.format())
    }

    /// Removes the binding of a port's device. Returns whether there was one.
    pub fn remove(&self, port: &str) -> Result<bool> {
        self.status.remove(port)
    }

    /// Reads all bindings: by port, what each file holds or why it cannot be read.
    pub fn load(&self) -> Result<Vec<(String, Result<FilterBinding>)>> {
        let loaded = self.status.load(|text, path| {
            FilterBindingStatus::parse(text, &path.display().to_string()).map(|status| status.binding)
        })?;
        Ok(loaded
            .into_iter()
            .map(|(name, outcome)| {
                let outcome = outcome.and_then(|binding| {
                    if binding.port_device == name {
                        return Ok(binding);
                    }
                    Err(VirtError::internal(format_args!(
                        "the file of binding '{name}' is about '{}'",
                        binding.port_device
                    )))
                });
                (name, outcome)
            })
            .collect())
    }
}

#[cfg(test)]
pub(super) mod tests;
