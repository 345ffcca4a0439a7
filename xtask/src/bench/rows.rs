//! The rows of `bench`, and the inputs they need, which are made once and kept beside the build.

use super::{Row, Work};
use crate::task::{self, Result};
use std::path::Path;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "virsh-list",
        about: "virsh -c test:///default list, from start to exit",
        goal: 4.0,
        work: Work::Process(&["-q", "-c", "test:///default", "list"]),
    },
    Row {
        name: "define",
        about: "define and undefine a domain of 300 lines, in memory",
        goal: 3.0,
        work: Work::Script {
            uri: default,
            rounds: 100,
            script: define,
        },
    },
    Row {
        name: "dumpxml",
        about: "format that domain",
        goal: 3.0,
        work: Work::Script {
            uri: default,
            rounds: 200,
            script: dumpxml,
        },
    },
    Row {
        name: "open-10000",
        about: "open a file of 10,000 domains",
        goal: 12.0,
        work: Work::Open(ten_thousand),
    },
    Row {
        name: "list-10000",
        about: "list 10,000 domains",
        goal: 10.0,
        work: Work::Script {
            uri: ten_thousand,
            rounds: 5,
            script: list,
        },
    },
    Row {
        name: "lookup-10000",
        about: "look up the last of 10,000 domains by UUID",
        goal: 2.0,
        work: Work::Script {
            uri: ten_thousand,
            rounds: 200,
            script: lookup,
        },
    },
];

fn default(_: &Path) -> Result<String> {
    Ok("test:///default".to_owned())
}

/// A command so many times.
fn repeat(command: &str, rounds: usize) -> String {
    let mut script = "echo".to_owned();
    for _ in 0..rounds {
        script.push_str("; ");
        script.push_str(command);
    }
    script
}

fn define(folder: &Path, rounds: usize) -> Result<String> {
    let file = big_domain(folder)?;
    Ok(repeat(&format!("define {file}; undefine big"), rounds))
}

fn dumpxml(folder: &Path, rounds: usize) -> Result<String> {
    let file = big_domain(folder)?;
    Ok(format!("define {file}; {}", repeat("dumpxml big", rounds)))
}

fn list(_: &Path, rounds: usize) -> Result<String> {
    Ok(repeat("list --all --name", rounds))
}

fn lookup(_: &Path, rounds: usize) -> Result<String> {
    Ok(repeat(&format!("domname {}", uuid(9_999)), rounds))
}

/// A domain of some 300 lines: 20 disks and 20 interfaces.
fn big_domain(folder: &Path) -> Result<String> {
    let file = folder.join("big.xml");
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
        "<domain type='test'>
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

/// A host of the test driver with 10,000 domains.
fn ten_thousand(folder: &Path) -> Result<String> {
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

#[cfg(test)]
mod tests {
    use super::{ROWS, big_domain, repeat};

    #[test]
    fn rows_have_names_of_their_own() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn inputs_are_as_big_as_they_say() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = big_domain(folder.path()).expect("a domain");
        let lines = std::fs::read_to_string(file).expect("the domain").lines().count();
        assert!((250..350).contains(&lines), "{lines}");
        assert_eq!(repeat("x", 2), "echo; x; x");
    }
}
