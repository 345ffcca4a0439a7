//! Area `domain-bhyve`: documents under the bhyve driver, its command lines, and definitions from command lines.

use virt_conf::bhyve_args;
use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, Randomness, normalize};
use virt_conf::domain::validate::validate;
use virt_driver_bhyve::hooks::{BhyveCaps, BhyveHooks};
use virt_driver_bhyve::plan::{Commands, Host, choose_firmware, plan};
use virt_util::uuid::Uuid;
use virt_util::xml::XmlFlags;
use virt_util::{Result, shell};

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// The UUID of every definition that is made from a command line.
const UUID: &str = "c7a5fdbd-edaf-9455-926a-d65c16db1809";

/// What the folders of firmware hold.
const FIRMWARE: (&str, [&str; 3]) = (
    "fakefirmwaredir",
    ["BHYVE_UEFI.fd", "BHYVE_UEFI_CSM.fd", "refind_x64.efi"],
);

/// The area's random numbers.
struct NoRandomness;

impl Randomness for NoRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn uuid(&self) -> Uuid {
        virt_util::uuid::parse(UUID).unwrap_or_default()
    }
}

fn words<'a>(case: &'a Case, name: &str) -> Vec<&'a str> {
    let list = case.more.get(name).and_then(|list| list.as_array());
    list.into_iter()
        .flatten()
        .filter_map(|word| word.as_str())
        .collect()
}

fn caps(case: &Case) -> std::result::Result<BhyveCaps, String> {
    words(case, "bhyve_caps")
        .into_iter()
        .try_fold(BhyveCaps::empty(), |caps, word| {
            let cap = word.strip_prefix("BHYVE_CAP_").and_then(BhyveCaps::from_name);
            cap.map(|cap| caps | cap)
                .ok_or_else(|| format!("the capability {word} is not known"))
        })
}

fn read(source: &str, caps: BhyveCaps) -> Result<Domain> {
    let hooks = BhyveHooks { caps };
    let mut domain = Domain::parse(source, XmlFlags::INACTIVE, "input")?;
    let cx = NormalizeContext {
        flags: NormalizeFlags::INACTIVE,
        random: &NoRandomness,
    };
    normalize(&mut domain, &hooks, &cx)?;
    validate(&domain, &hooks)?;
    Ok(domain)
}

/// Read, complete and write.
pub fn xml2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let have = read(&corpus.input(case)?, caps(case)?)
            .map(|domain| domain.format(XmlFlags::INACTIVE | XmlFlags::SECURE));
        Ok(Outcome::of_text(
            case,
            have,
            corpus.expected(case, "xml")?.as_deref(),
        ))
    };
    run().into()
}

/// Command line to document.
pub fn argv2xml(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let parsed = bhyve_args::parse(&corpus.input(case)?, &NoRandomness);
        let warned = parsed.as_ref().map_or(true, |parsed| !parsed.warnings.is_empty());
        let have = parsed.map(|parsed| parsed.domain.format(XmlFlags::SECURE));
        Ok(Outcome::all([
            Outcome::of_text(case, have, corpus.expected(case, "xml")?.as_deref()),
            Outcome::equal("warned", &warned, &case.has_flag("warning")),
        ]))
    };
    run().into()
}

/// A command on one line; programs are recorded without their folders.
fn line(command: &[String]) -> String {
    let mut words: Vec<_> = command.iter().map(|word| shell::quote(word)).collect();
    if let Some(program) = words.first_mut()
        && let Some((_, name)) = program.rsplit_once('/')
    {
        *program = name.to_owned().into();
    }
    words.join(" ")
}

/// Document to command lines.
pub fn xml2argv(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let caps = caps(case)?;
        let source = corpus.input(case)?;
        let folder = case
            .more
            .get("firmware_dir")
            .and_then(|folder| folder.as_str())
            .unwrap_or_default();
        let files = if folder == FIRMWARE.0 {
            FIRMWARE.1.map(str::to_owned).to_vec()
        } else {
            Vec::new()
        };
        let commands = || -> Result<Commands> {
            let mut domain = read(&source, caps)?;
            choose_firmware(&mut domain, folder, &files)?;
            let host = Host {
                bhyve: "bhyve".to_owned(),
                bhyveload: "bhyveload".to_owned(),
                caps,
                grub_console: words(case, "grub_caps").contains(&"BHYVE_GRUB_CAP_CONSDEV"),
                taps: vec!["faketapdev".to_owned(); domain.devices.interfaces.len()],
                display_port: 5900,
                device_map: "<device.map>".to_owned(),
            };
            plan(&domain, &host)
        };
        let commands = commands();
        let want = |role: &str| -> std::result::Result<Option<String>, String> {
            Ok(corpus
                .expected(case, role)?
                .map(|text| text.trim_end().replace(" \\\n", " ")))
        };
        let part = |role: &str, have: &dyn Fn(&Commands) -> String| -> std::result::Result<Outcome, String> {
            Ok(Outcome::of_text(
                case,
                commands.as_ref().map(have),
                want(role)?.as_deref(),
            ))
        };
        Ok(Outcome::all([
            part("args", &|commands| line(&commands.bhyve))?,
            part("ldargs", &|commands| {
                commands
                    .loader
                    .as_ref()
                    .map_or("dummy".to_owned(), |loader| line(loader))
            })?,
            part("devmap", &|commands| {
                commands
                    .device_map
                    .as_deref()
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            })?,
        ]))
    };
    run().into()
}
