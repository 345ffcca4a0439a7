use super::*;

const BASE: &str = "\
<domain type='kvm'>
  <name>a</name>
  <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
  <memory unit='KiB'>219136</memory>
  <currentMemory unit='KiB'>219136</currentMemory>
  <vcpu current='1'>2</vcpu>
  <os><type arch='x86_64' machine='pc-i440fx-9.0'>hvm</type></os>
  <features><acpi/></features>
  <cpu mode='custom'><model>qemu64</model><feature name='svm' policy='disable'/></cpu>
  <clock offset='utc'><timer name='tsc' frequency='7'/></clock>
  <devices>
    <disk type='file' device='disk'>
      <source file='/a'/><target dev='vda' bus='virtio'/><serial>s</serial>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </disk>
    <controller type='usb' index='0' model='piix3-uhci' ports='2'/>
    <interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/></interface>
    <video><model type='cirrus' vram='16384'/></video>
  </devices>
</domain>
";

fn read(text: &str) -> Domain {
    Domain::parse(text, XmlFlags::INACTIVE, "a").unwrap()
}

#[test]
fn what_the_guest_does_not_see_may_change() {
    let other = BASE
        .replace("<source file='/a'/>", "<source file='/b'/>")
        .replace("<name>a</name>", "<name>a</name><title>t</title>");
    check(&read(BASE), &read(&other)).unwrap();
    check(&read(BASE), &read(BASE)).unwrap();
}

#[test]
fn what_the_guest_sees_may_not() {
    let cases = [
        ("<name>a<", "<name>b<", "name 'b' where the guest has 'a'"),
        ("type='kvm'", "type='qemu'", "virt type 'qemu'"),
        ("219136</memory", "319136</memory", "max memory '319136'"),
        (">2</vcpu", ">3</vcpu", "vCPU max '3'"),
        ("current='1'", "current='2'", "State of vCPU '1'"),
        ("pc-i440fx-9.0", "pc-q35-9.0", "machine type 'pc-q35-9.0'"),
        ("<acpi/>", "<acpi/><apic/>", "State of feature 'apic'"),
        ("qemu64", "qemu32", "CPU model 'qemu32'"),
        ("'disable'", "'require'", "CPU feature policy 'require'"),
        ("frequency='7'", "frequency='8'", "TSC frequency '8'"),
        ("dev='vda'", "dev='vdb'", "disk 'vdb' where the guest has 'vda'"),
        ("<serial>s<", "<serial>t<", "disk serial 't'"),
        ("slot='0x03'", "slot='0x04'", "pci address '0000:00:04.0'"),
        ("ports='2'", "ports='4'", "controller ports '4'"),
        ("11:22:33", "11:22:34", "network card mac '52:54:00:11:22:34'"),
        ("vram='16384'", "vram='8192'", "video card vram '8192'"),
        (
            "<video><model type='cirrus' vram='16384'/></video>",
            "",
            "video card count '0'",
        ),
    ];
    for (old, new, text) in cases {
        let other = BASE.replace(old, new);
        assert_ne!(other, BASE, "{old}");
        let error = check(&read(BASE), &read(&other)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::CONFIG_UNSUPPORTED);
        assert!(error.message().contains(text), "{text}: {error}");
    }
}

#[test]
fn memory_that_the_guest_has_now() {
    let other = read(&BASE.replace("219136</currentMemory", "100000</currentMemory"));
    assert!(check(&read(BASE), &other).is_err());
    let options = StabilityOptions { skip_volatile: true };
    check_with(&read(BASE), &other, options).unwrap();
}

#[test]
fn strings_of_the_maker_may_change() {
    let with = |serial: &str, string: &str| {
        let tables = format!(
            "<sysinfo type='smbios'><system><entry name='serial'>{serial}</entry></system>\
             <oemStrings><entry>{string}</entry></oemStrings></sysinfo><devices>"
        );
        read(&BASE.replacen("<devices>", &tables, 1))
    };
    check(&with("1", "a"), &with("1", "b")).unwrap();
    assert!(check(&with("1", "a"), &with("2", "a")).is_err());
}
