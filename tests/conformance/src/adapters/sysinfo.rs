//! Area `sysinfo`: the system information of hosts.

use virt_conf::sysinfo::Sysinfo;
use virt_conf::sysinfo::host::{HostFacts, read_host};
use virt_util::xml::{self, DocOptions, XmlFlags};
use virt_util::{Arch, Result, VirtError};

use crate::corpus::{Case, Corpus};
use crate::outcome::Outcome;

/// A host of the corpus.
struct Captured {
    tables: Option<String>,
    cpuinfo: Option<String>,
}

fn or_error(text: &Option<String>) -> Result<String> {
    text.clone()
        .ok_or_else(|| VirtError::internal("the captured host has no such text"))
}

impl HostFacts for Captured {
    fn dmi_tables(&self) -> Result<String> {
        or_error(&self.tables)
    }

    fn oem_string(&self, number: u32) -> Result<(String, String)> {
        match number {
            2 => Ok((
                "Some valid OEM string\n".to_owned(),
                "No OEM string number 2\n".to_owned(),
            )),
            3 => Ok((
                "Ha ha ha try parsing\\n\n      String 3: this correctly\n      String 4:then\n".to_owned(),
                String::new(),
            )),
            _ => Err(VirtError::internal(format_args!("no OEM string {number}"))),
        }
    }

    fn proc_file(&self, name: &str) -> Result<String> {
        or_error(if name == "sysinfo" {
            &self.tables
        } else {
            &self.cpuinfo
        })
    }
}

/// Read what the host says and write it.
pub fn read(case: &Case, corpus: &Corpus) -> Outcome {
    let run = || -> std::result::Result<Outcome, String> {
        let text = |role: &str| {
            let name = case.input.get(role).and_then(|name| name.as_str());
            name.map(|name| corpus.text(name)).transpose()
        };
        let host = Captured {
            tables: text("sysinfo")?,
            cpuinfo: text("cpuinfo")?,
        };
        // One architecture of each family.
        let arch = match case.text("reader")? {
            "s390" => Arch::from_name("s390x"),
            "ppc" => Arch::from_name("ppc64"),
            "arm" => Arch::from_name("aarch64"),
            _ => Arch::from_name("x86_64"),
        };
        let arch = arch.ok_or("no such architecture")?;
        let have = read_host(arch, &host).map(|found| found.format());
        let want = corpus.expected(case, "xml")?;
        let first = Outcome::of_text(case, have, want.as_deref());
        let again = want.map(|text| {
            let read = xml::from_str::<Sysinfo>(&text, XmlFlags::empty(), &DocOptions::default());
            let have = read.map(|sysinfo| xml::to_string(&sysinfo, XmlFlags::empty()));
            Outcome::of_text(case, have, Some(&text))
        });
        Ok(Outcome::all([Some(first), again].into_iter().flatten()))
    };
    run().into()
}
