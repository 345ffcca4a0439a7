//! Which addresses devices get, and which are refused.

use super::*;
use virt_conf::domain::controller::{Controller, ControllerKind};
use virt_conf::values::HostPciAddress;
use virt_util::arch::Arch;
use virt_util::xml::XmlFlags;

use crate::capabilities::{Accel, Flag, QemuCaps};
use crate::hooks::HostDevices;

/// A host whose PCI devices on bus 0x60 are conventional.
struct Host;

impl HostDevices for Host {
    fn iommu_group(&self, _: HostPciAddress) -> Option<u32> {
        None
    }

    fn is_express(&self, device: HostPciAddress) -> bool {
        device.bus != 0x60
    }
}

const Q35: (&str, Arch) = ("pc-q35-10.0", Arch::X86_64);
const PC: (&str, Arch) = ("pc-i440fx-10.0", Arch::X86_64);
const PSERIES: (&str, Arch) = ("pseries", Arch::Ppc64);
const VEXPRESS: (&str, Arch) = ("vexpress-a15", Arch::Armv7l);
const IBM_Z: (&str, Arch) = ("s390-ccw-virtio", Arch::S390x);

/// The devices of a guest with a root and all capabilities that matter here, when they have their addresses.
fn assigned((machine, arch): (&str, Arch), devices: &str) -> Result<Domain> {
    let root = match machine {
        "vexpress-a15" => String::new(),
        name => {
            let root = if name.contains("q35") { "pcie" } else { "pci" };
            format!("<controller type='pci' index='0' model='{root}-root'/>")
        }
    };
    let text = format!(
        "<domain type='qemu'><name>g</name><memory>1024</memory><maxMemory slots='1'>2048</maxMemory>\
         <os><type arch='{arch}' machine='{machine}'>hvm</type></os><devices>\
         {root}{devices}</devices></domain>"
    );
    let mut domain =
        Domain::parse(&text, XmlFlags::INACTIVE, "test").unwrap_or_else(|error| panic!("{error}"));
    let mut caps = QemuCaps::default();
    for flag in [
        Flag::VirtioPciTransitional,
        Flag::DevicePcieRootPort,
        Flag::DevicePciePciBridge,
    ] {
        caps.flags.insert(flag);
    }
    if arch.is_s390() {
        caps.flags.insert(Flag::DeviceZpci);
    }
    let guest = Guest {
        caps: &caps,
        arch,
        accel: Accel::Tcg,
        host: &Host,
    };
    assign(&mut domain, guest, true).map(|()| domain)
}

#[track_caller]
fn fine(machine: (&str, Arch), devices: &str, expected: &str) {
    let domain = assigned(machine, devices).unwrap_or_else(|error| panic!("{error}"));
    let text = domain.format(XmlFlags::INACTIVE);
    assert!(text.contains(expected), "'{expected}' is not in {text}");
}

/// The code of a refusal, and whether the definition is at fault, as opposed to what the driver can do.
#[track_caller]
fn refused(machine: (&str, Arch), devices: &str, code: ErrorCode, definition: bool) {
    let error = assigned(machine, devices).map(|_| ()).expect_err(devices);
    let domain = definition.then_some(ErrorDomain::DOMAIN);
    assert_eq!(
        (error.code(), error.domain()),
        (code, domain.unwrap_or(error.domain())),
        "{error}"
    );
    assert_eq!(error.domain() == ErrorDomain::DOMAIN, definition, "{error}");
}

fn rng(address: &str) -> String {
    format!("<rng model='virtio'><backend model='random'>/a</backend>{address}</rng>")
}

#[test]
fn places_on_pci_are_those_that_there_are() {
    let wrong = |address: &str| refused(Q35, &rng(address), ErrorCode::XML_ERROR, true);
    wrong("<address type='pci' domain='1' bus='0' slot='1'/>");
    wrong("<address type='pci' bus='1' slot='5'/>");
    let twice = rng("<address type='pci' slot='2'/>").repeat(2);
    refused(Q35, &twice, ErrorCode::XML_ERROR, true);
    // A machine without PCI has no places there.
    let there = rng("<address type='pci' slot='2'/>");
    refused(VEXPRESS, &there, ErrorCode::XML_ERROR, true);
}

#[test]
fn a_bus_that_is_made_for_a_conventional_device_is_one_further() {
    // It needs a bridge, and the bridge a port.
    let watchdog = "<watchdog model='i6300esb'><address type='pci' bus='1' slot='3'/></watchdog>";
    fine(Q35, watchdog, "bus='0x02' slot='0x03'");
}

#[test]
fn cards_without_a_word_of_their_own_are_taken_for_express() {
    let card = |model| format!("<interface type='user'><model type='{model}'/></interface>");
    fine(
        Q35,
        &card("rtl8139"),
        "<controller type='pci' index='2' model='pcie-to-pci-bridge'>",
    );
    for model in ["pcnet", "ne2k_pci", "i82551", "e1000-82544gc"] {
        fine(
            Q35,
            &card(model),
            "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>",
        );
    }
}

#[test]
fn what_is_on_no_bus_gets_no_place() {
    for device in [
        "<controller type='xenbus'/>",
        "<controller type='isa'/>",
        "<controller type='scsi' model='auto'/>",
        "<memballoon model='xen'/>",
        "<vsock><cid auto='yes'/></vsock>",
        "<sound model='ich7'/>",
    ] {
        refused(Q35, device, ErrorCode::INTERNAL_ERROR, true);
    }
    // These are elsewhere.
    for device in [
        "<controller type='fdc' index='0'/>",
        "<sound model='sb16'/>",
        "<watchdog model='itco'/>",
    ] {
        assert!(assigned(Q35, device).is_ok(), "{device}");
    }
}

#[test]
fn controllers_have_numbers_that_fit() {
    let code = ErrorCode::CONFIG_UNSUPPORTED;
    let bridge = "<controller type='pci' index='1' model='pci-bridge'><address type='pci' bus='1' slot='9'/></controller>";
    refused(PC, bridge, code, false);
    let expander = "<controller type='pci' index='1' model='pci-expander-bus'><target busNr='2'/></controller>\
                    <controller type='pci' index='2' model='pci-expander-bus'/>";
    refused(PC, expander, code, false);
    let bridges: String = (1..=32)
        .map(|index| format!("<controller type='pci' index='{index}' model='pci-root'/>"))
        .collect();
    refused(PSERIES, &bridges, code, false);
    refused(
        PC,
        "<controller type='pci' index='1'/>",
        ErrorCode::INTERNAL_ERROR,
        true,
    );
    let ide = "<controller type='ide' index='0'><address type='pci' slot='1' function='1'/></controller>";
    refused(Q35, ide, ErrorCode::INTERNAL_ERROR, false);
}

#[test]
fn the_chipset_forgets_what_was_said_of_its_devices() {
    let ide = "<controller type='ide' index='0'><address type='pci' multifunction='on'/></controller>";
    fine(PC, ide, "slot='0x01' function='0x1'/>");
    let rng = rng("<address type='pci' multifunction='on'/>");
    fine(PC, &rng, "slot='0x02' function='0x0'/>");
}

#[test]
fn devices_of_the_host_are_express_if_they_are_there() {
    let device = |bus| {
        format!(
            "<hostdev mode='subsystem' type='pci'><source><address bus='{bus}' slot='1'/></source></hostdev>"
        )
    };
    fine(
        Q35,
        &device("0x61"),
        "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>",
    );
    fine(
        Q35,
        &device("0x60"),
        "<address type='pci' domain='0x0000' bus='0x02' slot='0x01' function='0x0'/>",
    );
    let usb =
        "<interface type='hostdev'><source><address type='usb' bus='1' device='2'/></source></interface>";
    let domain = assigned(Q35, usb).unwrap();
    assert_eq!(domain.devices.interfaces.first().unwrap().info.address, None);
}

#[test]
fn numbers_on_ibm_z_are_given_in_the_order_of_devices() {
    let device = |slot: u32, zpci: &str| {
        rng(&format!(
            "<address type='pci' bus='0' slot='{slot}'><zpci {zpci}/></address>"
        ))
    };
    fine(
        IBM_Z,
        &device(1, "uid='0x0003'"),
        "<zpci uid='0x0003' fid='0x00000000'/>",
    );
    fine(IBM_Z, &device(1, ""), "<zpci uid='0x0001' fid='0x00000000'/>");
    // The first takes function 0 before the second says that it has it.
    let both = device(1, "uid='1'") + &device(2, "uid='2' fid='0'");
    refused(IBM_Z, &both, ErrorCode::INTERNAL_ERROR, true);
    let other = device(1, "uid='1' fid='0'") + &device(2, "uid='2'");
    fine(IBM_Z, &other, "<zpci uid='0x0002' fid='0x00000001'/>");
    let channel = rng("<address type='ccw' cssid='0xfe' ssid='0' devno='1'/>").repeat(2);
    refused(IBM_Z, &channel, ErrorCode::XML_ERROR, true);
}

#[test]
fn ports_of_usb_are_those_that_there_are() {
    let usb = "<controller type='usb' index='0' model='qemu-xhci'/>";
    let mouse = |address: &str| format!("{usb}<input type='mouse' bus='usb'>{address}</input>");
    refused(
        Q35,
        &mouse("<address type='usb' bus='3'/>"),
        ErrorCode::XML_ERROR,
        true,
    );
    refused(
        Q35,
        &mouse("<address type='usb' bus='0' port='9'/>"),
        ErrorCode::XML_ERROR,
        true,
    );
    let hub = |address: &str| format!("{usb}<hub type='usb'>{address}</hub>");
    fine(
        Q35,
        &hub("<address type='isa'/>"),
        "<address type='usb' bus='0' port='1'/>",
    );
    // A hub comes after the one that it is on.
    let (first, second) = (
        "<hub type='usb'><address type='usb' bus='0' port='1'/></hub>",
        "<hub type='usb'><address type='usb' bus='0' port='1.1'/></hub>",
    );
    assert!(assigned(Q35, &format!("{usb}{first}{second}")).is_ok());
    refused(Q35, &format!("{usb}{second}{first}"), ErrorCode::XML_ERROR, true);
    refused(
        Q35,
        "<input type='mouse' bus='usb'/>",
        ErrorCode::CONFIG_UNSUPPORTED,
        false,
    );
}

#[test]
fn ports_of_virtio_serial_are_those_that_there_are() {
    let controller = "<controller type='virtio-serial' index='0' ports='2'/>";
    let channel = |address: &str| {
        format!("{controller}<channel type='pty'><target type='virtio' name='a'/>{address}</channel>")
    };
    let address = |rest: &str| channel(&format!("<address type='virtio-serial' {rest}/>"));
    refused(
        Q35,
        &address("controller='0' port='2'"),
        ErrorCode::XML_ERROR,
        true,
    );
    refused(
        Q35,
        &address("controller='1' port='1'"),
        ErrorCode::XML_ERROR,
        true,
    );
    refused(Q35, &address("controller='1'"), ErrorCode::INTERNAL_ERROR, true);
    fine(
        Q35,
        &address("controller='0'"),
        "<address type='virtio-serial' controller='0' bus='0' port='1'/>",
    );
    refused(Q35, &controller.repeat(2), ErrorCode::INTERNAL_ERROR, true);
    // Whatever controller a console names, it is the first that must have a port.
    let console =
        "<console type='pty'><target type='virtio'/><address type='virtio-serial' controller='5'/></console>";
    assert!(assigned(Q35, &format!("{controller}{console}")).is_ok());
    // Consoles share port 0 until one of them starts.
    let consoles = "<console type='pty'><target type='virtio'/></console>".repeat(40);
    let domain = assigned(Q35, &format!("{controller}{consoles}")).unwrap();
    let serial = |one: &Controller| matches!(one.kind, ControllerKind::VirtioSerial { .. });
    assert_eq!(
        domain
            .devices
            .controllers
            .iter()
            .filter(|one| serial(one))
            .count(),
        1
    );
}

#[test]
fn what_is_on_the_vio_bus_is_there_whatever_it_says() {
    let card =
        |address: &str| format!("<interface type='user'><model type='spapr-vlan'/>{address}</interface>");
    fine(
        PSERIES,
        &card("<address type='pci' slot='0'/>"),
        "<address type='spapr-vio' reg='0x00001000'/>",
    );
    fine(
        PSERIES,
        &card("<address type='pci' bus='0' slot='3'/>"),
        "<address type='spapr-vio' reg='0x00000000'/>",
    );
    let same = card("<address type='spapr-vio' reg='0x1000'/>").repeat(2);
    refused(PSERIES, &same, ErrorCode::XML_ERROR, false);
}

#[test]
fn modules_need_slots() {
    let module = "<memory model='dimm'><target><size>1</size></target></memory>";
    fine(PC, module, "<address type='dimm' slot='0'/>");
    refused(PC, &module.repeat(2), ErrorCode::INTERNAL_ERROR, false);
}

#[test]
fn indexes_out_of_all_bounds_cost_nothing() {
    let types = [
        "pci",
        "usb",
        "scsi",
        "ide",
        "sata",
        "fdc",
        "virtio-serial",
        "ccid",
        "xenbus",
        "isa",
    ];
    let machines = [
        ("pc", Arch::X86_64),
        ("q35", Arch::X86_64),
        ("pseries", Arch::Ppc64),
        ("s390-ccw-virtio", Arch::S390x),
        ("virt", Arch::Aarch64),
    ];
    for (machine, arch) in machines {
        for kind in types {
            for index in [255, 256, 65_536, u32::MAX] {
                let text = format!(
                    "<domain type='qemu'><name>g</name><memory>1024</memory>\
                     <os><type arch='{arch}' machine='{machine}'>hvm</type></os><devices>\
                     <controller type='{kind}' index='{index}'/>\
                     <disk type='network'><source protocol='nbd' name='a'><host name='h'/></source>\
                     <target dev='vda' bus='virtio'/></disk><input type='mouse' bus='usb'/></devices></domain>"
                );
                let Ok(mut domain) = Domain::parse(&text, XmlFlags::INACTIVE, "test") else {
                    continue;
                };
                let guest = Guest {
                    caps: &QemuCaps::default(),
                    arch,
                    accel: Accel::Tcg,
                    host: &(),
                };
                // Refused or not, without taking the machine's memory.
                let assigned = assign(&mut domain, guest, true);
                if kind == "pci" && machine == "pc" && index > 1023 {
                    assert_eq!(assigned.unwrap_err().code(), ErrorCode::CONFIG_UNSUPPORTED);
                }
            }
        }
    }
}
