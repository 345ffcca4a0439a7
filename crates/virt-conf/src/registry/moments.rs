//! The moments of one guest: its snapshots, or its checkpoints, of which each follows another and one is the current one.

use std::collections::BTreeMap;
use std::sync::Arc;

use virt_util::types::{DomainCheckpointListFlags, DomainSnapshotListFlags};
use virt_util::{ErrorCode, Result, VirtError};

use crate::checkpoint::Checkpoint;
use crate::moment::check_cycles;
use crate::snapshot::{Snapshot, SnapshotState};

/// What is a moment of a guest.
pub trait Moment: Clone {
    /// What messages call one.
    const NOUN: &'static str;
    /// The code for one that is not there.
    const NOT_FOUND: ErrorCode;

    /// Its name, unique among those of its guest.
    fn name(&self) -> &str;

    /// The one that it follows.
    fn parent(&self) -> Option<&str>;

    /// Makes it follow another one.
    fn set_parent(&mut self, parent: Option<String>);

    /// What of a list with these flags is asked of each moment by itself.
    fn is_wanted(&self, _flags: u32) -> bool {
        true
    }

    /// The part of a list's flags that all kinds of moments know.
    fn selection(flags: u32) -> Selection;
}

/// Which moments a list has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// From a moment on: all that follow it, not only the next ones. In a list of all: only those that follow none.
    pub further: bool,
    /// Those that none follows.
    pub leaves: bool,
    /// Those that another one follows.
    pub no_leaves: bool,
    /// None at all.
    pub nothing: bool,
}

/// What a removal takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The moment; those that follow it follow its parent then.
    One,
    /// The moment and all that follow it.
    WithChildren,
    /// All that follow it.
    ChildrenOnly,
}

/// The moments of a guest.
#[derive(Clone, Debug)]
pub struct Moments<M> {
    all: BTreeMap<String, Arc<M>>,
    current: Option<String>,
}

impl<M: Moment> Moments<M> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The moment of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<M>> {
        self.all.get(name)
    }

    /// The moment of that name.
    ///
    /// # Errors
    /// The kind's code for one that is not there.
    pub fn find(&self, name: &str) -> Result<&Arc<M>> {
        let found = self.get(name);
        found.ok_or_else(|| {
            VirtError::new(
                M::NOT_FOUND,
                format_args!("no domain {} with matching name '{name}'", M::NOUN),
            )
        })
    }

    /// The one that the guest is at.
    pub fn current(&self) -> Option<&Arc<M>> {
        self.get(self.current.as_deref()?)
    }

    /// The guest is at this one, or at none.
    pub fn set_current(&mut self, name: Option<&str>) {
        self.current = name.map(str::to_owned);
    }

    /// Takes a new one in.
    ///
    /// # Errors
    /// `OPERATION_FAILED` if there is one of its name.
    pub fn add(&mut self, moment: M) -> Result<()> {
        let name = moment.name().to_owned();
        if self.all.contains_key(&name) {
            return Err(VirtError::new(
                ErrorCode::OPERATION_FAILED,
                format_args!(
                    "domain moment {name} already exists: name the {} otherwise",
                    M::NOUN
                ),
            ));
        }
        self.all.insert(name, Arc::new(moment));
        Ok(())
    }

    /// Takes one in, in the place of the one of its name.
    pub fn replace(&mut self, moment: M) {
        self.all.insert(moment.name().to_owned(), Arc::new(moment));
    }

    /// Refuses a moment whose parent is not there, or that would follow itself.
    ///
    /// # Errors
    /// `INVALID_ARG`.
    pub fn check_place(&self, moment: &M) -> Result<()> {
        let parent_of = |name: &str| self.get(name)?.parent().map(str::to_owned);
        let exists = |name: &str| self.all.contains_key(name);
        check_cycles(M::NOUN, moment.name(), moment.parent(), exists, parent_of)
    }

    /// Those that follow the one of that name next; those that follow none for `None`.
    pub fn children(&self, of: Option<&str>) -> Vec<&Arc<M>> {
        self.by_parent().remove(&of).unwrap_or_default()
    }

    /// All that follow the one of that name, each behind its parent; for `None`, all.
    pub fn descendants(&self, of: Option<&str>) -> Vec<&Arc<M>> {
        let mut by_parent = self.by_parent();
        let mut open = by_parent.remove(&of).unwrap_or_default();
        open.reverse();
        let mut found = Vec::with_capacity(self.len());
        while let Some(moment) = open.pop() {
            found.push(moment);
            let children = by_parent.remove(&Some(moment.name())).unwrap_or_default();
            open.extend(children.into_iter().rev());
        }
        found
    }

    /// What a list with these flags has: of all for `None`, else of those that follow the one of that name.
    pub fn list(&self, from: Option<&str>, flags: u32) -> Vec<&Arc<M>> {
        let selection = M::selection(flags);
        if selection.nothing {
            return Vec::new();
        }
        // The one bit means opposite things in the two lists.
        let mut listed = match selection.further == from.is_some() {
            true => self.descendants(from),
            false => self.children(from),
        };
        let by_parent = self.by_parent();
        listed.retain(|moment| {
            let leaf = !by_parent.contains_key(&Some(moment.name()));
            let fits = match (selection.leaves, selection.no_leaves) {
                (true, false) => leaf,
                (false, true) => !leaf,
                _ => true,
            };
            fits && moment.is_wanted(flags)
        });
        listed
    }

    /// Takes one away, and says what was.
    ///
    /// # Errors
    /// The kind's code for one that is not there.
    pub fn remove(&mut self, name: &str, removal: Removal) -> Result<()> {
        let parent = self.find(name)?.parent().map(str::to_owned);
        if removal == Removal::One {
            let children: Vec<M> = self
                .children(Some(name))
                .into_iter()
                .map(|child| M::clone(child))
                .collect();
            for mut child in children {
                child.set_parent(parent.clone());
                self.replace(child);
            }
        } else {
            let gone: Vec<String> = self
                .descendants(Some(name))
                .into_iter()
                .map(|moment| moment.name().to_owned())
                .collect();
            for gone in gone {
                self.all.remove(&gone);
                if self.current.as_deref() == Some(&*gone) {
                    self.current = Some(name.to_owned());
                }
            }
        }
        if removal != Removal::ChildrenOnly {
            self.all.remove(name);
            if self.current.as_deref() == Some(name) {
                self.current = parent.filter(|parent| self.all.contains_key(parent));
            }
        }
        Ok(())
    }

    /// By the names of those that they follow. Who follows one that is not there follows none.
    fn by_parent(&self) -> BTreeMap<Option<&str>, Vec<&Arc<M>>> {
        let mut by_parent: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for moment in self.all.values() {
            let parent = moment.parent().filter(|parent| self.all.contains_key(*parent));
            by_parent.entry(parent).or_default().push(moment);
        }
        by_parent
    }
}

impl<M> Default for Moments<M> {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            current: None,
        }
    }
}

impl Moment for Snapshot {
    const NOUN: &'static str = "snapshot";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_DOMAIN_SNAPSHOT;

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    fn set_parent(&mut self, parent: Option<String>) {
        self.parent = parent;
    }

    fn is_wanted(&self, flags: u32) -> bool {
        type Flags = DomainSnapshotListFlags;
        let flags = Flags::from(flags);
        let (inactive, disk_only) = (
            self.state == Some(SnapshotState::Shutoff),
            self.state == Some(SnapshotState::DiskSnapshot),
        );
        let of = |flag| flags.contains(flag);
        let by_state = !(of(Flags::INACTIVE) || of(Flags::ACTIVE) || of(Flags::DISK_ONLY))
            || (inactive && of(Flags::INACTIVE))
            || (disk_only && of(Flags::DISK_ONLY))
            || (!inactive && !disk_only && of(Flags::ACTIVE));
        let external = self.is_external();
        let by_place = match (of(Flags::INTERNAL), of(Flags::EXTERNAL)) {
            (true, false) => !external,
            (false, true) => external,
            _ => true,
        };
        by_state && by_place
    }

    fn selection(flags: u32) -> Selection {
        type Flags = DomainSnapshotListFlags;
        let flags = Flags::from(flags);
        Selection {
            further: flags.contains(Flags::ROOTS),
            leaves: flags.contains(Flags::LEAVES),
            no_leaves: flags.contains(Flags::NO_LEAVES),
            nothing: flags.contains(Flags::NO_METADATA) && !flags.contains(Flags::METADATA),
        }
    }
}

impl Moment for Checkpoint {
    const NOUN: &'static str = "checkpoint";
    const NOT_FOUND: ErrorCode = ErrorCode::NO_DOMAIN_CHECKPOINT;

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    fn set_parent(&mut self, parent: Option<String>) {
        self.parent = parent;
    }

    fn selection(flags: u32) -> Selection {
        type Flags = DomainCheckpointListFlags;
        let flags = Flags::from(flags);
        Selection {
            further: flags.contains(Flags::ROOTS),
            leaves: flags.contains(Flags::LEAVES),
            no_leaves: flags.contains(Flags::NO_LEAVES),
            nothing: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Moments<Checkpoint> {
        let mut moments = Moments::default();
        for (name, parent) in [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", Some("a"))] {
            let added = moments.add(Checkpoint {
                name: Some(name.to_owned()),
                parent: parent.map(str::to_owned),
                ..Checkpoint::default()
            });
            added.unwrap();
        }
        moments.set_current(Some("c"));
        moments
    }

    fn names(listed: Vec<&Arc<Checkpoint>>) -> String {
        listed.iter().map(|moment| moment.name()).collect()
    }

    #[test]
    fn lists_have_what_their_flags_ask_for() {
        let moments = tree();
        assert_eq!(names(moments.list(None, 0)), "abcd");
        assert_eq!(names(moments.list(None, 1)), "a");
        assert_eq!(names(moments.list(None, 4)), "cd");
        assert_eq!(names(moments.list(None, 8)), "ab");
        assert_eq!(names(moments.list(Some("a"), 0)), "bd");
        assert_eq!(names(moments.list(Some("a"), 1)), "bcd");
        assert_eq!(names(moments.list(Some("c"), 1)), "");
    }

    #[test]
    fn what_followed_a_removed_one_follows_its_parent() {
        let mut moments = tree();
        moments.remove("b", Removal::One).unwrap();
        assert_eq!(moments.get("c").unwrap().parent(), Some("a"));
        assert_eq!(moments.current().unwrap().name(), "c");
        moments.remove("c", Removal::One).unwrap();
        assert_eq!(moments.current().unwrap().name(), "a");
        let gone = moments.remove("c", Removal::One).unwrap_err();
        assert_eq!(gone.code(), ErrorCode::NO_DOMAIN_CHECKPOINT);
    }

    #[test]
    fn children_go_with_or_without_their_parent() {
        let mut moments = tree();
        moments.remove("a", Removal::ChildrenOnly).unwrap();
        assert_eq!(names(moments.list(None, 0)), "a");
        assert_eq!(moments.current().unwrap().name(), "a");
        let mut moments = tree();
        moments.remove("b", Removal::WithChildren).unwrap();
        assert_eq!(names(moments.list(None, 0)), "ad");
        assert_eq!(moments.current().unwrap().name(), "a");
    }

    #[test]
    fn nothing_follows_itself_or_what_is_not_there() {
        let moments = tree();
        let place = |name: &str, parent: &str| {
            let moment = Checkpoint {
                name: Some(name.to_owned()),
                parent: Some(parent.to_owned()),
                ..Checkpoint::default()
            };
            moments.check_place(&moment).is_ok()
        };
        assert!(place("e", "d") && place("c", "d"));
        assert!(!place("e", "f") && !place("e", "e") && !place("a", "c"));
    }
}
