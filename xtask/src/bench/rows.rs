//! The rows of `bench`, and the inputs they need, which are made once and kept beside the build.

use super::{Goal, Row, Script, Work};
use crate::task::{self, Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names for several rows.
pub(super) const GROUPS: &[(&str, &[&str])] = &[(
    "conf",
    &[
        "conf-parse",
        "conf-format",
        "conf-2000-disks",
        "conf-growth",
        "conf-memory",
        "saved-10000",
        "build",
    ],
)];

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "virsh-list",
        about: "virsh -c test:///default list, from start to exit",
        goal: Goal::Times(4.0),
        work: Work::Process(&["-q", "-c", "test:///default", "list"]),
    },
    Row {
        name: "conf-parse",
        about: "parse and complete a domain of 260 lines",
        goal: Goal::Times(10.0),
        work: Work::Model {
            what: "parse",
            rounds: 300,
            document: |folder| big_domain(folder, "test"),
        },
    },
    Row {
        name: "conf-format",
        about: "format that domain",
        goal: Goal::Times(10.0),
        work: Work::Model {
            what: "format",
            rounds: 300,
            document: |folder| big_domain(folder, "test"),
        },
    },
    Row {
        name: "conf-2000-disks",
        about: "parse and complete a domain of 2,000 disks",
        goal: Goal::Times(10.0),
        work: Work::Model {
            what: "parse",
            rounds: 10,
            document: |folder| many_disks(folder, 2_000),
        },
    },
    Row {
        name: "conf-growth",
        about: "how much longer 2,000 disks take than 1,000",
        goal: Goal::AtMost(2.4),
        work: Work::Growth {
            large: |folder| many_disks(folder, 2_000),
            small: |folder| many_disks(folder, 1_000),
            rounds: 10,
        },
    },
    Row {
        name: "conf-memory",
        about: "bytes that a kept domain of 260 lines takes for each of its document",
        goal: Goal::AtMost(3.0),
        work: Work::Kept {
            rounds: 2_000,
            document: |folder| big_domain(folder, "test"),
        },
    },
    Row {
        name: "build",
        about: "the processor's time for building virt-conf for release, without what it depends on",
        goal: Goal::AtMost(120.0),
        work: Work::Build { package: "virt-conf" },
    },
    Row {
        name: "define",
        about: "define that domain of 260 lines with the test driver",
        goal: Goal::Times(3.0),
        work: Work::Commands {
            uri: default,
            rounds: 200,
            script: |folder| big(folder, &[0]),
        },
    },
    Row {
        name: "dumpxml",
        about: "show it",
        goal: Goal::Times(3.0),
        work: Work::Commands {
            uri: default,
            rounds: 200,
            script: |folder| {
                Ok(Script {
                    before: vec![format!("define {}", big_domain(folder, "test")?)],
                    round: vec!["dumpxml big".to_owned()],
                    ..Script::default()
                })
            },
        },
    },
    Row {
        name: "define-durable",
        about: "define a domain of 260 lines for QEMU, on disk",
        goal: Goal::Times(3.0),
        work: Work::Commands {
            uri: embedded,
            rounds: 50,
            script: |folder| {
                Ok(Script {
                    round: vec![
                        format!("define {}", big_domain(folder, "qemu")?),
                        "undefine big".to_owned(),
                    ],
                    ..Script::default()
                })
            },
        },
    },
    Row {
        name: "open-10000",
        about: "open a file of 10,000 domains and list them",
        goal: Goal::Times(12.0),
        work: Work::Open {
            full: ten_thousand,
            empty: default,
        },
    },
    Row {
        name: "saved-10000",
        about: "load 10,000 saved QEMU domains and list them",
        goal: Goal::Times(5.0),
        work: Work::Open {
            full: ten_thousand_saved,
            empty: embedded,
        },
    },
    Row {
        name: "memory-10000",
        about: "memory for each of 10,000 saved QEMU domains that are off",
        goal: Goal::Times(2.0),
        work: Work::Memory {
            full: ten_thousand_saved,
            empty: embedded,
            objects: 10_000,
        },
    },
    Row {
        name: "list-10000",
        about: "list 10,000 domains",
        goal: Goal::Times(10.0),
        work: Work::Commands {
            uri: ten_thousand,
            rounds: 5,
            script: |_| {
                Ok(Script {
                    round: vec!["list --all --name".to_owned()],
                    ..Script::default()
                })
            },
        },
    },
    Row {
        name: "lookup-10000",
        about: "look up the last of 10,000 domains by its id",
        goal: Goal::Times(2.0),
        work: Work::Commands {
            uri: ten_thousand,
            rounds: 200,
            script: |_| {
                Ok(Script {
                    round: vec!["domname 10000".to_owned()],
                    ..Script::default()
                })
            },
        },
    },
    Row {
        name: "start",
        about: "start a guest, beyond what bare QEMU takes",
        goal: Goal::Times(4.0),
        work: Work::Commands {
            uri: embedded,
            rounds: 3,
            script: |folder| {
                Ok(Script {
                    bare: bare_qemu,
                    ..guest(folder, &[0])?
                })
            },
        },
    },
    Row {
        name: "destroy",
        about: "destroy a running guest",
        goal: Goal::Times(10.0),
        work: Work::Commands {
            uri: embedded,
            rounds: 3,
            script: |folder| guest(folder, &[1]),
        },
    },
];

impl Default for Script {
    fn default() -> Self {
        Self {
            before: Vec::new(),
            round: Vec::new(),
            timed: &[0],
            after: Vec::new(),
            bare: |_| Ok(Duration::ZERO),
        }
    }
}

fn default(_: &Path) -> Result<String> {
    Ok("test:///default".to_owned())
}

/// A QEMU host that lives in the process that opens it.
fn embedded(folder: &Path) -> Result<String> {
    let root = folder.join("embedded");
    let etc = root.join("etc");
    std::fs::create_dir_all(&etc).context(|| etc.display().to_string())?;
    // Without this stock libvirt wants a daemon of its own for the log file of a guest.
    task::write(&etc.join("qemu.conf"), "stdio_handler = \"file\"\n")?;
    Ok(format!("qemu:///embed?root={}", root.display()))
}

fn big(folder: &Path, timed: &'static [usize]) -> Result<Script> {
    Ok(Script {
        round: vec![
            format!("define {}", big_domain(folder, "test")?),
            "undefine big".to_owned(),
        ],
        timed,
        ..Script::default()
    })
}

/// A guest without disks is started and destroyed.
fn guest(folder: &Path, timed: &'static [usize]) -> Result<Script> {
    let file = folder.join("guest.xml");
    let kind = if kvm() { "kvm" } else { "qemu" };
    task::write(
        &file,
        format!(
            "<domain type='{kind}'><name>guest</name><uuid>{}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os></domain>\n",
            uuid(20_000)
        ),
    )?;
    Ok(Script {
        before: vec![format!("define {}", file.display())],
        round: vec!["start guest".to_owned(), "destroy guest".to_owned()],
        timed,
        after: vec!["undefine guest".to_owned()],
        ..Script::default()
    })
}

fn kvm() -> bool {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
}

/// How long QEMU by itself takes until such a guest runs.
fn bare_qemu(_: &Path) -> Result<Duration> {
    const PROGRAM: &str = "qemu-system-x86_64";
    let accelerator = if kvm() { "pc,accel=kvm" } else { "pc,accel=tcg" };
    let started = Instant::now();
    let mut child = Command::new(PROGRAM)
        .args([
            "-machine",
            accelerator,
            "-m",
            "64",
            "-nodefaults",
            "-no-user-config",
        ])
        .args(["-display", "none", "-S", "-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context(|| PROGRAM.to_owned())?;
    let until_it_runs = || -> std::io::Result<bool> {
        let (Some(input), Some(output)) = (&mut child.stdin, &mut child.stdout) else {
            return Ok(false);
        };
        input.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\"}\n")?;
        for line in BufReader::new(output).lines() {
            if line?.contains("\"RESUME\"") {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let runs = { until_it_runs }();
    let time = started.elapsed();
    // It holds nothing that is worth a goodbye.
    let _ = child.kill();
    child.wait().context(|| PROGRAM.to_owned())?;
    match runs.context(|| PROGRAM.to_owned())? {
        true => Ok(time),
        false => Err(format!("{PROGRAM} ended before its guest ran").into()),
    }
}

/// A domain of some 260 lines: 20 disks and 20 interfaces.
fn big_domain(folder: &Path, kind: &str) -> Result<String> {
    let file = folder.join(format!("big-{kind}.xml"));
    let mut devices = String::new();
    for i in 0..20_u8 {
        let letter = char::from(b'a' + i);
        devices.push_str(&format!(
            "    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/disk{i}.qcow2'/>
      <target dev='vd{letter}' bus='virtio'/>
      <serial>S{i:04}</serial>
    </disk>
    <interface type='ethernet'>
      <mac address='52:54:00:12:34:{i:02x}'/>
      <target dev='net{i}'/>
      <model type='virtio'/>
      <link state='up'/>
      <mtu size='1500'/>
    </interface>
"
        ));
    }
    let text = format!(
        "<domain type='{kind}'>
  <name>big</name>
  <uuid>{}</uuid>
  <memory unit='KiB'>1048576</memory>
  <vcpu>4</vcpu>
  <os><type>hvm</type></os>
  <devices>
{devices}  </devices>
</domain>
",
        uuid(10_000)
    );
    task::write(&file, text)?;
    Ok(file.display().to_string())
}

fn many_disks(folder: &Path, count: usize) -> Result<String> {
    let file = folder.join(format!("disks-{count}.xml"));
    let mut text = format!(
        "<domain type='test'><name>disks</name><uuid>{}</uuid><memory>65536</memory><vcpu>1</vcpu>\
         <os><type>hvm</type></os><devices>\n",
        uuid(30_000)
    );
    for i in 0..count {
        text.push_str(&format!(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>\
             <source file='/var/lib/libvirt/images/disk{i}.qcow2'/><target dev='{}' bus='virtio'/></disk>\n",
            disk_name(i)
        ));
    }
    text.push_str("</devices></domain>\n");
    task::write(&file, text)?;
    Ok(file.display().to_string())
}

/// vda, vdb … vdz, vdaa …
fn disk_name(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        letters.push(b'a' + ((rest - 1) % 26) as u8);
        rest = (rest - 1) / 26;
    }
    letters.reverse();
    format!("vd{}", String::from_utf8_lossy(&letters))
}

/// A host of the test driver with 10,000 domains.
pub(super) fn ten_thousand(folder: &Path) -> Result<String> {
    let file = folder.join("ten-thousand.xml");
    if !file.exists() {
        let mut text = "<node>\n".to_owned();
        for i in 0..10_000 {
            text.push_str(&format!(
                "<domain type='test'><name>d{i:05}</name><uuid>{}</uuid><memory>65536</memory><vcpu>1</vcpu>\
                 <os><type>hvm</type></os></domain>\n",
                uuid(i)
            ));
        }
        text.push_str("</node>\n");
        task::write(&file, text)?;
    }
    Ok(format!("test://{}", file.display()))
}

/// A UUID of our own for a number.
fn uuid(number: u32) -> String {
    format!("5f6ecba4-0000-4000-8000-{number:012x}")
}

/// A QEMU host with 10,000 saved domains of some 60 lines, none of which runs.
fn ten_thousand_saved(folder: &Path) -> Result<String> {
    let root = folder.join("saved-guests");
    let definitions = root.join("etc/qemu");
    if !definitions.join("d09999.xml").exists() {
        std::fs::create_dir_all(&definitions).context(|| definitions.display().to_string())?;
        for i in 0..10_000 {
            task::write(&definitions.join(format!("d{i:05}.xml")), saved_guest(i))?;
        }
    }
    Ok(format!("qemu:///embed?root={}", root.display()))
}

/// A guest as libvirt saves it.
fn saved_guest(number: u32) -> String {
    let pci = |slot: u8| {
        format!("<address type='pci' domain='0x0000' bus='0x00' slot='0x{slot:02x}' function='0x0'/>")
    };
    let (disk, net, balloon) = (pci(4), pci(3), pci(5));
    let (ide, usb, serial) = (
        "<address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x1'/>",
        "<address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x2'/>",
        pci(6),
    );
    let mac = format!("52:54:00:{:02x}:{:02x}:01", number >> 8, number & 0xff);
    format!(
        "<domain type='qemu'>
  <name>d{number:05}</name>
  <uuid>{}</uuid>
  <memory unit='KiB'>65536</memory>
  <currentMemory unit='KiB'>65536</currentMemory>
  <vcpu placement='static'>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-10.0'>hvm</type>
    <boot dev='hd'/>
  </os>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/d{number:05}.qcow2'/>
      <target dev='vda' bus='virtio'/>
      {disk}
    </disk>
    <controller type='usb' index='0' model='piix3-uhci'>
      {usb}
    </controller>
    <controller type='ide' index='0'>
      {ide}
    </controller>
    <controller type='pci' index='0' model='pci-root'/>
    <controller type='virtio-serial' index='0'>
      {serial}
    </controller>
    <interface type='user'>
      <mac address='{mac}'/>
      <model type='virtio'/>
      {net}
    </interface>
    <serial type='pty'>
      <target type='isa-serial' port='0'>
        <model name='isa-serial'/>
      </target>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <input type='mouse' bus='ps2'/>
    <input type='keyboard' bus='ps2'/>
    <audio id='1' type='none'/>
    <memballoon model='virtio'>
      {balloon}
    </memballoon>
  </devices>
</domain>
",
        uuid(number)
    )
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, ROWS, Script, big_domain, disk_name};

    #[test]
    fn rows_have_names_of_their_own() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn groups_are_of_rows() {
        for (group, rows) in GROUPS {
            assert!(ROWS.iter().all(|row| row.name != *group), "{group}");
            for name in *rows {
                assert!(ROWS.iter().any(|row| row.name == *name), "{name}");
            }
        }
    }

    #[test]
    fn inputs_are_as_big_as_they_say() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = big_domain(folder.path(), "test").expect("a domain");
        let lines = std::fs::read_to_string(file).expect("the domain").lines().count();
        assert!((250..350).contains(&lines), "{lines}");
    }

    #[test]
    fn only_the_timed_commands_of_a_round_count() {
        let script = Script {
            before: vec!["a".to_owned()],
            round: vec!["b".to_owned(), "c".to_owned()],
            timed: &[1],
            after: vec!["d".to_owned()],
            ..Script::default()
        };
        let said: Vec<(&str, bool)> = script.lines(2).collect();
        let round = [("b", false), ("c", true)];
        assert_eq!(
            said,
            [&[("a", false)], &round[..], &round, &[("d", false)]].concat()
        );
    }

    #[test]
    fn disks_are_named_as_the_kernel_does() {
        let names: Vec<String> = [0, 25, 26, 1_999].map(disk_name).into();
        assert_eq!(names, ["vda", "vdz", "vdaa", "vdbxx"]);
    }
}
