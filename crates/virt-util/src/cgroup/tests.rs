use super::*;

/// A machine with these mounts, this `/proc/self/cgroup`, and these folders and files.
fn machine(mounts: &str, own: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, content: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put("proc/mounts", mounts);
    put("proc/self/cgroup", own);
    for (path, content) in files {
        put(path, content);
    }
    root
}

fn detect(root: &tempfile::TempDir) -> Result<Layout> {
    Layout::detect_at(root.path(), "self")
}

#[test]
fn v1_with_shared_mounts() {
    let root = machine(
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
         cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
         cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpuacct,cpu 0 0\n\
         cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n",
        "3:cpuacct,cpu:/system/libvirtd.service\n2:cpuset:/\n1:name=systemd:/user\n",
        &[
            ("sys/fs/cgroup/cpu,cpuacct/x", ""),
            ("sys/fs/cgroup/cpuset/cpuset.cpus", "0-3\n"),
            ("sys/fs/cgroup/cpuset/cpuset.mems", "0\n"),
        ],
    );
    std::os::unix::fs::symlink("cpu,cpuacct", root.path().join("sys/fs/cgroup/cpu")).unwrap();
    let layout = detect(&root).unwrap();
    let cpu = &layout.legacy[&Controller::Cpu];
    assert_eq!(cpu.link.as_deref(), Some(Path::new("/sys/fs/cgroup/cpu")));
    assert_eq!(layout.legacy[&Controller::Cpuacct].link, None);
    // libvirt's own nested group is taken off.
    assert_eq!(cpu.placement.as_deref(), Some("/system"));
    assert_eq!(layout.unified, None);
    let group = layout.group("/guest");
    assert_eq!(group.version(Controller::Cpuset), Some(Version::V1));
    assert_eq!(group.version(Controller::Systemd), None);
    // A plain folder has no cpuset files until they are written: stand-ins for the kernel's.
    let folder = root.path().join("sys/fs/cgroup/cpuset/guest");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("cpuset.cpus"), "").unwrap();
    fs::write(folder.join("cpuset.mems"), "").unwrap();
    group.inherit_cpuset(&folder).unwrap();
    assert_eq!(group.read(Controller::Cpuset, "cpuset.cpus").unwrap(), "0-3");
    assert!(!group.exists());
    group.make().unwrap();
    assert!(group.exists());
    assert!(group.read(Controller::Memory, "x").is_err());
}

#[test]
fn v2_alone_and_without_controllers() {
    let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
    let root = machine(
        mounts,
        "0::/machine.slice/guest.scope/libvirt/emulator\n",
        &[
            ("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n"),
            (
                "sys/fs/cgroup/machine.slice/guest.scope/cgroup.controllers",
                "cpu memory\n",
            ),
        ],
    );
    let unified = detect(&root).unwrap().unified.unwrap();
    assert_eq!(unified.placement.as_deref(), Some("/machine.slice/guest.scope"));
    assert_eq!(
        unified.controllers,
        [Controller::Cpu, Controller::Cpuacct, Controller::Memory]
    );
    let root = machine(mounts, "0::/\n", &[("sys/fs/cgroup/cgroup.controllers", "\n")]);
    assert_eq!(detect(&root).unwrap_err().int1(), libc::ENXIO);
    assert!(detect(&machine("", "", &[])).is_err());
}

#[test]
fn in_a_hybrid_v1_comes_first() {
    let root = machine(
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
         cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n",
        "4:memory:/a\n0::/\n",
        &[("sys/fs/cgroup/unified/cgroup.controllers", "cpu memory\n")],
    );
    let layout = detect(&root).unwrap();
    let own = layout.own_group();
    assert_eq!(own.version(Controller::Memory), Some(Version::V1));
    assert_eq!(own.version(Controller::Cpu), Some(Version::V2));
    assert!(
        own.folder(Controller::Memory)
            .unwrap()
            .ends_with("sys/fs/cgroup/memory/a")
    );
}

#[test]
fn names_that_the_kernel_uses_are_escaped() {
    assert_eq!(escape_name("cpu.foo.libvirt-lxc"), "_cpu.foo.libvirt-lxc");
    assert_eq!(escape_name("cgroup.evil"), "_cgroup.evil");
    assert_eq!(escape_name("_evil"), "__evil");
    assert_eq!(escape_name("tasks"), "_tasks");
    assert_eq!(escape_name("web.libvirt-qemu"), "web.libvirt-qemu");
    assert_eq!(unescape("/a\\040b\\134"), "/a b\\");
}

#[test]
fn a_real_group_takes_a_process() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: needs root");
        return;
    }
    let Ok(layout) = Layout::detect() else {
        println!("SKIPPED: needs cgroups");
        return;
    };
    let group = layout
        .group("/")
        .child(&format!("virt-util-test-{}", std::process::id()));
    if let Err(error) = group.make() {
        let _ = group.remove();
        println!("SKIPPED: needs cgroups that can be changed: {error}");
        return;
    }
    let mut child = std::process::Command::new("/bin/sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let pid = child.id() as i32;
    let added = group.add_process(pid);
    let found = group.processes();
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel takes a moment to notice that the last process is gone.
    let removed = (0..100).find_map(|_| match group.remove() {
        Ok(()) => Some(()),
        Err(_) => {
            std::thread::sleep(std::time::Duration::from_millis(10));
            None
        }
    });
    removed.expect("an empty group can be removed");
    added.unwrap();
    assert_eq!(found.unwrap(), [pid]);
    assert!(!group.exists());
}
