//! Area `host-cpu-topology`: what `/sys` and `/proc` of a machine say about its CPUs.

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use crate::tree;
use std::path::Path;
use virt_util::Arch;
use virt_util::host::Host;

/// `virsh nodeinfo` in one line.
pub fn node_info(case: &Case, corpus: &Corpus) -> Outcome {
    node_info_inner(case, corpus).into()
}

fn node_info_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let root = machine(case, corpus)?;
    let arch = arch_of(case)?;
    // What KVM answers on the machines that were captured.
    let threads_per_subcore = if arch.is_ppc64() { 8 } else { 0 };
    let have = Host::at(root.path())
        .cpu_topology_with_subcores(arch, threads_per_subcore)
        .map(|info| {
            format!(
                "CPUs: {}/{}, MHz: {}, Nodes: {}, Sockets: {}, Cores: {}, Threads: {}\n",
                info.cpus,
                info.max_cpus(),
                info.mhz,
                info.nodes,
                info.sockets,
                info.cores,
                info.threads
            )
        });
    let want = corpus.expected(case, "text")?;
    Ok(Outcome::of_text(case, have, want.as_deref()))
}

/// The signature; none expected means none may be found.
pub fn cpu_signature(case: &Case, corpus: &Corpus) -> Outcome {
    cpu_signature_inner(case, corpus).into()
}

fn cpu_signature_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let root = machine(case, corpus)?;
    let have = Host::at(root.path())
        .cpu_signature(arch_of(case)?)
        .map_err(|e| e.to_string())?;
    let want = corpus
        .expected(case, "signature")?
        .map(|text| text.trim_end_matches('\n').to_owned());
    Ok(Outcome::equal("signature", &have, &want))
}

/// The times of all CPUs and of each.
pub fn cpu_stats(case: &Case, corpus: &Corpus) -> Outcome {
    cpu_stats_inner(case, corpus).into()
}

fn cpu_stats_inner(case: &Case, corpus: &Corpus) -> Result<Outcome, String> {
    let root = machine(case, corpus)?;
    let host = Host::at(root.path());
    let count = case
        .param("ncpus")
        .as_u64()
        .and_then(|count| u32::try_from(count).ok())
        .ok_or("the case has no number of CPUs")?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|ticks| u64::try_from(ticks).ok())
        .ok_or("clock ticks are unknown")?;
    let tick = 1_000_000_000 / ticks;
    let have = std::iter::once(None)
        .chain((0..count).map(Some))
        .map(|cpu| {
            let times = host.cpu_times(cpu)?;
            let name = cpu.map_or_else(|| "cpu".to_owned(), |cpu| format!("cpu{cpu}"));
            Ok(format!(
                "{name}:\nkernel: {}\nuser: {}\nidle: {}\niowait: {}\n\n",
                times.kernel / tick,
                times.user / tick,
                times.idle / tick,
                times.iowait / tick
            ))
        })
        .collect::<virt_util::Result<String>>();
    let want = corpus.expected(case, "text")?;
    Ok(Outcome::of_text(case, have, want.as_deref()))
}

fn arch_of(case: &Case) -> Result<Arch, String> {
    let name = case.arch.as_deref().ok_or("the case names no architecture")?;
    Arch::from_name(name).ok_or_else(|| format!("unknown architecture {name}"))
}

/// A folder with the case's files where a machine has them.
fn machine(case: &Case, corpus: &Corpus) -> Result<tempfile::TempDir, String> {
    let root = tempfile::tempdir().map_err(|e| e.to_string())?;
    let put = |name: &str, at: &str| -> Result<(), String> {
        let Some(file) = case.input.get(name).and_then(|file| file.as_str()) else {
            return Ok(());
        };
        let target = root.path().join(at);
        let folder = target.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        std::fs::write(&target, corpus.bytes(file)?).map_err(|e| e.to_string())
    };
    put("cpuinfo", "proc/cpuinfo")?;
    put("stat", "proc/stat")?;
    if let Some(tree) = case.input.get("sysfs").and_then(|tree| tree.as_str()) {
        tree::unpack(corpus, tree, &root.path().join("sys/devices/system"))?;
    }
    Ok(root)
}
