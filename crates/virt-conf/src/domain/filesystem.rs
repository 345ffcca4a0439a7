//! Shared file systems.

use virt_util::xml::{At, Element, Reader, Xml, error_at, error_with};
use virt_util::{ErrorCode, Result};

use super::device_info::{DeviceInfo, VirtioOptions};
use super::storage::StorageFormat;
use crate::scaled::bytes;

xml_enum! {
    /// What implements the shared file system.
    pub enum FilesystemDriver { Default = "default", Path = "path", Handle = "handle", Loop = "loop", Nbd = "nbd", Ploop = "ploop", Virtiofs = "virtiofs", Mtp = "mtp" }
}

xml_enum! {
    /// How owners and permissions are mapped.
    pub enum FilesystemAccessMode { Passthrough = "passthrough", Mapped = "mapped", Squash = "squash" }
}

xml_enum! {
    /// When written data is flushed on the host.
    pub enum FilesystemWritePolicy { Default = "default", Immediate = "immediate" }
}

xml_enum! {
    /// Which variant of the virtio device is presented.
    pub enum FilesystemModel { Virtio = "virtio", VirtioTransitional = "virtio-transitional", VirtioNonTransitional = "virtio-non-transitional" }
}

xml_enum! {
    /// What happens when several host devices lie below the directory.
    pub enum FilesystemMultidevs { Default = "default", Remap = "remap", Forbid = "forbid", Warn = "warn" }
}

xml_enum! {
    /// How virtiofsd caches.
    pub enum FilesystemCacheMode { None = "none", Always = "always" }
}

xml_enum! {
    /// How virtiofsd is confined.
    pub enum FilesystemSandboxMode { Namespace = "namespace", Chroot = "chroot" }
}

/// A file system of the host that the guest sees.
#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "filesystem", body, check = Filesystem::after_read)]
pub struct Filesystem {
    /// How owners and permissions are mapped.
    #[xml("@accessmode", nonempty)]
    pub access_mode: Option<FilesystemAccessMode>,
    /// Which variant of the virtio device is presented.
    #[xml("@model")]
    pub model: Option<FilesystemModel>,
    /// What happens when several host devices lie below the directory.
    #[xml("@multidevs", default)]
    pub multidevs: FilesystemMultidevs,
    /// Permissions of new files, octal.
    #[xml("@fmode", format = "%04o", max = 0o777, base = 8, when = self.file_mode != Some(0))]
    pub file_mode: Option<u32>,
    /// Permissions of new folders, octal.
    #[xml("@dmode", format = "%04o", max = 0o777, base = 8, when = self.directory_mode != Some(0))]
    pub directory_mode: Option<u32>,
    /// What implements it.
    #[xml("driver", default)]
    pub driver: FilesystemDriverOptions,
    /// The virtiofsd program.
    #[xml("binary+", default)]
    pub binary: FilesystemBinary,
    /// Mapping of users and groups.
    #[xml("idmap+", read_when = driver.kind == FilesystemDriver::Virtiofs)]
    pub idmap: Option<IdMap>,
    /// What it is made from.
    #[xml(flatten, first)]
    pub source: FilesystemSource,
    /// Where the guest sees it: a mount point or a tag.
    #[xml("target+@dir")]
    pub target: Option<String>,
    /// The guest cannot write.
    #[xml("readonly")]
    pub read_only: bool,
    /// Alias, boot order and address.
    #[xml(flatten)]
    pub info: DeviceInfo,
    /// Most bytes that may be used.
    #[xml("space_hard_limit", unless_empty, with = bytes, described = crate::scaled::ScaledSize)]
    pub space_hard_limit: Option<u64>,
    /// Bytes above which writing becomes slower.
    #[xml("space_soft_limit", unless_empty, with = bytes, described = crate::scaled::ScaledSize)]
    pub space_soft_limit: Option<u64>,
}

/// What implements a shared file system.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "driver")]
pub struct FilesystemDriverOptions {
    /// The implementation.
    #[xml("@type", default)]
    pub kind: FilesystemDriver,
    /// Format of an image.
    #[xml("@format", code = ErrorCode::CONFIG_UNSUPPORTED, when = self.kind != FilesystemDriver::Default)]
    pub format: Option<StorageFormat>,
    /// When written data is flushed on the host.
    #[xml("@wrpolicy", default, when = self.kind != FilesystemDriver::Default)]
    pub write_policy: FilesystemWritePolicy,
    /// Entries of the queue.
    #[xml("@queue", own, default, read_when = kind == FilesystemDriver::Virtiofs, nonempty)]
    pub queue_size: u64,
    /// Options of virtio devices.
    #[xml(flatten)]
    pub virtio: VirtioOptions,
}

/// The virtiofsd program.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "binary")]
pub struct FilesystemBinary {
    /// Absolute path of the virtiofsd program.
    #[xml("@path", nonempty, with = crate::values::tidy_path, described = String)]
    pub path: Option<String>,
    /// Whether extended attributes are passed.
    #[xml("@xattr", on_off)]
    pub xattr: Option<bool>,
    /// How it caches.
    #[xml("cache@mode")]
    pub cache: Option<FilesystemCacheMode>,
    /// How it is confined.
    #[xml("sandbox@mode")]
    pub sandbox: Option<FilesystemSandboxMode>,
    /// Whether POSIX locks reach the host.
    #[xml("lock@posix", on_off)]
    pub posix_lock: Option<bool>,
    /// Whether BSD locks reach the host.
    #[xml("lock@flock", on_off)]
    pub flock: Option<bool>,
    /// Most worker threads of virtiofsd; 0 handles requests without them.
    #[xml("thread_pool+@size", own, nonempty)]
    pub thread_pool: Option<u32>,
    /// Most open files.
    #[xml("openfiles+@max", own, nonempty, when = self.open_files != Some(0))]
    pub open_files: Option<u64>,
}

/// Mapping of users and groups of a container.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "idmap")]
pub struct IdMap {
    /// Users.
    #[xml("uid")]
    pub uids: Vec<IdRange>,
    /// Groups.
    #[xml("gid")]
    pub gids: Vec<IdRange>,
}

/// A range of ids.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the guest.
    #[xml("@start", own)]
    pub start: u32,
    /// First id on the host.
    #[xml("@target", own)]
    pub target: u32,
    /// How many.
    #[xml("@count", own)]
    pub count: u32,
}

/// What a shared file system is made from.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(union = "@type")]
pub enum FilesystemSource {
    /// A folder of the host, or the socket of a running virtiofsd.
    #[xml(default)]
    Mount {
        /// The folder.
        #[xml("source@dir", when = socket.is_none())]
        dir: Option<String>,
        /// Where a virtiofsd that runs already listens.
        #[xml("source@socket")]
        socket: Option<String>,
    },
    /// A block device of the host.
    Block {
        /// Its path.
        #[xml("source@dev")]
        dev: Option<String>,
    },
    /// An image file.
    File {
        /// Its path.
        #[xml("source@file")]
        file: Option<String>,
    },
    /// An OpenVZ template.
    Template {
        /// Which template is used.
        #[xml("source@name")]
        name: Option<String>,
    },
    /// Memory.
    Ram {
        /// KiB.
        #[xml("source", with = ram_usage, shape = ram_usage_shape)]
        usage: u64,
    },
    /// Another folder of the container.
    Bind {
        /// Its path.
        #[xml("source@dir")]
        dir: Option<String>,
    },
    /// A volume of a pool.
    Volume {
        /// Which storage pool holds it.
        #[xml("source@pool")]
        pool: String,
        /// What the pool calls it.
        #[xml("source@volume")]
        volume: String,
    },
}

impl Default for FilesystemSource {
    fn default() -> Self {
        Self::Mount {
            dir: None,
            socket: None,
        }
    }
}

fn ram_usage_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("RamUsage", "source", "How much memory a file system may use." => {
        /// The memory, in the unit.
        "@usage" => usage: value(u64),
        /// The unit; KiB if none is said.
        "@units" => units: value(crate::scaled::Unit),
    })
}

/// `<source usage='64' units='KiB'/>`.
mod ram_usage {
    use virt_util::Result;
    use virt_util::xml::{At, Element, Reader, Writer, error_at, push_unsigned};

    pub(super) fn read(element: Element<'_>, _cx: &mut Reader) -> Result<u64> {
        let Some(usage) = element.attr("usage") else {
            return Err(error_at(
                element,
                At::Text,
                "'usage' is missing: a filesystem in memory needs a size",
            ));
        };
        let unit = element.attr("units");
        let at = At::Attribute("usage");
        let bytes = crate::scaled::scale_text(element, at, (&usage, unit.as_deref()), 1024, u64::MAX)?;
        Ok(bytes / 1024)
    }

    pub(super) fn write(value: &u64, w: &mut Writer, name: &str) {
        w.start(name);
        w.attribute_with("usage", |out| push_unsigned(out, *value));
        w.attribute("units", "KiB");
        w.end(name);
    }
}

impl Filesystem {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        if self.driver.kind != FilesystemDriver::Virtiofs {
            self.binary = FilesystemBinary::default();
        }
        let socket = matches!(&self.source, FilesystemSource::Mount { socket: Some(_), .. });
        if socket && matches!(&self.source, FilesystemSource::Mount { dir: Some(_), .. }) {
            cx.fail(error_at(
                element,
                At::Child("source"),
                "the source of a mount is a 'dir' or a 'socket', not both",
            ))?;
        }
        let nothing = matches!(
            &self.source,
            FilesystemSource::Mount {
                dir: None,
                socket: None
            } | FilesystemSource::Block { dev: None }
                | FilesystemSource::File { file: None }
                | FilesystemSource::Template { name: None }
                | FilesystemSource::Bind { dir: None }
        );
        if nothing {
            cx.fail(error_with(
                ErrorCode::NO_SOURCE,
                element,
                At::Child("source"),
                "missing source information for the filesystem",
            ))?;
        }
        // Who stops at the first error is told of this when all is read, as libvirt does.
        if cx.collects() && self.target.is_none() && !socket {
            cx.fail(error_with(
                ErrorCode::NO_TARGET,
                element,
                At::Child("target"),
                "missing filesystem target dir",
            ))?;
        }
        Ok(())
    }
}
