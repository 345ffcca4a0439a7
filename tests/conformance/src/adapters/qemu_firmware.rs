//! Area `qemu-firmware`: firmware and vhost-user descriptors.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use serde_json::{Value, json};
use virt_driver_qemu::firmware::{Descriptor, Interop, SearchPath, supported};

/// Reads a descriptor and writes it again.
pub fn format(case: &Case, corpus: &Corpus) -> Outcome {
    format_inner(case, corpus).into()
}

fn format_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let input = corpus.input(case)?;
    let want = corpus.expected(case, "json")?.unwrap_or_default();
    let mut want: Value = serde_json::from_str(&want).map_err(|error| error.to_string())?;
    if let Some(want) = want.as_object_mut() {
        // For people, and not kept.
        want.shift_remove("description");
        want.shift_remove("tags");
    }
    let have = Descriptor::parse(input.as_bytes()).map(|descriptor| descriptor.to_json());
    Ok(Outcome::of_value(case, have, &want))
}

/// What a machine boots with.
pub fn machine(case: &Case, corpus: &Corpus) -> Outcome {
    machine_inner(case, corpus).into()
}

fn machine_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let search = search(corpus, "common/qemu-env/firmware")?;
    let all = search.firmware().map_err(|error| error.to_string())?;
    let all: Vec<Descriptor> = all.into_iter().map(|(_, descriptor)| descriptor).collect();
    let arch = case.text("arch")?.parse().map_err(|error| format!("{error}"))?;
    let found = supported(&all, case.text("machine")?, arch);
    let interfaces: Vec<&str> = [(found.bios, "bios"), (found.efi, "efi")]
        .into_iter()
        .filter_map(|(has, name)| has.then_some(name))
        .collect();
    let have =
        json!({"interfaces": interfaces, "secure": found.secure, "images": found.images.unwrap_or_default()});
    let want = json!({
        "interfaces": case.param("interfaces"), "secure": case.param("secure"), "images": case.param("images"),
    });
    Ok(Outcome::equal("firmware", &have, &want))
}

/// Which firmware descriptors are in force.
pub fn precedence(case: &Case, corpus: &Corpus) -> Outcome {
    precedence_of(case, corpus, Interop::Firmware, "common/qemu-env/firmware").into()
}

/// Which vhost-user descriptors are in force.
pub fn vhost_user_precedence(case: &Case, corpus: &Corpus) -> Outcome {
    precedence_of(case, corpus, Interop::VhostUser, "common/qemu-env/vhostuser").into()
}

fn precedence_of(case: &Case, corpus: &Corpus, kind: Interop, root: &str) -> Result<Outcome, String> {
    let paths = search(corpus, root)?
        .descriptors(kind)
        .map_err(|error| error.to_string())?;
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    Ok(Outcome::equal("paths", &json!(paths), case.param("paths")))
}

fn search(corpus: &Corpus, root: &str) -> Result<SearchPath, String> {
    Ok(SearchPath::session("/home/user/.config").below(corpus.path(root)?))
}
