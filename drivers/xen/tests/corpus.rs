//! Documents of Xen guests that the conformance corpus holds are read, completed and written, and what was written stays as
//! it is. The corpus is found through `VIRT_CORPUS`; without it the test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{NormalizeContext, NormalizeFlags, SystemRandomness, normalize};
use virt_conf::domain::os::OsType;
use virt_conf::domain::validate::validate;
use virt_conf::xen::XenGuest;
use virt_driver_xen::hooks::XenHooks;
use virt_util::Result;
use virt_util::xml::XmlFlags;

fn round(text: &str) -> Result<String> {
    let guest = |os, machine: &str| XenGuest {
        os,
        arch: "x86_64".to_owned(),
        machine: machine.to_owned(),
        loader: None,
    };
    let guests = [
        guest(OsType::Hvm, "xenfv"),
        guest(OsType::Xen, "xenpv"),
        guest(OsType::Xenpvh, "xenpvh"),
    ];
    let hooks = XenHooks {
        guests: &guests,
        is_traditional: &|_| false,
    };
    let mut domain = Domain::parse(text, XmlFlags::INACTIVE, "input")?;
    let cx = NormalizeContext {
        flags: NormalizeFlags::INACTIVE,
        random: &SystemRandomness,
    };
    normalize(&mut domain, &hooks, &cx)?;
    validate(&domain, &hooks)?;
    Ok(domain.format(XmlFlags::INACTIVE | XmlFlags::SECURE))
}

#[test]
fn documents_come_to_rest() {
    let Some(corpus) = std::env::var_os("VIRT_CORPUS")
        .filter(|corpus| !corpus.is_empty())
        .map(PathBuf::from)
    else {
        println!("SKIP: VIRT_CORPUS does not name a conformance corpus");
        return;
    };
    let mut seen = 0;
    for folder in [
        "domain-xen-libxl/data",
        "domain-xen-config/xl",
        "domain-xen-config/xm",
    ] {
        for entry in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "xml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let first = round(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(round(&first).unwrap(), first, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 0);
}
