use super::*;
use crate::arch::Arch;
use std::fs;

/// Builds a machine from (path below the root, content).
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let host = Host::at(folder.path());
    (folder, host)
}

const CPU: &str = "sys/devices/system/cpu";
const NODE: &str = "sys/devices/system/node";

fn two_cores_with_threads() -> Vec<(String, String)> {
    let mut files = vec![
        (format!("{CPU}/present"), "0-4\n".to_owned()),
        (format!("{CPU}/online"), "0-3\n".to_owned()),
        (format!("{NODE}/online"), "0\n".to_owned()),
        (format!("{NODE}/node0/cpulist"), "0-3\n".to_owned()),
        (format!("{NODE}/node0/distance"), "10\n".to_owned()),
        (
            format!("{NODE}/node0/meminfo"),
            "Node 0 MemTotal:   1048576 kB\nNode 0 MemFree:  524288 kB\n".to_owned(),
        ),
        (
            format!("{NODE}/node0/hugepages/hugepages-2048kB/nr_hugepages"),
            "4\n".to_owned(),
        ),
        (
            format!("{NODE}/node0/hugepages/hugepages-2048kB/free_hugepages"),
            "1\n".to_owned(),
        ),
        (
            "proc/meminfo".to_owned(),
            "MemTotal:  1000000 kB\nMemFree: 5 kB\nBuffers: 1 kB\nCached: 2 kB\nSwapCached: 9 kB\n"
                .to_owned(),
        ),
        (
            "proc/cpuinfo".to_owned(),
            "vendor_id\t: V\ncpu family\t: 6\nmodel\t\t: 23\nmodel name\t: N N\nstepping\t: 10\n\
             microcode\t: 0x1f\ncpu MHz\t\t: 2100.125\naddress sizes\t: 48 bits physical, 57 bits virtual\n"
                .to_owned(),
        ),
        (
            "proc/stat".to_owned(),
            "cpu  1 2 3 4 5 6 7 8\ncpu0 10 20 30 40\n".to_owned(),
        ),
    ];
    for cpu in 0..5 {
        let topology = format!("{CPU}/cpu{cpu}/topology");
        files.push((format!("{NODE}/node0/cpu{cpu}/x"), String::new()));
        files.push((format!("{topology}/physical_package_id"), "0\n".to_owned()));
        files.push((format!("{topology}/core_id"), format!("{}\n", cpu % 2)));
        files.push((format!("{topology}/cluster_id"), "-1\n".to_owned()));
        files.push((
            format!("{topology}/thread_siblings_list"),
            format!("{},{}\n", cpu % 2, cpu % 2 + 2),
        ));
        let cache = format!("{CPU}/cpu{cpu}/cache");
        for (index, level, size) in [(0, 1, "32K"), (2, 2, "256K"), (3, 3, "8M")] {
            let shared = if level == 3 {
                "0-3".to_owned()
            } else {
                format!("{},{}", cpu % 2, cpu % 2 + 2)
            };
            let id = if level == 3 { 0 } else { cpu % 2 };
            for (name, value) in [
                ("level", level.to_string()),
                ("id", id.to_string()),
                ("type", "Unified".to_owned()),
                ("size", size.to_owned()),
                ("shared_cpu_list", shared),
            ] {
                files.push((format!("{cache}/index{index}/{name}"), value));
            }
        }
    }
    files
}

fn sample() -> (tempfile::TempDir, Host) {
    let files = two_cores_with_threads();
    let borrowed: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect();
    machine(&borrowed)
}

#[test]
fn a_topology_that_does_not_multiply_out_is_declared_flat() {
    let (_keep, host) = sample();
    // 1 × 1 × 2 × 2 is 4, but the fifth CPU is only offline.
    let flat = host.cpu_topology(Arch::X86_64).unwrap();
    assert_eq!((flat.cpus, flat.cores, flat.threads, flat.mhz), (4, 5, 1, 2100));
    assert_eq!(flat.max_cpus(), 5);
    fs::write(_keep.path().join(CPU).join("present"), "0-3").unwrap();
    let real = host.cpu_topology(Arch::X86_64).unwrap();
    assert_eq!((real.cpus, real.cores, real.threads), (4, 2, 2));
}

#[test]
fn cells_caches_and_places() {
    let (_keep, host) = sample();
    let cells = host.numa_cells().unwrap();
    assert_eq!(cells.len(), 1);
    let cell = &cells[0];
    assert_eq!((cell.memory_kib, cell.free_kib), (1_048_576, 524_288));
    assert_eq!(cell.distances, [(0, 10)]);
    assert_eq!(cell.cpus.len(), 4);
    assert_eq!((cell.cpus[3].core, cell.cpus[3].cluster), (1, 0));
    assert_eq!(cell.cpus[3].siblings.to_string(), "1,3");
    let huge = cell.pages.last().unwrap();
    assert_eq!((huge.size_kib, huge.total, huge.free), (2048, 4, 1));
    let caches = host.caches().unwrap();
    let shown: Vec<_> = caches
        .iter()
        .map(|bank| (bank.level, bank.id, bank.size >> 10, bank.cpus.to_string()))
        .collect();
    assert_eq!(
        shown,
        [
            (2, 0, 256, "0,2".to_owned()),
            (2, 1, 256, "1,3".to_owned()),
            (3, 0, 8192, "0-3".to_owned())
        ]
    );
}

#[test]
fn what_proc_says() {
    let (_keep, host) = sample();
    assert_eq!(host.memory_stats(None).unwrap().len(), 4);
    assert_eq!(
        host.memory_stats(Some(7)).unwrap_err().code(),
        crate::ErrorCode::INVALID_ARG
    );
    assert_eq!(
        host.cpu_signature(Arch::X86_64).unwrap().as_deref(),
        Some("V, N N, family: 6, model: 23, stepping: 10")
    );
    assert_eq!(host.cpu_signature(Arch::Aarch64).unwrap(), None);
    assert_eq!(host.microcode(), Some(31));
    assert_eq!(host.physical_address_bits(), Some(48));
    let times = host.cpu_times(None).unwrap();
    let tick = times.iowait / 5;
    assert_eq!((times.kernel, times.user), (16 * tick, 3 * tick));
    assert_eq!(host.cpu_times(Some(0)).unwrap().iowait, 0);
    assert!(host.cpu_times(Some(1)).is_err());
}

#[test]
fn memory_is_that_of_the_cells_where_there_are_any() {
    let (_keep, host) = sample();
    assert_eq!(host.numa_cell_ids().unwrap(), [0]);
    assert_eq!(host.memory_kib().unwrap(), 1_048_576);
    assert_eq!(host.free_memory_kib().unwrap(), 524_288);

    let (_keep, whole) = machine(&[
        ("proc/meminfo", "MemTotal:  1000000 kB\nMemFree: 8 kB\n"),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "4\n"),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1\n"),
    ]);
    assert_eq!(whole.memory_kib().unwrap(), 1_000_000);
    let pages: Vec<_> = whole
        .pages()
        .unwrap()
        .iter()
        .map(|pages| (pages.size_kib, pages.free))
        .collect();
    let ordinary = crate::sys::memory::page_size() / 1024;
    assert_eq!(pages, [(ordinary, 8 / ordinary), (2048, 1)]);
}

#[test]
fn this_machine_can_be_read() {
    let host = Host::system();
    let arch = Arch::host().unwrap_or(Arch::X86_64);
    let topology = host.cpu_topology(arch).unwrap();
    assert!(topology.cpus > 0 && topology.max_cpus() >= topology.cpus);
    assert!(host.memory_kib().unwrap() > 1024);
    assert!(host.free_memory_kib().unwrap() > 0);
    host.numa_cells().unwrap();
    host.caches().unwrap();
}
