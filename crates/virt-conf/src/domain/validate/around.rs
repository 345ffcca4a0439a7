//! What devices must not be together: found out once for all, not once for each.

use std::collections::{HashMap, HashSet};

use super::devices;
use crate::domain::Domain;
use crate::domain::filesystem::{Filesystem, FilesystemDriver};
use crate::domain::video::VideoModelType;

/// The devices around those that are checked in one go. Each part is made when it is first asked for.
#[derive(Debug)]
pub(super) struct Around<'d> {
    pub(super) domain: &'d Domain,
    shared_targets: Option<HashMap<&'d str, usize>>,
    audios: Option<HashMap<u32, usize>>,
    no_video: Option<bool>,
    memory_apart: Option<bool>,
}

impl<'d> Around<'d> {
    pub(super) fn new(domain: &'d Domain) -> Self {
        Self {
            domain,
            shared_targets: None,
            audios: None,
            no_video: None,
            memory_apart: None,
        }
    }

    /// How many file systems that a daemon shares go by a name.
    pub(super) fn shared_targets(&mut self, name: &str) -> usize {
        let domain = self.domain;
        let targets = self.shared_targets.get_or_insert_with(|| {
            let shared = domain.devices.filesystems.iter().filter(|one| is_shared(one));
            count(shared.filter_map(|one| one.target.as_deref()))
        });
        targets.get(name).copied().unwrap_or_default()
    }

    /// How many sound back ends have a number.
    pub(super) fn audios(&mut self, id: u32) -> usize {
        let domain = self.domain;
        let ids = self
            .audios
            .get_or_insert_with(|| count(domain.devices.audios.iter().map(|audio| audio.id)));
        ids.get(&id).copied().unwrap_or_default()
    }

    /// Whether a video device says that there is none.
    pub(super) fn no_video(&mut self) -> bool {
        let mut videos = self.domain.devices.videos.iter();
        *self
            .no_video
            .get_or_insert_with(|| videos.any(|video| video.model.kind == VideoModelType::None))
    }

    /// Whether no two memory devices have the same slot or the same place: where that is not so, a look at each tells which.
    pub(super) fn memory_is_apart(&mut self) -> bool {
        let memory = &self.domain.devices.memory;
        *self.memory_apart.get_or_insert_with(|| {
            let mut slots = HashSet::new();
            let mut places: Vec<(u64, u64)> = memory.iter().map(devices::place).collect();
            places.retain(|(begin, _)| *begin != 0);
            places.sort_unstable();
            let mut end = 0;
            let apart = places.iter().all(|(begin, own_end)| {
                let apart = *begin >= end;
                end = end.max(*own_end);
                apart
            });
            apart
                && memory
                    .iter()
                    .filter_map(devices::slot)
                    .all(|slot| slots.insert(slot))
        })
    }
}

/// A file system that a daemon of its own shares with the guest.
pub(super) fn is_shared(filesystem: &Filesystem) -> bool {
    filesystem.driver.kind == FilesystemDriver::Virtiofs
}

fn count<T: Eq + std::hash::Hash>(values: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}
