use super::*;
use crate::domain::normalize::SystemRandomness;

fn read(capability: &str) -> Result<NodeDevice> {
    NodeDevice::parse(&format!("<device><name>d</name>{capability}</device>"), "dev.xml")
}

#[test]
fn what_the_host_says_is_written_and_not_read() {
    let text = "<device><name>d</name><parent>p</parent><driver><name>ahci</name></driver>\
        <capability type='storage'><block>/dev/sda</block><size>1024</size><logical_block_size>512</logical_block_size>\
        </capability></device>";
    let mut device = NodeDevice::parse(text, "d").unwrap();
    assert_eq!(device.driver, None);
    device.driver = Some("ahci".to_owned());
    let live = device.format(XmlFlags::empty());
    assert!(
        live.contains("<driver>\n    <name>ahci</name>\n  </driver>\n") && !live.contains("block_size"),
        "{live}"
    );
    assert!(!device.format(XmlFlags::INACTIVE).contains("driver"));
}

#[test]
fn mediated_devices_have_two_configurations() {
    let mut device = read(
        "<capability type='mdev'><type id='t'/><attr name='a' value='1'/><attr name='b'/><attr name='a' value='2'/></capability>",
    )
    .unwrap();
    assert!(!device.format(XmlFlags::empty()).contains("<type"));
    assert!(
        device
            .format(XmlFlags::INACTIVE)
            .contains("<attr name='a' value='1'/>\n    <attr name='a' value='2'/>\n")
    );
    device.activate();
    let text = device.format(XmlFlags::empty());
    assert!(
        text.contains("<type id='t'/>\n    <iommuGroup number='0'/>\n    <attr"),
        "{text}"
    );
}

#[test]
fn new_adapters_get_names() {
    let text = "<device><parent>scsi_host5</parent><capability type='scsi_host'><capability type='fc_host'/>\
        </capability></device>";
    assert_eq!(
        NodeDevice::parse(text, "d").unwrap_err().code(),
        ErrorCode::NO_NAME
    );
    let device = NodeDevice::parse_new(text, "QEMU", &SystemRandomness, "d").unwrap();
    assert_eq!(
        (device.name.as_str(), device.parent_name()),
        ("new device", Some("scsi_host5"))
    );
    let [Capability::ScsiHost(host)] = device.capabilities.as_slice() else {
        panic!("{device:?}");
    };
    let channel = host.kinds.fibre_channel.as_ref().unwrap();
    let wwnn = channel.wwnn.as_deref().unwrap();
    assert!(
        wwnn.starts_with("5001a4a") && wwnn.len() == 16 && channel.wwpn.as_deref() != Some(wwnn),
        "{wwnn}"
    );
    assert!(NodeDevice::parse_new(text, "bhyve", &SystemRandomness, "d").is_err());
}

#[test]
fn errors_say_what_and_where() {
    use ErrorCode as E;
    for (text, code, said) in [
        ("", E::INTERNAL_ERROR, "no capability"),
        ("<capability/>", E::XML_ERROR, "'type'"),
        ("<capability type='floppy'/>", E::XML_ERROR, "dev.xml:1"),
        (
            "<capability type='drm'><type>x</type></capability>",
            E::CONFIG_UNSUPPORTED,
            "'primary', 'control', 'render'",
        ),
        (
            "<capability type='net'><interface>e</interface><feature name='x'/></capability>",
            E::XML_ERROR,
            "'rx'",
        ),
        (
            "<capability type='net'><interface>e</interface><capability type='8023'/></capability>",
            E::CONFIG_UNSUPPORTED,
            "80203",
        ),
        (
            "<capability type='storage'><block>b</block></capability>",
            E::INTERNAL_ERROR,
            "'size'",
        ),
        (
            "<capability type='storage'><block>b</block><size>1</size><capability type='x'/></capability>",
            E::INTERNAL_ERROR,
            "'removable'",
        ),
        (
            "<capability type='ap_queue'><ap-adapter>1</ap-adapter><ap-domain>0x100</ap-domain></capability>",
            E::CONFIG_UNSUPPORTED,
            "255",
        ),
        (
            "<capability type='usb'><number>x</number></capability>",
            E::INTERNAL_ERROR,
            "whole number",
        ),
        (
            "<capability type='ccw'><cssid>0</cssid></capability>",
            E::CONFIG_UNSUPPORTED,
            "/ssid",
        ),
        ("<capability type='scsi_host'/>", E::INTERNAL_ERROR, "'host'"),
        ("<capability type='pci'/>", E::INTERNAL_ERROR, "'domain'"),
        (
            "<capability type='pci'><domain>0</domain><bus>x</bus></capability>",
            E::INTERNAL_ERROR,
            "whole number",
        ),
        (
            "<capability type='pci'><domain>0</domain><bus>0</bus><slot>0</slot><function>0</function></capability>",
            E::INTERNAL_ERROR,
            "'vendor'",
        ),
        ("<capability type='mdev'/>", E::CONFIG_UNSUPPORTED, "'id'"),
        (
            "<parent wwnn='1'>p</parent><capability type='ap_matrix'/>",
            E::XML_ERROR,
            "wwpn",
        ),
        (
            "<devnode type='x'/><capability type='ap_matrix'/>",
            E::XML_ERROR,
            "'dev', 'link'",
        ),
    ] {
        let error = read(text).expect_err(text);
        assert_eq!(error.code(), code, "{text}: {error}");
        assert!(error.message().contains(said), "{text}: {error}");
    }
}

#[test]
fn usb_devices_without_names_keep_their_blank() {
    let device = read(
        "<capability type='usb_device'><bus>1</bus><device>2</device><product id='0x1'/><vendor id='1d6b'>L</vendor></capability>",
    );
    let text = device.unwrap().format(XmlFlags::empty());
    assert!(
        text.contains("    <product id='0x0001' />\n    <vendor id='0x1d6b'>L</vendor>\n"),
        "{text}"
    );
}

/// The code and the part that a document is refused with.
fn refusal(capability: &str) -> (ErrorCode, ErrorDomain) {
    let error = read(capability).map(|_| ()).expect_err(capability);
    (error.code(), error.domain())
}

#[test]
fn numbers_that_are_none_are_told_as_libvirt_tells_them() {
    let node = (ErrorCode::INTERNAL_ERROR, ErrorDomain::NODEDEV);
    for capability in [
        "<capability type='scsi_host'><host>1.5</host></capability>",
        "<capability type='scsi_host'><host>1</host><unique_id>1a</unique_id></capability>",
        "<capability type='storage'><block>a</block><size>-1</size></capability>",
        "<capability type='mdev'><type id='a'/><iommuGroup number='-1'/></capability>",
    ] {
        assert_eq!(refusal(capability), node, "{capability}");
    }
    let pci = |inside: &str| {
        format!(
            "<capability type='pci'><domain>0</domain><bus>0</bus><slot>1</slot><function>0</function>\
             <product id='0x1'/><vendor id='0x1'/>{inside}</capability>"
        )
    };
    assert_eq!(refusal(&pci("<numa node='1a'/>")), node);
    assert_eq!(
        refusal(&pci("<capability type='virt_functions' maxCount='-1'/>")),
        (ErrorCode::XML_ERROR, ErrorDomain::NODEDEV)
    );
    // Addresses are checked by the tool for PCI devices, which is no part of anything.
    let group = |address: &str| {
        pci(&format!(
            "<iommuGroup number='1'><address {address}/></iommuGroup>"
        ))
    };
    assert_eq!(
        refusal(&group("bus='1' slot='32'")),
        (ErrorCode::XML_ERROR, ErrorDomain::NONE)
    );
    assert!(read(&group("function='9'")).is_ok());
    let scsi = "<capability type='scsi'><host>4294967295</host><bus>0</bus><target>0</target><lun>0</lun></capability>";
    let text = read(scsi).unwrap().format(XmlFlags::empty());
    assert!(text.contains("<host>-1</host>"), "{text}");
}
