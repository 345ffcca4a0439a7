//! Sets of x86 features, a bit for each.

/// Features that a set has room for: more than the catalogue has.
pub(super) const ROOM: usize = 64 * WORDS;
const WORDS: usize = 8;

/// The number of a feature in the catalogue.
pub(super) type FeatureId = u16;

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FeatureSet([u64; WORDS]);

impl FeatureSet {
    pub(super) fn insert(&mut self, id: FeatureId) {
        if let Some(word) = self.0.get_mut(usize::from(id) / 64) {
            *word |= 1 << (id % 64);
        }
    }

    pub(super) fn remove(&mut self, id: FeatureId) {
        if let Some(word) = self.0.get_mut(usize::from(id) / 64) {
            *word &= !(1 << (id % 64));
        }
    }

    pub(super) fn contains(&self, id: FeatureId) -> bool {
        self.0
            .get(usize::from(id) / 64)
            .is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn union(mut self, other: &Self) -> Self {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(word, other)| *word |= other);
        self
    }

    pub(super) fn intersection(mut self, other: &Self) -> Self {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(word, other)| *word &= other);
        self
    }

    pub(super) fn without(mut self, other: &Self) -> Self {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(word, other)| *word &= !other);
        self
    }

    /// The features, in the catalogue's order.
    pub(super) fn iter(self) -> impl Iterator<Item = FeatureId> {
        (0..).zip(self.0).flat_map(|(index, mut word): (u16, u64)| {
            std::iter::from_fn(move || {
                let bit = u16::try_from(word.trailing_zeros())
                    .ok()
                    .filter(|bit| *bit < 64)?;
                word &= word - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

impl FromIterator<FeatureId> for FeatureSet {
    fn from_iter<T: IntoIterator<Item = FeatureId>>(ids: T) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sets() {
        let a: FeatureSet = [0, 63, 64, 300].into_iter().collect();
        let b: FeatureSet = [63, 300, 301].into_iter().collect();
        assert_eq!(a.iter().collect::<Vec<_>>(), [0, 63, 64, 300]);
        assert_eq!(a.len(), 4);
        assert_eq!(a.union(&b).len(), 5);
        assert_eq!(a.intersection(&b).iter().collect::<Vec<_>>(), [63, 300]);
        assert_eq!(a.without(&b).iter().collect::<Vec<_>>(), [0, 64]);
        assert!(FeatureSet::default().is_empty() && !a.is_empty());
        assert!(a.contains(64) && !a.contains(65) && !a.contains(60_000));
    }
}
