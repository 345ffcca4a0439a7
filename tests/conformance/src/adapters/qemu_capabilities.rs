//! Area `qemu-capabilities`: probing a QEMU binary, and what is told about it.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use virt_driver_qemu::capabilities::recorded::Recorded;
use virt_driver_qemu::capabilities::{cache_xml, probe};

/// Replays a recorded conversation and writes the cache file.
pub fn probe(case: &Case, corpus: &Corpus) -> Outcome {
    probe_inner(case, corpus).into()
}

fn probe_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let replies = corpus.input(case)?;
    let arch = case.arch.as_deref().ok_or("the case names no architecture")?;
    // The recording comes from a host with macOS' framework if its name says so.
    let hvf = case.input_file()?.contains("+hvf");
    let have = (|| {
        let mut sessions = Recorded::sessions(&replies)?.into_iter();
        let mut next = || sessions.next().unwrap_or_default();
        let mut caps = probe::probe(&mut next(), hvf)?;
        if probe::needs_tcg_probe(&caps) {
            probe::probe_tcg(&mut caps, &mut next())?;
        }
        caps.binary = format!("/usr/bin/qemu-system-{arch}");
        if caps.has_hardware_accel() {
            let sum = |text: &str| text.bytes().map(u32::from).sum::<u32>();
            let version = case.text("version").unwrap_or_default();
            caps.host.microcode_version = sum(arch) * 100_000 + sum(version);
        }
        let text = cache_xml::format(&caps);
        // What is written is also read.
        Ok::<_, virt_util::VirtError>(cache_xml::format(&cache_xml::parse(&text, "cache")?))
    })();
    Ok(Outcome::of_text(
        case,
        have,
        corpus.expected(case, "xml")?.as_deref(),
    ))
}
