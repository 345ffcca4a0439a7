//! Area `domain-vmx`: VMware's files and domain documents.

use virt_conf::domain::Domain;
use virt_conf::domain::controller::ScsiControllerModel;
use virt_conf::domain::disk::Disk;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, normalize};
use virt_conf::domain::validate::validate;
use virt_conf::vmx::{self, MissingFile, VmxContext, VmxFiles, VmxHooks};
use virt_util::xml::XmlFlags;
use virt_util::{Result, VirtError};

use super::domain_generic::CountingRandomness;
use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

const VOLUMES: &str = "/vmfs/volumes/";

/// The datastores of the area.
struct Datastores;

impl VmxFiles for Datastores {
    fn to_definition(&self, name: &str, missing: MissingFile) -> Result<Option<String>> {
        if let Some((store, path)) = name.strip_prefix(VOLUMES).and_then(|rest| rest.split_once('/')) {
            let absent = store == "missing" || path.starts_with("missing");
            return match (absent, missing) {
                (false, _) => Ok(Some(format!("[{store}] {path}"))),
                (true, MissingFile::IsEmpty) => Ok(None),
                (true, MissingFile::IsError) => Err(VirtError::internal(format_args!(
                    "Referenced missing file '{name}'"
                ))),
            };
        }
        match name {
            _ if name.starts_with('/') => Ok(Some(name.to_owned())),
            _ if name.contains('/') => Err(VirtError::internal(format_args!("relative path '{name}'"))),
            _ => Ok(Some(format!("[datastore] directory/{name}"))),
        }
    }

    fn to_vmx(&self, path: &str) -> Result<String> {
        if let Some((store, path)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return Ok(format!("{VOLUMES}{store}/{}", path.trim_start_matches(' ')));
        }
        if path.starts_with('/') {
            return Ok(path.to_owned());
        }
        Err(VirtError::internal(format_args!("relative path '{path}'")))
    }

    fn scsi_model(&self, _disk: &Disk) -> Result<Option<ScsiControllerModel>> {
        Ok(Some(ScsiControllerModel::Lsilogic))
    }
}

/// File to document.
pub fn vmx2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let file = case.input_file()?;
        let cx = VmxContext {
            datacenter_path: case.text("datacenter_path").ok().map(str::to_owned),
            ..VmxContext::new(&Datastores)
        };
        let have = vmx::parse(file, &corpus.bytes(file)?, &cx, &CountingRandomness)
            .map(|domain| domain.format(XmlFlags::SECURE));
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}

/// Document to file.
pub fn xml2vmx(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let source = corpus.input(case)?;
        let version = case.param("virtual_hw_version").as_u64();
        let version = version
            .and_then(|version| version.try_into().ok())
            .ok_or("no virtual_hw_version")?;
        let convert = || -> Result<String> {
            let mut domain = Domain::parse(&source, XmlFlags::INACTIVE, "input")?;
            let cx = NormalizeContext {
                flags: NormalizeFlags::INACTIVE,
                random: &CountingRandomness,
            };
            normalize(&mut domain, &VmxHooks, &cx)?;
            validate(&domain, &VmxHooks)?;
            vmx::format(&domain, version, &VmxContext::new(&Datastores))
        };
        Ok(Outcome::of_text(
            case,
            convert(),
            corpus.expected(case, "vmx")?.as_deref(),
        ))
    };
    run().into()
}
