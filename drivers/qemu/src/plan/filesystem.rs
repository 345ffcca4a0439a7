//! Folders of the host that the guest shares.

use virt_conf::domain::filesystem::{
    Filesystem, FilesystemAccessMode, FilesystemDriver, FilesystemModel, FilesystemMultidevs,
    FilesystemSource, FilesystemWritePolicy,
};
use virt_util::{ErrorCode, Result, VirtError};

use super::Builder;
use super::args::{Props, escape_commas};
use super::device::{VirtioVariant, alias};
use super::machine::Options;

fn variant(filesystem: &Filesystem) -> VirtioVariant {
    match filesystem.model {
        Some(FilesystemModel::VirtioTransitional) => VirtioVariant::Transitional,
        Some(FilesystemModel::VirtioNonTransitional) => VirtioVariant::NonTransitional,
        _ => VirtioVariant::Plain,
    }
}

fn path(filesystem: &Filesystem) -> &str {
    match &filesystem.source {
        FilesystemSource::Mount { dir, .. } | FilesystemSource::Bind { dir } => {
            dir.as_deref().unwrap_or_default()
        }
        FilesystemSource::Block { dev } => dev.as_deref().unwrap_or_default(),
        FilesystemSource::File { file } => file.as_deref().unwrap_or_default(),
        FilesystemSource::Template { name } => name.as_deref().unwrap_or_default(),
        FilesystemSource::Ram { .. } | FilesystemSource::Volume { .. } => "",
    }
}

impl Builder<'_> {
    pub(super) fn filesystems(&mut self) -> Result<()> {
        let domain = self.domain;
        for filesystem in &domain.devices.filesystems {
            match filesystem.driver.kind {
                FilesystemDriver::Default | FilesystemDriver::Path | FilesystemDriver::Handle => {
                    self.command.option("-fsdev", local(filesystem)?);
                    self.zpci(&filesystem.info)?;
                    let name = alias(&filesystem.info)?;
                    let props = self
                        .virtio(
                            "virtio-9p",
                            &filesystem.info,
                            variant(filesystem),
                            Some(&filesystem.driver.virtio),
                        )?
                        .with("id", name)
                        .with("fsdev", format!("fsdev-{name}"))
                        .with("mount_tag", filesystem.target.as_deref().unwrap_or_default())
                        .and(self.address(&filesystem.info, None)?);
                    self.device(props)?;
                }
                FilesystemDriver::Virtiofs => self.virtiofs(filesystem)?,
                FilesystemDriver::Mtp => {
                    let props = Props::device("usb-mtp")
                        .with("id", alias(&filesystem.info)?)
                        .with("rootdir", path(filesystem))
                        .with("desc", filesystem.target.as_deref().unwrap_or_default())
                        .with("readonly", filesystem.read_only)
                        .and(self.address(&filesystem.info, None)?);
                    self.device(props)?;
                }
                FilesystemDriver::Loop | FilesystemDriver::Nbd | FilesystemDriver::Ploop => {}
            }
        }
        Ok(())
    }

    fn virtiofs(&mut self, filesystem: &Filesystem) -> Result<()> {
        let name = alias(&filesystem.info)?;
        let socket = match &filesystem.source {
            FilesystemSource::Mount {
                socket: Some(socket), ..
            } => socket.clone(),
            _ => format!("{}/{name}-fs.sock", self.layout.directory),
        };
        let chardev = format!("chr-vu-{name}");
        self.command.option(
            "-chardev",
            format!("socket,id={chardev},path={}", escape_commas(&socket)),
        );
        self.zpci(&filesystem.info)?;
        let props = self
            .virtio(
                "vhost-user-fs",
                &filesystem.info,
                variant(filesystem),
                Some(&filesystem.driver.virtio),
            )?
            .with("id", name)
            .with("chardev", chardev)
            .positive("queue-size", filesystem.driver.queue_size)
            .with("tag", filesystem.target.as_deref().unwrap_or_default())
            .positive(
                "bootindex",
                filesystem.info.boot.as_ref().map_or(0, |boot| boot.order),
            )
            .and(self.address(&filesystem.info, None)?);
        self.device(props)
    }
}

fn local(filesystem: &Filesystem) -> Result<String> {
    let mut options = Options::default();
    if filesystem.driver.kind == FilesystemDriver::Handle {
        options.0.push_str("handle");
    } else {
        options.0.push_str("local");
        let model = match filesystem.access_mode {
            Some(FilesystemAccessMode::Mapped) => "mapped",
            Some(FilesystemAccessMode::Squash) => "none",
            Some(FilesystemAccessMode::Passthrough) | None => "passthrough",
        };
        options.put("security_model", model);
        if filesystem.multidevs != FilesystemMultidevs::Default {
            options.put("multidevs", filesystem.multidevs);
        }
        for (key, mode) in [
            ("fmode", filesystem.file_mode),
            ("dmode", filesystem.directory_mode),
        ] {
            if let Some(mode) = mode.filter(|mode| *mode != 0) {
                options.put(key, format_args!("{mode:04o}"));
            }
        }
    }
    if filesystem.driver.write_policy != FilesystemWritePolicy::Default {
        options.put("writeout", filesystem.driver.write_policy);
    }
    if !matches!(filesystem.source, FilesystemSource::Mount { .. }) {
        let what = "a shared folder of QEMU has type 'mount' only";
        return Err(VirtError::new(ErrorCode::CONFIG_UNSUPPORTED, what));
    }
    options.put("id", format_args!("fsdev-{}", alias(&filesystem.info)?));
    options.put("path", escape_commas(path(filesystem)));
    if filesystem.read_only {
        options.0.push_str(",readonly");
    }
    Ok(options.0)
}
