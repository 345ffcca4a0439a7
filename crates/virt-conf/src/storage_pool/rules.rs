//! What each type of pool is made of: the parts of its source, its formats, where its volumes appear.
//!
//! Reading, completing, writing and the capabilities document all follow this one table.

use super::{PoolFormat, PoolType};
use crate::storage_volume::VolumeFormat;

bitflags::bitflags! {
    /// The parts of a source that a type of pool uses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SourceParts: u8 {
        /// Servers.
        const HOST = 1 << 0;
        /// Devices.
        const DEVICE = 1 << 1;
        /// A folder.
        const DIR = 1 << 2;
        /// A SCSI adapter.
        const ADAPTER = 1 << 3;
        /// A name: volume group, image pool, volume of a server.
        const NAME = 1 << 4;
        /// Who the iSCSI client says it is.
        const INITIATOR = 1 << 5;
        /// The data are reached over the network by programs: nothing appears in a folder of this host.
        const NETWORK = 1 << 6;
    }
}

/// Where the volumes of a pool appear on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetRule {
    /// In a folder that the definition names.
    Named,
    /// In the folder of the source's name below this one.
    Below(&'static str),
    /// Nowhere.
    None,
}

/// The formats that the volumes of a pool can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeFormats {
    /// Volumes have no format.
    None,
    /// Image formats. Some types of pool do not list them as capabilities.
    Image {
        /// Whether the capabilities list them.
        listed: bool,
    },
    /// Types of partitions.
    Partition,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct PoolRules {
    /// The type.
    pub kind: PoolType,
    /// What its source has.
    pub parts: SourceParts,
    /// The formats of its source, and the one that is meant if none is said.
    pub formats: Option<(&'static [PoolFormat], PoolFormat)>,
    /// Where its volumes appear.
    pub target: TargetRule,
    /// What formats its volumes have.
    pub volumes: VolumeFormats,
}

const FILE_SYSTEMS: &[PoolFormat] = &[
    PoolFormat::Auto,
    PoolFormat::Ext2,
    PoolFormat::Ext3,
    PoolFormat::Ext4,
    PoolFormat::Ufs,
    PoolFormat::Iso9660,
    PoolFormat::Udf,
    PoolFormat::Gfs,
    PoolFormat::Gfs2,
    PoolFormat::Vfat,
    PoolFormat::HfsPlus,
    PoolFormat::Xfs,
    PoolFormat::Ocfs2,
    PoolFormat::Vmfs,
];
const NETWORK_FILE_SYSTEMS: &[PoolFormat] = &[
    PoolFormat::Auto,
    PoolFormat::Nfs,
    PoolFormat::Glusterfs,
    PoolFormat::Cifs,
];
const PARTITION_TABLES: &[PoolFormat] = &[
    PoolFormat::Unknown,
    PoolFormat::Dos,
    PoolFormat::Dvh,
    PoolFormat::Gpt,
    PoolFormat::Mac,
    PoolFormat::Bsd,
    PoolFormat::Pc98,
    PoolFormat::Sun,
    PoolFormat::Lvm2,
];
const VOLUME_MANAGERS: &[PoolFormat] = &[PoolFormat::Unknown, PoolFormat::Lvm2];

const IMAGES: VolumeFormats = VolumeFormats::Image { listed: true };

const fn row(kind: PoolType, parts: SourceParts, target: TargetRule, volumes: VolumeFormats) -> PoolRules {
    PoolRules {
        kind,
        parts,
        formats: None,
        target,
        volumes,
    }
}

const fn formatted(row: PoolRules, formats: &'static [PoolFormat], default: PoolFormat) -> PoolRules {
    PoolRules {
        formats: Some((formats, default)),
        ..row
    }
}

const NOTHING: SourceParts = SourceParts::empty();
const HOST: SourceParts = SourceParts::HOST;
const DEVICE: SourceParts = SourceParts::DEVICE;
const NAME: SourceParts = SourceParts::NAME;
const NETWORK: SourceParts = SourceParts::NETWORK;

impl PoolType {
    /// The rules for the type.
    pub const fn rules(self) -> PoolRules {
        use TargetRule::{Below, Named};
        match self {
            Self::Dir => row(self, NOTHING, Named, IMAGES),
            Self::Fs => formatted(row(self, DEVICE, Named, IMAGES), FILE_SYSTEMS, PoolFormat::Auto),
            Self::Netfs => formatted(
                row(self, HOST.union(SourceParts::DIR), Named, IMAGES),
                NETWORK_FILE_SYSTEMS,
                PoolFormat::Auto,
            ),
            Self::Logical => formatted(
                row(self, NAME.union(DEVICE), Below("/dev"), VolumeFormats::None),
                VOLUME_MANAGERS,
                PoolFormat::Lvm2,
            ),
            Self::Disk => formatted(
                row(self, DEVICE, Named, VolumeFormats::Partition),
                PARTITION_TABLES,
                PoolFormat::Unknown,
            ),
            Self::Iscsi => row(
                self,
                HOST.union(DEVICE).union(SourceParts::INITIATOR),
                Named,
                VolumeFormats::None,
            ),
            Self::IscsiDirect => row(
                self,
                HOST.union(DEVICE).union(SourceParts::INITIATOR).union(NETWORK),
                TargetRule::None,
                VolumeFormats::None,
            ),
            Self::Scsi => row(self, SourceParts::ADAPTER, Named, VolumeFormats::None),
            Self::Mpath => row(self, NOTHING, Named, VolumeFormats::None),
            Self::Rbd => row(
                self,
                HOST.union(NAME).union(NETWORK),
                TargetRule::None,
                VolumeFormats::Image { listed: false },
            ),
            Self::Sheepdog => row(
                self,
                HOST.union(NAME).union(NETWORK),
                TargetRule::None,
                VolumeFormats::None,
            ),
            Self::Gluster => row(
                self,
                HOST.union(NAME).union(SourceParts::DIR).union(NETWORK),
                TargetRule::None,
                IMAGES,
            ),
            Self::Zfs => row(self, NAME.union(DEVICE), Below("/dev/zvol"), VolumeFormats::None),
            Self::Vstorage => row(self, NAME, Named, IMAGES),
        }
    }
}

impl PoolRules {
    /// Whether the type's source has these parts.
    pub const fn has(&self, parts: SourceParts) -> bool {
        self.parts.contains(parts)
    }

    /// The formats of the type's source; none if it has no format.
    pub fn source_formats(&self) -> &'static [PoolFormat] {
        self.formats.map_or(&[], |(formats, _)| formats)
    }
}

impl VolumeFormats {
    /// The formats that a definition may name.
    pub const fn allowed(self) -> &'static [VolumeFormat] {
        match self {
            Self::None => &[],
            Self::Image { .. } => match VolumeFormat::IMAGES.split_first() {
                // "none" is only the absence of a format.
                Some((_, rest)) => rest,
                None => &[],
            },
            Self::Partition => VolumeFormat::PARTITIONS,
        }
    }

    /// The format that is meant if none is said.
    pub const fn default_format(self) -> Option<VolumeFormat> {
        match self {
            Self::None => None,
            Self::Image { .. } => Some(VolumeFormat::Raw),
            Self::Partition => Some(VolumeFormat::None),
        }
    }

    /// The formats that the capabilities list.
    pub const fn listed(self) -> &'static [VolumeFormat] {
        match self {
            Self::Image { listed: true } => VolumeFormat::IMAGES,
            Self::Partition => VolumeFormat::PARTITIONS,
            Self::Image { listed: false } | Self::None => &[],
        }
    }
}
