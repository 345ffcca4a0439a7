//! Area `capabilities-xml`: what a host is.

use virt_conf::capabilities::{Capabilities, Host, Migration};
use virt_driver_qemu::driver::host_caps;
use virt_util::host::Host as Machine;

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;
use crate::tree;

/// The host part alone, of a captured machine. Sizes of memory are not in the tree: the area gives a rule for them.
pub fn host_caps(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> Result<Outcome, String> {
        let root = tempfile::tempdir().map_err(|error| error.to_string())?;
        for (role, folder) in [("system", "sys/devices/system"), ("resctrl", "sys/fs/resctrl")] {
            if let Some(name) = case.input.get(role).and_then(|name| name.as_str()) {
                tree::unpack(corpus, name, &root.path().join(folder))?;
            }
        }
        let on = |name: &str| case.param(name).as_bool().unwrap_or(false);
        let mut host = Host {
            arch: case.arch.clone().unwrap_or_default(),
            migration: on("offline_migrate").then(|| Migration {
                live: on("live_migrate"),
                transports: Vec::new(),
            }),
            ..Host::default()
        };
        let read = host_caps::memory_and_caches(&mut host, &Machine::at(root.path()));
        for cell in host.cells.iter_mut().flatten() {
            let number = u64::from(cell.id) + 1;
            cell.memory = number << 20;
            cell.distances.clear();
            cell.pages = (0..)
                .zip([4, 2048, 1_048_576])
                .map(|(index, size)| (size, (number + index) * 2 * 1024))
                .collect();
        }
        let have = Capabilities {
            host,
            guests: Vec::new(),
        };
        let want = corpus.expected(case, "xml")?;
        Ok(Outcome::of_text(
            case,
            read.map(|()| have.to_xml()),
            want.as_deref(),
        ))
    };
    run().into()
}
