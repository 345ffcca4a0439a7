//! What the simulated host says it can do.

use virt_conf::capabilities::{
    Capabilities, Cell, CellCpu, CpuPlace, Guest, GuestFeature, GuestPrograms, Host, SecurityModel,
};
use virt_conf::domain_capabilities::{
    CpuModeChoices, CpuModes, DeviceChoices, DomainCapabilities, FeatureChoices, SevChoices, SgxChoices,
};
use virt_util::bitmap::Bitmap;

use crate::node;

const ARCH: &str = "i686";
const PAGE_SIZES: [u64; 4] = [4, 8, 2048, 1024 * 1024];

/// The capabilities of a host with these memory nodes.
pub fn capabilities(cells: &[node::Cell]) -> Capabilities {
    let features = ["pae", "nonpae"];
    let mut next_cpu = 0;
    let cells = cells.iter().enumerate().map(|(number, cell)| {
        // The second node has the larger base pages.
        let base = PAGE_SIZES.get(usize::from(number == 1)).copied().unwrap_or(4);
        let first = next_cpu;
        next_cpu += cell.cpus;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Cell {
            id: number,
            memory: cell.memory,
            pages: vec![(base, cell.memory / base), (2048, 0), (1024 * 1024, 0)],
            distances: Vec::new(),
            caches: Vec::new(),
            cpus: (0..cell.cpus)
                .map(|core| cpu(first + core, number, core))
                .collect(),
        }
    });
    let guest = |os_type: &str| Guest {
        os_type: os_type.to_owned(),
        arch: ARCH.to_owned(),
        word_size: 32,
        common: GuestPrograms {
            emulator: Some("/usr/bin/test-hv".to_owned()),
            ..GuestPrograms::default()
        },
        domains: vec![("test".to_owned(), GuestPrograms::default())],
        features: features
            .map(|name| GuestFeature::Present(name.to_owned()))
            .to_vec(),
    };
    Capabilities {
        host: Host {
            arch: ARCH.to_owned(),
            features: features.map(str::to_owned).to_vec(),
            page_sizes: PAGE_SIZES.to_vec(),
            cells: Some(cells.collect()),
            security_models: vec![SecurityModel {
                model: "testSecurity".to_owned(),
                ..SecurityModel::default()
            }],
            ..Host::default()
        },
        guests: vec![guest("hvm"), guest("xen")],
    }
}

/// What guests of that kind can have: nothing is known of any.
pub fn domain_capabilities(
    path: Option<String>,
    domain: String,
    machine: Option<String>,
    arch: String,
) -> DomainCapabilities {
    let mode = |name: &str| CpuModeChoices {
        name: name.to_owned(),
        ..CpuModeChoices::default()
    };
    let modes = ["host-passthrough", "maximum", "host-model", "custom"];
    DomainCapabilities {
        path,
        domain,
        machine,
        arch,
        cpu: Some(CpuModes {
            modes: modes.map(mode).to_vec(),
        }),
        devices: Some(DeviceChoices::default()),
        features: Some(FeatureChoices {
            sev: Some(SevChoices::default()),
            sgx: Some(SgxChoices::default()),
            ..FeatureChoices::default()
        }),
        ..DomainCapabilities::default()
    }
}

fn cpu(id: u32, socket: u32, core: u32) -> CellCpu {
    CellCpu {
        id,
        place: Some(CpuPlace {
            socket,
            core,
            siblings: usize::try_from(id).into_iter().collect::<Bitmap>(),
            ..CpuPlace::default()
        }),
    }
}
