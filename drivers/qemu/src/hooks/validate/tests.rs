//! What tests of the checks share: a guest of a machine, an emulator that has certain flags and nothing else.

use virt_conf::domain::Domain;
use virt_conf::domain::normalize::device_refs;
use virt_util::arch::Arch;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, Result};

use crate::capabilities::{Accel, Flag, QemuCaps};
use crate::hooks::{Guest, validate};

/// What a check said.
#[derive(Debug)]
pub(super) struct Verdict(Result<()>);

impl Verdict {
    /// Nothing is wrong.
    #[track_caller]
    pub(super) fn fine(self) {
        assert!(self.0.is_ok(), "{:?}", self.0);
    }

    /// QEMU cannot do it: `what` tells readers why.
    #[track_caller]
    pub(super) fn refused(self, what: &str) {
        self.with(ErrorCode::CONFIG_UNSUPPORTED, what);
    }

    /// It is refused with another code.
    #[track_caller]
    pub(super) fn with(self, code: ErrorCode, what: &str) {
        match self.0 {
            Ok(()) => panic!("nothing was refused, {code:?} with '{what}' expected"),
            Err(error) => {
                assert_eq!(error.code(), code, "{error}");
                assert!(error.detail().contains(what), "'{what}' is not in: {error}");
            }
        }
    }
}

/// The architecture of machines that tests name.
fn arch_of(machine: &str) -> &'static str {
    match machine {
        "pseries" => "ppc64le",
        "virt" => "aarch64",
        name if name.starts_with("s390") => "s390x",
        _ => "x86_64",
    }
}

/// A guest that is read and not completed: each check sees what the document says.
pub(super) fn guest(machine: &str, inside: &str) -> Domain {
    let source = format!(
        "<domain type='kvm'><name>a</name><memory>1048576</memory>\
         <os><type arch='{}' machine='{machine}'>hvm</type></os>{inside}</domain>",
        arch_of(machine)
    );
    Domain::parse(&source, XmlFlags::INACTIVE, "guest").unwrap_or_else(|error| panic!("{error}"))
}

/// Asks a check of a guest.
pub(super) fn ask(
    machine: &str,
    inside: &str,
    flags: &[Flag],
    check: impl FnOnce(&Domain, Guest<'_>) -> Result<()>,
) -> Verdict {
    let domain = guest(machine, inside);
    let mut caps = QemuCaps::default();
    for flag in flags {
        caps.flags.insert(*flag);
    }
    let arch = Arch::from_name(arch_of(machine)).unwrap_or(Arch::X86_64);
    caps.arch = Some(arch);
    let guest = Guest {
        caps: &caps,
        arch,
        accel: Accel::Kvm,
        host: &(),
    };
    Verdict(check(&domain, guest))
}

/// Asks the checks of all devices.
pub(super) fn devices(machine: &str, devices: &str, flags: &[Flag]) -> Verdict {
    let inside = format!("<devices>{devices}</devices>");
    ask(machine, &inside, flags, |domain, guest| {
        device_refs(domain)
            .into_iter()
            .try_for_each(|device| validate::device(domain, device, guest))
    })
}
