//! The volumes of a pool: found when the pool is looked through, not stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use virt_util::{ErrorCode, ErrorDomain, Result, VirtError};

use crate::storage_volume::Volume;

/// The volumes of a pool by name, key and path, each of which is unique in the pool.
#[derive(Clone, Debug, Default)]
pub struct VolumeIndex {
    /// In the order of names, which is the order of lists.
    by_name: BTreeMap<String, Arc<Volume>>,
    by_key: HashMap<String, Arc<Volume>>,
    by_path: HashMap<String, Arc<Volume>>,
}

fn not_found(what: std::fmt::Arguments<'_>) -> VirtError {
    VirtError::new(ErrorCode::NO_STORAGE_VOL, what).in_domain(ErrorDomain::STORAGE)
}

impl VolumeIndex {
    /// No volumes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a volume, which must have a key and a path.
    ///
    /// # Errors
    /// `STORAGE_VOL_EXIST` if there is one of its name, key or path; `INTERNAL_ERROR` without key or path.
    pub fn insert(&mut self, volume: Arc<Volume>) -> Result<()> {
        let name = volume.name.clone();
        let (Some(key), Some(path)) = (volume.key.clone(), volume.target.path.clone()) else {
            let what = format_args!("the storage volume '{name}' has no key or no path");
            return Err(VirtError::internal(what).in_domain(ErrorDomain::STORAGE));
        };
        let taken = self
            .by_name
            .get(&name)
            .or(self.by_key.get(&key))
            .or(self.by_path.get(&path));
        if let Some(known) = taken {
            let what = format!("'{}'", known.name);
            return Err(VirtError::new(ErrorCode::STORAGE_VOL_EXIST, what).in_domain(ErrorDomain::STORAGE));
        }
        self.by_name.insert(name, Arc::clone(&volume));
        self.by_key.insert(key, Arc::clone(&volume));
        self.by_path.insert(path, volume);
        Ok(())
    }

    /// Puts what is now known of a volume in the place of what was.
    ///
    /// # Errors
    /// `NO_STORAGE_VOL` if there is none of its name; as [`VolumeIndex::insert`].
    pub fn replace(&mut self, volume: Arc<Volume>) -> Result<()> {
        let old = self.remove(&volume.name)?;
        let result = self.insert(volume);
        if result.is_err() {
            // Its keys are free: it was just taken out.
            self.insert(old)?;
        }
        result
    }

    /// Takes a volume out.
    ///
    /// # Errors
    /// `NO_STORAGE_VOL`.
    pub fn remove(&mut self, name: &str) -> Result<Arc<Volume>> {
        let volume = self.by_name(name)?;
        self.by_name.remove(name);
        if let Some(key) = &volume.key {
            self.by_key.remove(key);
        }
        if let Some(path) = &volume.target.path {
            self.by_path.remove(path);
        }
        Ok(volume)
    }

    /// The volume of that name.
    ///
    /// # Errors
    /// `NO_STORAGE_VOL`.
    pub fn by_name(&self, name: &str) -> Result<Arc<Volume>> {
        let found = self.by_name.get(name).cloned();
        found.ok_or_else(|| not_found(format_args!("no storage vol with matching name '{name}'")))
    }

    /// The volume of that key.
    ///
    /// # Errors
    /// `NO_STORAGE_VOL`.
    pub fn by_key(&self, key: &str) -> Result<Arc<Volume>> {
        let found = self.by_key.get(key).cloned();
        found.ok_or_else(|| not_found(format_args!("no storage vol with matching key {key}")))
    }

    /// The volume of that path.
    ///
    /// # Errors
    /// `NO_STORAGE_VOL`.
    pub fn by_path(&self, path: &str) -> Result<Arc<Volume>> {
        let found = self.by_path.get(path).cloned();
        found.ok_or_else(|| not_found(format_args!("no storage vol with matching path '{path}'")))
    }

    /// All volumes by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.by_name.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, key: &str, path: &str) -> Arc<Volume> {
        let mut volume = Volume {
            name: name.to_owned(),
            key: Some(key.to_owned()),
            ..Volume::default()
        };
        volume.target.path = Some(path.to_owned());
        Arc::new(volume)
    }

    #[test]
    fn names_keys_and_paths_are_unique() {
        let mut index = VolumeIndex::new();
        index.insert(volume("b", "k1", "/b")).unwrap();
        index.insert(volume("a", "k2", "/a")).unwrap();
        for wrong in [
            volume("a", "k", "/"),
            volume("c", "k1", "/"),
            volume("c", "k", "/a"),
        ] {
            assert_eq!(
                index.insert(wrong).unwrap_err().code(),
                ErrorCode::STORAGE_VOL_EXIST
            );
        }
        assert_eq!(
            index
                .iter()
                .map(|volume| volume.name.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(index.by_key("k1").unwrap().name, "b");
        assert_eq!(index.by_path("/a").unwrap().name, "a");
        // A change that collides changes nothing.
        assert!(index.replace(volume("a", "k1", "/new")).is_err());
        assert_eq!(index.by_path("/a").unwrap().name, "a");
        index.replace(volume("a", "k3", "/new")).unwrap();
        assert_eq!(index.by_key("k2").unwrap_err().code(), ErrorCode::NO_STORAGE_VOL);
        index.remove("a").unwrap();
        let error = index.by_name("a").unwrap_err();
        assert_eq!(
            error.message(),
            "Storage volume not found: no storage vol with matching name 'a'"
        );
        assert_eq!(index.len(), 1);
    }
}
